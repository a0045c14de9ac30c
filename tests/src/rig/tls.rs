//! Certificates for TLS peers: an authority, servers and clients that it vouches for, and some that nobody does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::{Running, listens, require, wait_until};
use crate::ports::free_port;

/// A certificate's and its key's PEM file.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Certificate.
    pub cert: PathBuf,
    /// PKCS#8 key.
    pub key: PathBuf,
}

/// An authority in a temporary directory.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// When the directory can't be written.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let dir = tempfile::tempdir().expect("a temporary directory is made");
        let certificate = params.self_signed(&key).expect("it signs itself");
        fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("it is ours");
        Self { dir, issuer: Issuer::new(params, key) }
    }

    /// Its certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The directory that its files are in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A certificate for `names`, called `file`.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn keys(&self, file: &str, names: &[&str]) -> Keys {
        self.keys_until(file, names, (2090, 1, 1))
    }

    /// As [`Authority::keys`], good until a date.
    ///
    /// # Panics
    /// As [`Authority::keys`].
    #[must_use]
    pub fn keys_until(&self, file: &str, names: &[&str], (year, month, day): (i32, u8, u8)) -> Keys {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("the names are plain");
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority signs");
        self.write(file, &certificate.pem(), &key)
    }

    /// A certificate that signs itself, with its name in the subject alone, as old devices have it.
    ///
    /// # Panics
    /// As [`Authority::keys`].
    #[must_use]
    pub fn self_signed(&self, file: &str, common_name: &str) -> Keys {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are fine");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("it signs itself");
        self.write(file, &certificate.pem(), &key)
    }

    fn write(&self, file: &str, pem: &str, key: &KeyPair) -> Keys {
        let at = |end: &str| self.dir.path().join(format!("{file}.{end}"));
        fs::write(at("pem"), pem).expect("it is ours");
        fs::write(at("key"), key.serialize_pem()).expect("it is ours");
        Keys { cert: at("pem"), key: at("key") }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// `openssl s_server`: answers HTTP with a page about the connection.
#[derive(Debug)]
pub struct SecureServer {
    _server: Running,
    port: u16,
}

impl SecureServer {
    /// Starts one with these keys and further arguments; `None` where openssl is missing.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(keys: &Keys, more: &[&str]) -> Option<Self> {
        require("openssl")?;
        let port = free_port();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-port", &port.to_string()]);
        command.arg("-cert").arg(&keys.cert).arg("-key").arg(&keys.key).args(more);
        let server = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        wait_until("s_server listens", Duration::from_secs(10), || listens(port));
        Some(Self { _server: server, port })
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}
