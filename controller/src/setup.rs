//! Making a data directory, and operators' profiles.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use wardround_signing::SecretKey;

use crate::{
    ca::{Authority, CaError, OperatorRoles, Peer, valid_operator_name},
    clock,
};

/// Version of `config.json`.
const VERSION: u32 = 1;
/// File of the audit log's key.
const LOG_KEY: &str = "log.key";
/// Kept free below the data directory: new work stops there, halts and reports go on. Bytes.
const FREE_BYTES_MIN: u64 = 256 * 1024 * 1024;

/// What [`init`] needs to know.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The data directory to make.
    pub data: PathBuf,
    /// The first operator's profile directory to make.
    pub operator: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where the console listens; none without.
    pub console: Option<SocketAddr>,
    /// DNS names and IP addresses in the server's certificate; the first is the one that profiles name.
    pub names: Vec<String>,
    /// The first operator's name.
    pub operator_name: String,
    /// The first operator's roles.
    pub operator_roles: OperatorRoles,
}

/// What [`issue_operator`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedOperator {
    /// Serial number of the certificate, lower-case hex: by it this one can be revoked.
    pub serial: String,
    /// Where the controller is, as the profile names it.
    pub endpoint: String,
}

/// Why a directory could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Something is there already.
    #[error("{} exists already", .path.display())]
    Exists {
        /// What.
        path: PathBuf,
    },
    /// Not a controller's data directory.
    #[error("{} is not a controller's data directory: {why}", .path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A name of another form.
    #[error("{name:?} is not a valid operator name: expected 1 to 64 letters, digits, '.', '_', '-' or '@'")]
    OperatorName {
        /// As given.
        name: String,
    },
    /// A certificate without a role would open nothing.
    #[error("an operator needs at least one role")]
    NoRole,
    /// A server name that can't stand in a certificate, a key that can't be made.
    #[error("{0}")]
    Certificate(String),
    /// The result of the root ceremony can't be used.
    #[error("the root can't be used: {why}")]
    Root {
        /// Why.
        why: String,
        /// The way out.
        hint: String,
    },
    /// The file system said no.
    #[error("can't write {}: {source}", .path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl InitError {
    /// The way out, one sentence; empty when there is none to name.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Root { hint, .. } => hint,
            Self::Exists { .. } => "choose another directory, or remove this one if nothing in it is needed any more",
            Self::NotOurs { .. } => "make one with `wardround init`",
            Self::OperatorName { .. } => "use a short name such as ann.lee",
            Self::NoRole => "give --role release, clinical, on-call, site-engineer or auditor; several may be given",
            Self::Certificate(_) => "name the controller as nodes reach it, for example --name wardround.example.org",
            Self::Io { .. } => "check the path, its owner and the free space",
        }
    }
}

impl From<CaError> for InitError {
    fn from(error: CaError) -> Self {
        Self::Certificate(error.to_string())
    }
}

/// `config.json` of a data directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoredConfig {
    /// Form.
    version: u32,
    /// Where the API listens.
    pub(crate) listen: SocketAddr,
    /// Where the console listens.
    #[serde(default)]
    pub(crate) console: Option<SocketAddr>,
    /// Names in the server's certificate.
    pub(crate) names: Vec<String>,
    /// How often nodes check in when nothing nudges them, milliseconds.
    #[serde(default = "check_in_every_ms")]
    pub(crate) check_in_every_ms: u64,
    /// After how long without word a site with deployments in hand counts as silent, milliseconds; absent: as its plans say.
    #[serde(default)]
    pub(crate) silence_after_ms: Option<u64>,
    /// Kept free below the data directory, bytes.
    #[serde(default = "free_bytes_min")]
    pub(crate) free_bytes_min: u64,
    /// Journal records between two snapshots.
    #[serde(default = "snapshot_every")]
    pub(crate) snapshot_every: u64,
    /// Added to directives' counters; raised after a restore from an older copy (docs/operations.md).
    #[serde(default)]
    pub(crate) directive_counter_base: u64,
    /// Versions of snapshot and timestamp are above this; raised after a restore from an older copy (docs/operations.md).
    #[serde(default)]
    pub(crate) metadata_version_base: u64,
}

/// Half a minute: 50,000 sites make 1,700 calls a second, a twentieth of what one machine carries (reference, stores).
fn check_in_every_ms() -> u64 {
    30_000
}
fn free_bytes_min() -> u64 {
    FREE_BYTES_MIN
}
/// A replay of 10,000 batches takes seconds.
fn snapshot_every() -> u64 {
    10_000
}

/// The files of a data directory.
pub(crate) struct DataFiles {
    /// `config.json`.
    pub(crate) config: StoredConfig,
    /// `ca.pem` and `ca.key`.
    pub(crate) ca: Authority,
    /// `log.key`.
    pub(crate) log_key: SecretKey,
}

