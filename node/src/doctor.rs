//! `wardround node doctor`: what is wrong with a node and its site, and how to mend it. Looks only: nothing of the node's state
//! is written, and a node that runs is not disturbed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Semaphore, task::JoinSet};
use wardround_rollout_plans::model::{DeviceId, DurationMs};
use wardround_signing::{Digest, tuf::Moment};

use crate::{
    NodeError, TrustStore,
    cache::RESERVE_BYTES,
    config::{DeviceConfig, SiteFile, TransportConfig, read_site_file},
    executor::now,
    identity::{self, Identity, Life},
    program::{self, Image, Programs},
    sync::{Controller, FetchError},
    transports::Transport,
    trust::{FLOOR_FOLDER, METADATA_FOLDER},
};

/// How long the controller may take to answer.
const CONTROLLER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a device may take to answer, and how many are asked at once.
const DEVICE_TIMEOUT: Duration = Duration::from_secs(45);
const DEVICES_AT_ONCE: usize = 8;
/// A certificate is renewed ten days before its end: one that has less is not being renewed.
const CERTIFICATE_LEFT_MIN: DurationMs = DurationMs::from_secs(8 * 24 * 3600);

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// As it should be.
    Good,
    /// It works, and a person should know.
    Notice,
    /// It does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: "identity", "controller", "device rx1/ct-01" …
    pub about: String,
    /// How it stands.
    pub standing: Standing,
    /// What was seen.
    pub text: String,
    /// How to mend it; empty where nothing is to be mended.
    pub hint: String,
}

impl Finding {
    fn new(about: &str, standing: Standing, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { about: about.to_owned(), standing, text: text.into(), hint: hint.into() }
    }

    fn good(about: &str, text: impl Into<String>) -> Self {
        Self::new(about, Standing::Good, text, "")
    }

    fn error(about: &str, error: &NodeError) -> Self {
        let source = std::error::Error::source(error).map(|s| format!(": {s}")).unwrap_or_default();
        Self::new(about, Standing::Bad, format!("{error}{source}"), error.hint())
    }
}

/// Looks at everything that a node needs. `devices` asks the devices too.
pub async fn examine(state_dir: &Path, site_file: &Path, devices: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let identity = match Identity::read(state_dir) {
        Ok(identity) => Some(identity),
        Err(error) => {
            found.push(Finding::error("identity", &error));
            None
        }
    };
    if let Some(identity) = &identity {
        found.extend(of_identity(state_dir, identity));
        found.extend(of_trust(state_dir, identity));
    }
    found.extend(of_program(state_dir));
    found.push(of_disk(state_dir));
    match read_site_file(site_file) {
        Err(error) => found.push(Finding::new("site file", Standing::Bad, error.to_string(), error.hint)),
        Ok(site) => {
            found.extend(of_site(&site, identity.as_ref()));
            found.extend(of_secrets(&site).await);
            if devices {
                found.extend(of_devices(&site).await);
            }
        }
    }
    if let Some(identity) = &identity {
        found.push(of_controller(identity).await);
    }
    found
}

fn of_identity(state_dir: &Path, identity: &Identity) -> Vec<Finding> {
    let mut found = Vec::new();
    let now = now();
    match (identity.require_valid(now), Life::of(&identity.cert_pem)) {
        (Err(error), _) | (_, Err(error)) => found.push(Finding::error("certificate", &error)),
        (Ok(()), Ok(life)) => {
            let left = life.not_after.since(now);
            let text = format!("good for {} more", DurationMs(left.0 / 3_600_000 * 3_600_000));
            found.push(if left < CERTIFICATE_LEFT_MIN {
                let hint = "the node renews it while it runs and the controller answers: let it run, or enrol anew";
                Finding::new("certificate", Standing::Notice, text, hint)
            } else {
                Finding::good("certificate", text)
            });
        }
    }
    let open: Vec<String> = identity::secret_files(state_dir)
        .into_iter()
        .filter(|path| fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0))
        .map(|path| path.display().to_string())
        .collect();
    found.push(if open.is_empty() {
        Finding::good("identity", format!("site {}, controller {}", identity.site, identity.controller))
    } else {
        let text = format!("others may read {}", open.join(", "));
        Finding::new("identity", Standing::Bad, text, "chmod 600 them; if somebody may have read them, enrol anew")
    });
    found
}

