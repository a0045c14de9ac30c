//! A small hospital estate of real processes: a controller, nodes, sandbox devices and a clinical service, driven through
//! the command line and watched through the API.
#![expect(clippy::unwrap_used, reason = "a test harness: a failure is a panic that names the line")]

mod api;
mod command;
mod device;
mod disk;
mod link;
mod own;
pub mod plan;
mod process;
pub mod repository;
mod sampler;
mod service;
mod site;
mod wait;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use tempfile::TempDir;
use wardround_proto::v1;

pub use api::Api;
pub use command::{PASSPHRASE, Ran};
pub use device::{Device, PLATFORM, installs_at_once, payload};
pub use disk::SmallDisk;
pub use link::Link;
pub use process::Process;
pub use sampler::{Most, Sampler};
pub use service::Service;
pub use site::{Blueprint, OWN_PLATFORM, Site};
pub use wait::{try_wait, wait, wait_until};

use crate::ports::free_port;

/// Ann releases, Ben is the clinical safety officer, Cy is on call, and Dora's key names both
/// roles, of which the ceremony gives her the first.
const PEOPLE: [(&str, &str, &[&str]); 4] = [
    ("ann", "Ann Lee", &["release"]),
    ("ben", "Ben Fox", &["clinical"]),
    ("cy", "Cy Poole", &["on-call"]),
    ("dora", "Dora Day", &["release", "clinical"]),
];

/// How a controller is started.
#[derive(Debug, Clone)]
pub struct Pace {
    /// How often nodes check in when nothing nudges them.
    pub check_in_every: &'static str,
    /// After how long without a word a site counts as silent.
    pub silence_after: &'static str,
}

impl Default for Pace {
    fn default() -> Self {
        Self { check_in_every: "500ms", silence_after: "20s" }
    }
}

/// The estate.
pub struct World {
    // Dropped in this order: the processes before the directory that they write to.
    /// The controller's process.
    pub controller: Option<Process>,
    sites: BTreeMap<String, Site>,
    /// The clinical service.
    pub service: Service,
    /// Its API.
    pub api: Api,
    program: PathBuf,
    port: u16,
    host: String,
    pace: Pace,
    /// What every process of the estate finds in its environment.
    environment: Vec<(String, String)>,
    home: PathBuf,
    dir: TempDir,
}