/// Reads a data directory.
pub(crate) fn load(data: &Path) -> Result<DataFiles, InitError> {
    let bad = |why: String| InitError::NotOurs { path: data.to_owned(), why };
    let read = |name: &str| fs::read(data.join(name)).map_err(|e| bad(format!("{name}: {e}")));
    let text = |name: &str| String::from_utf8(read(name)?).map_err(|e| bad(format!("{name}: {e}")));
    let config: StoredConfig =
        serde_json::from_slice(&read("config.json")?).map_err(|e| bad(format!("config.json: {e}")))?;
    if config.version != VERSION {
        return Err(bad(format!("config.json has version {}; this program reads {VERSION}", config.version)));
    }
    let ca = Authority::load(&text("ca.pem")?, &text("ca.key")?).map_err(|e| bad(e.to_string()))?;
    // A directory that is older than the log gets its key now.
    if !data.join(LOG_KEY).exists() {
        write_log_key(data)?;
    }
    let log_key = SecretKey::from_plain_pem(&text(LOG_KEY)?).map_err(|e| bad(format!("{LOG_KEY}: {e}")))?;
    Ok(DataFiles { config, ca, log_key })
}

/// A key of its own: who can sign directives can't rewrite the record of them by that.
fn write_log_key(data: &Path) -> Result<(), InitError> {
    let key = SecretKey::generate().map_err(|e| InitError::Certificate(e.to_string()))?;
    let pem = key.to_plain_pem().map_err(|e| InitError::Certificate(e.to_string()))?;
    write_new(&data.join(LOG_KEY), pem.as_bytes(), 0o600)
}

/// Makes a data directory (`config.json`, `ca.pem`, `ca.key`, `online/`, `log.key`, `journal/`, `payloads/`) and the first
/// operator's profile. Whose signatures count is said afterwards: [`crate::import_root`].
///
/// # Errors
/// [`InitError`]; nothing that exists is overwritten.
pub fn init(options: &InitOptions) -> Result<(), InitError> {
    for path in [options.data.join("config.json"), options.data.join("ca.key"), options.operator.join("profile.json")] {
        if path.exists() {
            return Err(InitError::Exists { path });
        }
    }
    check(&options.operator_name, &options.operator_roles)?;
    let (ca, ca_key) = Authority::create(clock::now())?;
    let config = StoredConfig {
        version: VERSION,
        listen: options.listen,
        console: options.console,
        names: server_names(&options.names, options.listen),
        check_in_every_ms: check_in_every_ms(),
        silence_after_ms: None,
        free_bytes_min: FREE_BYTES_MIN,
        snapshot_every: snapshot_every(),
        directive_counter_base: 0,
        metadata_version_base: 0,
    };
    // Issued once to see that the names are good, before anything is written.
    ca.server(&config.names, clock::now())?;
    let data = &options.data;
    for folder in [data.clone(), data.join("journal"), data.join("payloads")] {
        make_folder(&folder)?;
    }
    write_new(&data.join("ca.key"), ca_key.as_bytes(), 0o600)?;
    write_new(&data.join("ca.pem"), ca.certificate_pem().as_bytes(), 0o644)?;
    // The image repository's online keys, for the root ceremony.
    crate::images::make_online_keys(data)?;
    write_log_key(data)?;
    // Last: a directory with a config.json is whole.
    write_new(&data.join("config.json"), &json(&config)?, 0o644)?;
    let files = Issuing { data, ca: &ca, config: &config };
    files.operator(&options.operator, &options.operator_name, &options.operator_roles).map(drop)
}

/// Issues a certificate for another operator and writes a profile directory. For the controller's own machine: it needs the CA's
/// key. The controller may be running.
///
/// # Errors
/// [`InitError`]; nothing that exists is overwritten.
pub fn issue_operator(
    data: &Path,
    operator: &Path,
    name: &str,
    roles: &OperatorRoles,
) -> Result<IssuedOperator, InitError> {
    check(name, roles)?;
    let path = operator.join("profile.json");
    if path.exists() {
        return Err(InitError::Exists { path });
    }
    let files = load(data)?;
    Issuing { data, ca: &files.ca, config: &files.config }.operator(operator, name, roles)
}

/// Folder of the certificates that were issued to operators.
pub(crate) fn operators(data: &Path) -> PathBuf {
    data.join("operators")
}

fn check(name: &str, roles: &OperatorRoles) -> Result<(), InitError> {
    if !valid_operator_name(name) {
        return Err(InitError::OperatorName { name: name.to_owned() });
    }
    if roles.is_empty() { Err(InitError::NoRole) } else { Ok(()) }
}