/// Reads a copy: opening the store heals torn files, and a node that runs must not be overtaken by that.
fn of_trust(state_dir: &Path, identity: &Identity) -> Vec<Finding> {
    let mut found = Vec::new();
    let copied = tempfile::tempdir().and_then(|copy| {
        for folder in [FLOOR_FOLDER, METADATA_FOLDER] {
            copy_files(&state_dir.join(folder), &copy.path().join(folder))?;
        }
        Ok(copy)
    });
    let copy = match copied {
        Ok(copy) => copy,
        Err(error) => {
            let text = format!("the trust store can't be read: {error}");
            return vec![Finding::new("trust", Standing::Bad, text, "run this as the node's account")];
        }
    };
    match TrustStore::open(copy.path()) {
        Err(error) => {
            let finding = Finding::error("trust", &error);
            let (here, there) = (state_dir.display().to_string(), copy.path().display().to_string());
            found.push(Finding { text: finding.text.replace(&there, &here), ..finding });
        }
        Ok(store) if store.files().is_empty() => found.push(Finding::new(
            "trust",
            Standing::Notice,
            "no metadata yet: the node has not been in touch with its controller",
            "run the node, and look at the controller below",
        )),
        Ok(store) => {
            let now = now();
            let ahead = store.attested().since(now);
            if ahead > DurationMs::from_secs(60) {
                let text = format!("it is {ahead} behind what was attested to the node");
                let hint = "set the clock, and see why its time server does not: directives will be taken for expired";
                found.push(Finding::new("clock", Standing::Bad, text, hint));
            }
            found.push(match store.view_expired_allowed(&identity.root) {
                Err(error) => Finding::new(
                    "trust",
                    Standing::Bad,
                    format!("the kept metadata makes no view: {error}"),
                    "run the node: the next refresh goes on from it; if that is refused, see docs/operations.md",
                ),
                Ok(images) => match images.is_fresh(Moment::from_ms(now.max(store.attested()).0)) {
                    Ok(()) => Finding::good("trust", "the metadata verifies from the pinned root on, and is fresh"),
                    Err(error) => Finding::new(
                        "trust",
                        Standing::Bad,
                        format!("{error}: the node begins nothing new"),
                        "is the clock right, and the controller in reach? Then its metadata is not renewed there",
                    ),
                },
            });
        }
    }
    match crate::witness_view(state_dir) {
        Err(error) => found.push(Finding::error("audit log", &error)),
        Ok(view) if view.refused.is_some() || view.damage.is_some() => found.push(Finding::new(
            "audit log",
            Standing::Bad,
            "the node was shown a log that does not go on from the one it knows: it begins nothing new",
            "`wardround node witness` shows both; docs/operations.md says what to do",
        )),
        Ok(_) => {}
    }
    found
}

fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// What a program says of itself when it was asked whether it could run this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTest {
    /// Its version.
    pub version: &'static str,
    /// The site whose files it has read.
    pub site: String,
}

/// Whether this program can read what the node lives on: identity, site file, trust store. The journal is not looked at: the node
/// that runs holds it.
///
/// # Errors
/// [`NodeError`] says what it can't read.
pub fn selftest(state_dir: &Path, site_file: &Path) -> Result<SelfTest, NodeError> {
    let identity = Identity::read(state_dir)?;
    let site = read_site_file(site_file)?;
    if site.inventory.site != identity.site {
        let (found, expected) = (site.inventory.site.to_string(), identity.site.to_string());
        return Err(NodeError::OtherSite { found, expected });
    }
    let unread = |source| NodeError::File { path: state_dir.to_owned(), verb: "read", source };
    let copy = tempfile::tempdir().map_err(unread)?;
    for folder in [FLOOR_FOLDER, METADATA_FOLDER] {
        copy_files(&state_dir.join(folder), &copy.path().join(folder)).map_err(unread)?;
    }
    let store = TrustStore::open(copy.path())?;
    if !store.files().is_empty() {
        store
            .view_expired_allowed(&identity.root)
            .map_err(|error| NodeError::Trust { path: state_dir.to_owned(), why: error.to_string() })?;
    }
    Ok(SelfTest { version: program::VERSION, site: identity.site.to_string() })
}