impl World {
    /// A running controller with three people and no site.
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self::with(program, Pace::default(), |_| {})
    }

    /// As [`World::new`], at another pace, and with a chance to lay out the home directory before `init`.
    pub fn with(program: &str, pace: Pace, prepare: impl FnOnce(&Path)) -> Self {
        Self::build("127.0.0.1", program, pace, Vec::new(), prepare)
    }

    /// As [`World::with`], with a controller that listens on this address.
    pub fn at(host: &str, program: &str, pace: Pace, prepare: impl FnOnce(&Path)) -> Self {
        Self::build(host, program, pace, Vec::new(), prepare)
    }

    /// As [`World::new`], with this in the environment of every process: of `init`, of the controller, of nodes and of people's commands.
    #[must_use]
    pub fn in_environment(program: &str, environment: Vec<(String, String)>) -> Self {
        Self::build("127.0.0.1", program, Pace::default(), environment, |_| {})
    }

    fn build(
        host: &str,
        program: &str,
        pace: Pace,
        environment: Vec<(String, String)>,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let program = PathBuf::from(program);
        let dir = tempfile::Builder::new().prefix("wardround-world-").tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir_all(&home).unwrap();
        fs::create_dir_all(dir.path().join("sites")).unwrap();
        prepare(&home);
        let port = free_port();
        let listen = format!("{host}:{port}");
        let people = PEOPLE.map(|(name, _, _)| key_file(&program, &format!("{name}.pub.json")));
        let init = ["init", "--listen", &listen, "--no-console"];
        Ran::run_in(&environment, &program, &home, &init, PASSPHRASE).ok();
        repository::begin(&home.join("controller"), &people);
        let api = Api::new(&home.join("operator"), host, port);
        let service = Service::start(&dir.path().join("sites"));
        let mut world = Self {
            controller: None,
            sites: BTreeMap::new(),
            service,
            api,
            program,
            port,
            host: host.to_owned(),
            pace,
            environment,
            home,
            dir,
        };
        world.start_controller();
        world.controller_ready();
        world
    }

    /// The directory of everything.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The operator's and the controller's home.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The controller's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The program under test.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Starts the controller, for the first time or again, and does not wait for it.
    pub fn start_controller(&mut self) {
        let home = self.home.display().to_string();
        let args = [
            "--home",
            &home,
            "controller",
            "run",
            "--check-in-every",
            self.pace.check_in_every,
            "--silence-after",
            self.pace.silence_after,
            "--stop-with-stdin",
        ];
        let log = self.dir.path().join("controller.log");
        self.controller = None;
        let environment = process::environment(&self.environment);
        self.controller = Some(Process::start("controller", &self.program, args, &environment, &log));
    }

    /// Waits until the controller answers.
    pub fn controller_ready(&mut self) {
        wait_until(30, "the controller to answer", || {
            if let Some(status) = self.controller.as_mut().and_then(Process::ended) {
                panic!("the controller ended: {status}");
            }
            self.api.records().is_ok()
        });
    }

    /// `kill -9` of the controller and a new start on the same data.
    pub fn crash_controller(&mut self) {
        self.controller().kill9();
        self.start_controller();
        self.controller_ready();
    }

    /// The controller's process.
    pub fn controller(&mut self) -> &mut Process {
        self.controller.as_mut().unwrap()
    }

    /// Builds a site, enrols its node, starts it, and waits until the controller knows all of it.
    pub fn add_site(&mut self, plan: &Blueprint) {
        self.lay_out_site(plan);
        self.enrol(&plan.id);
        self.start_node(&plan.id);
        self.wait_connected(&plan.id);
    }

    /// As [`World::add_site`], with the node's own program among its devices: `packaged`, started by its supervisor.
    pub fn add_supervised_site(&mut self, plan: &Blueprint, ring: &str, packaged: &Path) {
        self.lay_out_site(plan);
        self.site(&plan.id).declare_own(ring);
        self.enrol(&plan.id);
        self.site_mut(&plan.id).start_supervised(packaged);
        self.wait_known(&plan.id, self.site(&plan.id).devices.len() + 1);
    }

    /// Builds a site's files without a node.
    pub fn lay_out_site(&mut self, plan: &Blueprint) {
        let mut site = Site::build(self.dir.path(), plan, &self.service, self.port);
        site.environment.clone_from(&self.environment);
        self.sites.insert(plan.id.clone(), site);
    }

    /// Adds a site whose file a test wrote itself, and waits until the controller knows its `devices`.
    pub fn add_declared_site(&mut self, id: &str, yaml: &str, devices: usize) {
        self.sites.insert(id.to_owned(), Site::declared(self.dir.path(), id, yaml));
        self.enrol(id);
        self.start_node(id);
        self.wait_known(id, devices);
    }

    /// Enrols the node of a site.
    pub fn enrol(&self, id: &str) {
        let site = self.site(id);
        let token = self.token(id);
        let url = match &site.link {
            Some(link) => format!("https://127.0.0.1:{}", link.port),
            None => format!("https://{}:{}", self.host, self.port),
        };
        let state = site.state().display().to_string();
        self.run(&["node", "enrol", "--controller", &url, "--token", &token, "--state", &state]).ok();
    }

    /// A new enrolment token.
    #[must_use]
    pub fn token(&self, site: &str) -> String {
        let made = self.run(&["site", "token", site, "--output", "json"]).ok().json();
        made["token"].as_str().unwrap().to_owned()
    }

    /// Starts a node, for the first time or again.
    pub fn start_node(&mut self, id: &str) {
        let program = self.program.clone();
        self.site_mut(id).start_node(&program);
    }

    /// Waits until a site's node holds its stream and its whole inventory is known, all systems probed.
    pub fn wait_connected(&self, id: &str) {
        self.wait_known(id, self.site(id).devices.len());
    }

    fn wait_known(&self, id: &str, devices: usize) {
        wait_until(30, &format!("site {id} to be connected"), || {
            self.api.site(id).is_ok_and(|s| {
                s.site.is_some_and(|site| site.connected)
                    && s.devices.len() == devices
                    && s.clinical_systems.iter().all(|c| c.health != "unknown" && !c.health.is_empty())
            })
        });
    }

    /// A site.
    #[must_use]
    pub fn site(&self, id: &str) -> &Site {
        &self.sites[id]
    }

    /// A site.
    pub fn site_mut(&mut self, id: &str) -> &mut Site {
        self.sites.get_mut(id).unwrap()
    }

    /// A device by "site/name".
    #[must_use]
    pub fn device(&self, id: &str) -> Device {
        let (site, name) = id.split_once('/').unwrap();
        self.site(site).device(name).clone()
    }

    /// All devices.
    #[must_use]
    pub fn devices(&self) -> Vec<&Device> {
        self.sites.values().flat_map(|s| &s.devices).collect()
    }

    /// Runs a command.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        self.run_with_passphrase(PASSPHRASE, args)
    }

    /// Runs a command with another passphrase in the environment.
    #[must_use]
    pub fn run_with_passphrase(&self, passphrase: &str, args: &[&str]) -> Ran {
        Ran::run_in(&self.environment, &self.program, &self.home, args, passphrase)
    }

    /// Runs a command signed by `person` ("ann", "ben", "cy").
    #[must_use]
    pub fn run_as(&self, person: &str, args: &[&str]) -> Ran {
        let key = self.key(person);
        let mut all = args.to_vec();
        all.extend(["--key", &key]);
        self.run(&all)
    }

    /// As [`World::run_as`], for what these people order together on one machine.
    pub fn run_by(&self, people: &[&str], args: &[&str]) -> Ran {
        let keys: Vec<String> = people.iter().map(|person| self.key(person)).collect();
        let mut all = args.to_vec();
        keys.iter().for_each(|key| all.extend(["--key", key]));
        self.run(&all)
    }

    /// The public key file of a person.
    #[must_use]
    pub fn public_key(&self, person: &str) -> String {
        key_file(&self.program, &format!("{person}.pub.json"))
    }

    /// The key file of a person.
    #[must_use]
    pub fn key(&self, person: &str) -> String {
        key_file(&self.program, &format!("{person}.key"))
    }

    /// Imports a script patch and has it signed by both roles.
    pub fn patch(&self, id: &str, bytes_min: usize) {
        self.import(id, bytes_min);
        for person in ["ann", "ben"] {
            self.run_as(person, &["patch", "sign", id, "--yes"]).ok();
        }
    }

    /// Imports a script patch; nobody signs it.
    pub fn import(&self, id: &str, bytes_min: usize) {
        let folder = self.patches();
        fs::write(folder.join(format!("{id}.sh")), payload(id, bytes_min)).unwrap();
        let file = folder.join(format!("{id}.yaml"));
        fs::write(&file, patch_file(id, PLATFORM)).unwrap();
        self.run(&["patch", "import", &file.display().to_string()]).ok();
    }

    /// As [`World::patch`], with a line more in its variant: `irreversible: …`.
    pub fn patch_with(&self, id: &str, line: &str) {
        let folder = self.patches();
        fs::write(folder.join(format!("{id}.sh")), payload(id, 0)).unwrap();
        let file = folder.join(format!("{id}.yaml"));
        fs::write(&file, format!("{}    {line}\n", patch_file(id, PLATFORM))).unwrap();
        self.patch_by(id, &file);
    }

    /// As [`World::patch`], with a script that a test wrote itself, for devices of this platform.
    pub fn patch_script(&self, id: &str, platform: &str, script: &str) {
        let file = self.patches().join(format!("{id}.yaml"));
        fs::write(file.with_extension("sh"), script).unwrap();
        fs::write(&file, patch_file(id, platform)).unwrap();
        self.patch_by(id, &file);
    }

    /// Imports a patch by a manifest that a test wrote itself, and has it signed by both roles.
    pub fn patch_by(&self, id: &str, manifest: &Path) {
        self.run(&["patch", "import", &manifest.display().to_string()]).ok();
        for person in ["ann", "ben"] {
            self.run_as(person, &["patch", "sign", id, "--yes"]).ok();
        }
    }

    /// Resolves a plan and has the rollout signed by both roles.
    pub fn rollout(&self, id: &str, patch: &str, plan: &str) {
        self.draft(id, patch, plan).ok();
        for person in ["ann", "ben"] {
            self.run_as(person, &["rollout", "sign", id, "--yes"]).ok();
        }
    }

    /// Resolves a plan; nobody signs it.
    #[must_use]
    pub fn draft(&self, id: &str, patch: &str, plan: &str) -> Ran {
        let file = self.dir.path().join(format!("{id}.plan.yaml"));
        fs::write(&file, plan).unwrap();
        self.run(&["rollout", "create", "--patch", patch, "--plan", &file.display().to_string(), "--id", id])
    }

    /// Signs a rollout and starts it.
    pub fn start(&self, id: &str, patch: &str, plan: &str) {
        self.rollout(id, patch, plan);
        self.run_as("ann", &["rollout", "start", id]).ok();
    }

    /// The state of a rollout; empty when the controller does not say.
    #[must_use]
    pub fn state(&self, rollout: &str) -> String {
        self.api.rollout(rollout).map(|r| r.state).unwrap_or_default()
    }

    /// The state of a wave; empty when the controller does not say.
    #[must_use]
    pub fn wave(&self, rollout: &str, wave: &str) -> String {
        let found = self.api.rollout(rollout).ok().and_then(|r| r.waves.into_iter().find(|w| w.name == wave));
        found.map(|w| w.state).unwrap_or_default()
    }

    /// A deployment.
    #[must_use]
    pub fn deployment(&self, rollout: &str, device: &str) -> Option<v1::Deployment> {
        self.api.deployments(rollout).ok()?.into_iter().find(|d| d.device == device)
    }

    /// Waits until a rollout is in `state`.
    pub fn wait_state(&self, seconds: u64, rollout: &str, state: &str) {
        let reached = try_wait(seconds, || (self.state(rollout) == state).then_some(()));
        assert!(reached.is_some(), "rollout {rollout} never became {state}:\n{}", self.describe(rollout));
    }

    /// Waits until a wave is in `state`.
    pub fn wait_wave(&self, seconds: u64, rollout: &str, wave: &str, state: &str) {
        let reached = try_wait(seconds, || (self.wave(rollout, wave) == state).then_some(()));
        assert!(reached.is_some(), "wave {wave} of {rollout} never became {state}:\n{}", self.describe(rollout));
    }

    /// Waits until a deployment is in one of `states`.
    pub fn wait_deployment(&self, seconds: u64, rollout: &str, device: &str, states: &[&str]) -> v1::Deployment {
        let reached =
            try_wait(seconds, || self.deployment(rollout, device).filter(|d| states.contains(&d.state.as_str())));
        reached.unwrap_or_else(|| panic!("{device} never became {states:?}:\n{}", self.describe(rollout)))
    }

    /// Everything about a rollout, for a failing test.
    #[must_use]
    pub fn describe(&self, rollout: &str) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        match self.api.rollout(rollout) {
            Err(status) => return format!("the controller says {status}"),
            Ok(r) => {
                writeln!(text, "rollout {} {}: {}", r.id, r.state, r.reason).unwrap();
                for w in r.waves {
                    let waiting = w.waiting.map(|w| w.text).unwrap_or_default();
                    writeln!(text, "  wave {} {} waiting={waiting:?} gate={:?}", w.name, w.state, w.gate).unwrap();
                }
            }
        }
        for d in self.api.deployments(rollout).unwrap_or_default() {
            writeln!(text, "  {} {} attempt {} {:?} {}", d.device, d.state, d.attempt, d.reason, d.evidence_json)
                .unwrap();
        }
        text
    }

    /// Watches from now on how many deployments of a rollout are in hand at once.
    #[must_use]
    pub fn sample(&self, rollout: &str) -> Sampler {
        Sampler::start(Api::new(&self.home.join("operator"), &self.host, self.port), rollout)
    }

    /// Waits until a site's node has checked in a few times more: what it was about to do, it would have done.
    pub fn wait_check_ins(&self, site: &str, times: u32) {
        let seen = || self.api.site(site).ok().and_then(|s| s.site).map_or(0, |s| s.last_seen_ms);
        for _ in 0..times {
            let before = seen();
            wait_until(20, &format!("a check-in of {site}"), || seen() > before);
        }
    }

    /// The texts of all alarms of a site, with their codes.
    #[must_use]
    pub fn alarms(&self, site: &str) -> Vec<(String, String)> {
        let site = self.api.site(site).map(|s| s.alarms).unwrap_or_default();
        site.into_iter().map(|a| (a.code, a.text)).collect()
    }
}