#[derive(Serialize)]
struct Profile {
    endpoint: String,
}

struct Issuing<'a> {
    data: &'a Path,
    ca: &'a Authority,
    config: &'a StoredConfig,
}

impl Issuing<'_> {
    fn operator(&self, profile: &Path, name: &str, roles: &OperatorRoles) -> Result<IssuedOperator, InitError> {
        let issued = self.ca.operator(name, roles, clock::now())?;
        let peer = Peer::issued(&issued.certificate_der).map_err(|e| InitError::Certificate(e.to_string()))?;
        let record = operators(self.data);
        make_folder(&record)?;
        make_folder(profile)?;
        // On record before anybody holds its key: what is in use can be listed, and revoked by its name.
        let file = record.join(format!("{name}-{}.pem", peer.serial));
        write_new(&file, issued.certificate_pem.as_bytes(), 0o644)?;
        write_new(&profile.join("key.pem"), issued.key_pem.as_bytes(), 0o600)?;
        write_new(&profile.join("cert.pem"), issued.certificate_pem.as_bytes(), 0o644)?;
        write_new(&profile.join("ca.pem"), self.ca.certificate_pem().as_bytes(), 0o644)?;
        let endpoint = endpoint(self.config);
        write_new(&profile.join("profile.json"), &json(&Profile { endpoint: endpoint.clone() })?, 0o644)?;
        Ok(IssuedOperator { serial: peer.serial, endpoint })
    }
}

fn endpoint(config: &StoredConfig) -> String {
    let host = config.names.first().map_or("localhost", String::as_str);
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("https://[{address}]:{}", config.listen.port()),
        _ => format!("https://{host}:{}", config.listen.port()),
    }
}

/// The given names; without any, the address itself, or for "every address" this machine's loopback.
fn server_names(names: &[String], listen: SocketAddr) -> Vec<String> {
    if !names.is_empty() {
        return names.to_vec();
    }
    match listen.ip() {
        ip if ip.is_unspecified() => vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()],
        ip => vec![ip.to_string(), "localhost".to_owned()],
    }
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, InitError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|e| InitError::Certificate(e.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

pub(crate) fn make_folder(path: &Path) -> Result<(), InitError> {
    fs::create_dir_all(path).map_err(|source| InitError::Io { path: path.to_owned(), source })
}

pub(crate) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), InitError> {
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // The name too: a key that was shown to be there must survive a power cut.
        File::open(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
    };
    written().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists { path: path.to_owned() },
        _ => InitError::Io { path: path.to_owned(), source },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::ca::OperatorRole;

    #[test]
    fn init_makes_what_load_reads_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let options = InitOptions {
            data: dir.path().join("data"),
            operator: dir.path().join("ann"),
            listen: "0.0.0.0:7443".parse().unwrap(),
            console: None,
            names: vec!["controller.example.org".to_owned(), "10.0.0.1".to_owned()],
            operator_name: "ann".to_owned(),
            operator_roles: OperatorRole::ALL.into(),
        };
        init(&options).unwrap();
        load(&options.data).unwrap();
        for secret in ["data/ca.key", "data/log.key", "ann/key.pem"] {
            let mode = fs::metadata(dir.path().join(secret)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
        let profile = fs::read_to_string(dir.path().join("ann/profile.json")).unwrap();
        assert!(profile.contains("https://controller.example.org:7443"), "{profile}");
        let error = init(&options).unwrap_err();
        assert!(matches!(error, InitError::Exists { .. }) && !error.hint().is_empty(), "{error}");
        let roles = OperatorRoles::from([OperatorRole::Auditor]);
        let issue = |data: &Path, to: &str, name: &str| issue_operator(data, &dir.path().join(to), name, &roles);
        let issued = issue(&options.data, "ben", "ben").unwrap();
        assert_eq!(issued.endpoint, "https://controller.example.org:7443");
        let record = fs::read_to_string(options.data.join(format!("operators/ben-{}.pem", issued.serial))).unwrap();
        assert_eq!(record, fs::read_to_string(dir.path().join("ben/cert.pem")).unwrap());
        assert_eq!(fs::read_dir(options.data.join("operators")).unwrap().count(), 2, "the first one is on record too");
        assert!(matches!(issue(&options.data, "ben", "ben"), Err(InitError::Exists { .. })));
        assert!(matches!(issue(&options.data, "x", "a b"), Err(InitError::OperatorName { .. })));
        assert!(matches!(issue(dir.path(), "x", "ann"), Err(InitError::NotOurs { .. })));
        let none = issue_operator(&options.data, &dir.path().join("x"), "cy", &OperatorRoles::new());
        assert!(matches!(none, Err(InitError::NoRole)));
    }
}