/// Which program runs, on which footing, and what became of the one that was left.
fn of_program(state_dir: &Path) -> Vec<Finding> {
    let programs = Programs::of(state_dir);
    if !programs.dir().exists() {
        let text = format!("{} as it is installed; no supervisor has run for this node", program::VERSION);
        return vec![Finding::good("program", text)];
    }
    let record = match programs.record() {
        Ok(record) => record,
        Err(error) => return vec![Finding::error("program", &error)],
    };
    let mut found = Vec::new();
    let place = |image: &Image| format!("{} from slot {} ({})", image.version, image.slot.word(), image.digest.short());
    let counts = record.confirmed.as_ref().map_or_else(|| "the packaged program".to_owned(), &place);
    found.push(match &record.trial {
        Some(trial) => {
            let text = format!(
                "{} is on trial, started {} times of at most {}, {}; before it {counts}",
                place(&trial.image),
                trial.starts,
                program::STARTS_MAX,
                if trial.well { "well" } else { "not well yet" }
            );
            Finding::new("program", Standing::Notice, text, "it counts when its soak in the rollout is over")
        }
        None => Finding::good("program", format!("{counts} counts")),
    });
    let trial = record.trial.as_ref().map(|trial| trial.image.digest);
    let named = trial.or(record.confirmed.as_ref().map(|image| image.digest)).or(record.packaged);
    match program::running(&programs) {
        None => {
            let hint = "start the service; `systemctl status wardround-node` says why it does not stay";
            found.push(Finding::new("program", Standing::Notice, "no supervisor has the node running", hint));
        }
        Some(running) if Some(running) != named => {
            let text = format!("the node runs {}, which is not what its record names", running.short());
            let hint = "is the disk full? What can't be written down is not started";
            found.push(Finding::new("program", Standing::Bad, text, hint));
        }
        Some(running) => found.push(Finding::good("program", format!("the node runs it: {}", running.short()))),
    }
    if record.next.is_some() {
        let hint = "the node restarts itself when no device is in the middle of a step";
        found.push(Finding::new("program", Standing::Notice, "another one begins with the next restart", hint));
    }
    if let Some(left) = &record.left {
        let version = if left.version.is_empty() { "a program" } else { &left.version };
        let text = format!("the supervisor went back from {version}: {}", left.why);
        found.push(Finding::new("program", Standing::Notice, text, "docs/self-update.md says what each reason means"));
    }
    found
}

fn of_disk(state_dir: &Path) -> Finding {
    let stat = match nix::sys::statvfs::statvfs(state_dir) {
        Ok(stat) => stat,
        Err(error) => {
            let text = format!("{} can't be looked at: {error}", state_dir.display());
            return Finding::new("disk", Standing::Bad, text, "is --state right, and may this account read it?");
        }
    };
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let text = format!("{} MiB are free", free >> 20);
    if free < 2 * RESERVE_BYTES {
        let hint = "make room: payloads need it, and without any the node only finishes what it has begun";
        return Finding::new("disk", Standing::Bad, text, hint);
    }
    Finding::good("disk", text)
}

fn of_site(site: &SiteFile, identity: Option<&Identity>) -> Vec<Finding> {
    let mut found = Vec::new();
    let inventory = &site.inventory;
    if let Some(identity) = identity.filter(|identity| identity.site != inventory.site) {
        let text = format!("it is that of {}, and this node is {}'s", inventory.site, identity.site);
        found.push(Finding::new("site file", Standing::Bad, text, "give the site file that belongs to this node"));
    }
    let mut notice = |text: String, hint: &str| found.push(Finding::new("site file", Standing::Notice, text, hint));
    if inventory.hours.time_zone.is_none() {
        notice("it names no time_zone: hours are read by UTC".into(), "add `time_zone: Europe/London` or yours");
    }
    let names = |ids: Vec<&str>| {
        let more = ids.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", ids.iter().take(5).copied().collect::<Vec<_>>().join(", "))
    };
    let blind: Vec<&str> = inventory
        .devices
        .iter()
        .filter(|device| !inventory.systems.iter().any(|system| system.devices.contains(&device.id)))
        .map(|device| device.id.as_str())
        .collect();
    if !blind.is_empty() {
        let text = format!("no clinical system needs {}: nothing notices a fault after its patch", names(blind));
        notice(text, "name it under `devices` of the systems that need it");
    }
    let mute: Vec<&str> =
        site.systems.iter().filter(|(_, config)| config.probes.is_empty()).map(|(id, _)| id.as_str()).collect();
    if !mute.is_empty() {
        notice(format!("{} has no probe: its health is never known", names(mute)), "give it one");
    }
    let unasked: Vec<&str> =
        site.devices.iter().filter(|(_, config)| config.in_use.is_none()).map(|(id, _)| id.as_str()).collect();
    if !unasked.is_empty() {
        let text =
            format!("nothing says whether {} is in use: its windows alone protect who works with it", names(unasked));
        notice(text, "add `in_use`");
    }
    let (devices, systems) = (inventory.devices.len(), inventory.systems.len());
    found.insert(0, Finding::good("site file", format!("{devices} devices, {systems} clinical systems")));
    found
}