/// A patch file for a script payload beside it.
fn patch_file(id: &str, platform: &str) -> String {
    format!(
        "id: {id}\ntitle: Test patch {id}\nseverity: critical\nvariants:\n  - id: xp\n    platforms: [\"{platform}\"]\n    \
         payload: {{ file: {id}.sh }}\n    installer: {{ technology: script, interpreter: sh }}\n"
    )
}

/// Keys cost scrypt's time: they are made once, and kept beside the build for later runs.
fn key_file(program: &Path, name: &str) -> String {
    static KEYS: OnceLock<PathBuf> = OnceLock::new();
    let keys = KEYS.get_or_init(|| {
        let target = program.parent().and_then(Path::parent).unwrap().join("tmp");
        let kept = target.join("wardround-test-keys-2");
        if !kept.is_dir() {
            fs::create_dir_all(&target).unwrap();
            let fresh = tempfile::Builder::new().prefix("wardround-test-keys-").tempdir_in(&target).unwrap();
            for (name, holder, roles) in PEOPLE {
                let out = fresh.path().join(format!("{name}.key")).display().to_string();
                let mut args = vec!["key", "create", "--holder", holder, "--out", &out];
                args.extend(roles.iter().flat_map(|role| ["--role", role]));
                Ran::run(program, fresh.path(), &args, PASSPHRASE).ok();
            }
            // Another test program may have been faster; then its keys are as good.
            if fs::rename(fresh.path(), &kept).is_ok() {
                drop(fresh.keep());
            }
        }
        kept
    });
    keys.join(name).display().to_string()
}