async fn of_secrets(site: &SiteFile) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut count = 0;
    for (whose, secret) in site.secrets() {
        count += 1;
        if let Err(error) = secret.read().await {
            let hint = "it is read as the node's account: look at the file's rights, the variable, or run the command";
            found.push(Finding::new(&whose, Standing::Bad, error.to_string(), hint));
        }
    }
    if found.is_empty() && count > 0 {
        found.push(Finding::good("secrets", format!("all {count} can be read")));
    }
    found
}

async fn of_devices(site: &SiteFile) -> Vec<Finding> {
    let work = match tempfile::tempdir() {
        Ok(work) => Arc::new(work),
        Err(error) => {
            return vec![Finding::new(
                "devices",
                Standing::Bad,
                format!("no temporary folder: {error}"),
                "make room in it",
            )];
        }
    };
    let turns = Arc::new(Semaphore::new(DEVICES_AT_ONCE));
    let mut asked = JoinSet::new();
    for (id, config) in &site.devices {
        let (id, config, work, turns) = (id.clone(), config.clone(), Arc::clone(&work), Arc::clone(&turns));
        asked.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let found = ask(&id, &config, work.path().to_owned()).await;
            (id, found)
        });
    }
    let mut bad = BTreeMap::new();
    while let Some(done) = asked.join_next().await {
        if let Ok((id, Some(finding))) = done {
            bad.insert(id, finding);
        }
    }
    let well = site.devices.len() - bad.len();
    let mut found: Vec<Finding> = bad.into_values().collect();
    if well > 0 {
        found.insert(0, Finding::good("devices", format!("{well} of {} answer", site.devices.len())));
    }
    found
}

async fn ask(id: &DeviceId, config: &DeviceConfig, work: PathBuf) -> Option<Finding> {
    if config.transport == TransportConfig::Node {
        // It is looked at by itself.
        return None;
    }
    let transport = Transport::new(id, config, &work);
    let about = format!("device {id}");
    match tokio::time::timeout(DEVICE_TIMEOUT, transport.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Finding::new(&about, Standing::Bad, error.to_string(), error.hint())),
        Err(_) => {
            let text = format!("no answer within {}s", DEVICE_TIMEOUT.as_secs());
            let kind = match config.transport {
                TransportConfig::Adapter(_) => "try it with `wardround node adapter test`",
                _ => "is it switched on, and does anything stand between?",
            };
            Some(Finding::new(&about, Standing::Bad, text, kind))
        }
    }
}

/// A document that nobody has: "not found" is the answer of a controller that knows this node.
async fn of_controller(identity: &Identity) -> Finding {
    let controller = match Controller::new(identity) {
        Ok(controller) => controller,
        Err(error) => return Finding::error("controller", &error),
    };
    let begun = Instant::now();
    let nothing = Digest::of(b"wardround node doctor");
    let firewall = "check the address, that the controller runs, and the firewall towards it";
    match tokio::time::timeout(CONTROLLER_TIMEOUT, controller.document(&nothing)).await {
        Err(_) => {
            let text = format!("{} gives no answer within {}s", identity.controller, CONTROLLER_TIMEOUT.as_secs());
            Finding::new("controller", Standing::Bad, text, firewall)
        }
        Ok(Err(FetchError::Refused(why))) if !why.starts_with("NotFound") => {
            let hint = "is this node's identity revoked, or replaced by a newer enrolment? `wardround site show` there";
            Finding::new("controller", Standing::Bad, why, hint)
        }
        Ok(Err(FetchError::Unreachable(why))) => {
            Finding::new("controller", Standing::Bad, format!("{}: {why}", identity.controller), firewall)
        }
        Ok(_) => Finding::good(
            "controller",
            format!("{} answers in {} ms", identity.controller, begun.elapsed().as_millis()),
        ),
    }
}
