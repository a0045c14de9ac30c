//! One real node against the attacker's controller.

use std::path::PathBuf;

use tempfile::TempDir;
use wardround_rollout_plans::model::Directive;
use wardround_signing::Envelope;

use super::{Estate, Evil, Repository};
use crate::world::{Blueprint, Device, Ran, Service, Site, plan::two_waves, try_wait, wait_until};

/// The first wave.
pub const CANARY: usize = 0;
/// The second wave, which needs the approval of the clinical safety officer.
pub const FULL: usize = 1;

/// A real node that trusts an evil controller's CA and the root of its repository.
pub struct Case {
    /// For messages.
    pub name: &'static str,
    /// The site with two devices, `a` in the first wave and `b` in the second.
    pub site: Site,
    /// The controller.
    pub evil: Evil,
    /// All that it knows.
    pub estate: Estate,
    program: PathBuf,
    version: std::cell::Cell<u64>,
    // Dropped last.
    _service: Service,
    _dir: TempDir,
}

impl Case {
    /// Everything is served as an honest controller would; the directive is not there yet. `program` is `wardround`.
    #[must_use]
    pub fn new(program: &str, name: &'static str) -> Self {
        Self::planned(program, name, |plan| plan)
    }

    /// As [`Case::new`], with another plan that people of both roles signed.
    #[must_use]
    pub fn planned(program: &str, name: &'static str, plan: impl FnOnce(String) -> String) -> Self {
        let program = PathBuf::from(program);
        let dir = tempfile::Builder::new().prefix("wardround-tamper-").tempdir().unwrap();
        let sites = dir.path().join("sites");
        std::fs::create_dir_all(&sites).unwrap();
        let service = Service::start(&sites);
        // The approval of a clinical safety officer, and two canaries that succeeded, stand before the second wave.
        let yaml = two_waves("300ms", "{ per_site: 2 }", "wave").replacen(
            "    soak: 300ms\n",
            "    soak: 300ms\n    gate: { approvals: [clinical], evidence_min: 2 }\n",
            1,
        );
        let estate = Estate::new("rx1", &plan(yaml));
        let evil = Evil::start(&estate, &estate.repository());
        let blueprint = Blueprint::new("rx1").device("a", "canary").device("b", "full");
        let site = Site::build(dir.path(), &blueprint, &service, evil.port);
        let (url, state) = (format!("https://127.0.0.1:{}", evil.port), site.state().display().to_string());
        let enrol = ["node", "enrol", "--controller", &url, "--token", &evil.token, "--state", &state];
        // The server listens within moments of being started.
        try_wait(10, || (Ran::run(&program, dir.path(), &enrol, "").code == Some(0)).then_some(()))
            .unwrap_or_else(|| panic!("{name}: {:?}", Ran::run(&program, dir.path(), &enrol, "")));
        let version = std::cell::Cell::new(0);
        let mut case = Self { name, site, evil, estate, program, version, _service: service, _dir: dir };
        case.serve_honestly();
        case.start_node();
        case
    }

    /// Starts the node, for the first time or again.
    pub fn start_node(&mut self) {
        self.site.start_node(&self.program);
    }

    /// Runs a command of the program.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::run(&self.program, self._dir.path(), args, "")
    }

    /// Publishes the next version of the honest repository, changed by `change`, and speaks of it.
    pub fn publish(&self, change: impl FnOnce(&mut Repository, &Estate)) {
        let mut repository = self.estate.repository();
        self.version.set(self.version.get() + 1);
        repository.version = self.version.get();
        change(&mut repository, &self.estate);
        self.evil.with(|served| {
            served.metadata = repository.files();
            served.timestamp_version = self.version.get();
        });
    }

    /// Goes on above a version that a test published by itself.
    pub fn go_on_above(&self, version: u64) {
        self.version.set(self.version.get().max(version));
    }

    /// Documents, chunks and metadata as they should be.
    pub fn serve_honestly(&self) {
        self.evil.with(|served| {
            served.chunks = self.estate.chunks.clone();
            let documents = [self.estate.patch_document(), self.estate.rollout_document()];
            served.documents.extend(documents.map(|document| (document.digest(), document)));
            served.stalled = None;
        });
        self.publish(|_, _| {});
    }

    /// Waits until the node has checked in so many times more: what it was about to do, it would have done.
    pub fn check_ins(&self, more: u64) {
        let before = self.evil.with(|served| served.check_ins);
        wait_until(30, &format!("{}: {more} more check-ins", self.name), || {
            self.evil.with(|served| served.check_ins) >= before + more
        });
    }

    /// Serves a document under the digest of the honest one.
    pub fn document(&self, honest: &Envelope, served_instead: Envelope) {
        self.evil.with(|served| served.documents.insert(honest.digest(), served_instead));
    }

    /// Serves this directive from now on.
    pub fn say(&self, directive: Envelope) {
        self.evil.with(|served| served.directive = Some(directive));
    }

    /// An honest directive for the canary.
    #[must_use]
    pub fn canary(&self, counter: u64) -> Directive {
        self.estate.directive(counter, vec![self.estate.start()], vec![self.estate.goal(CANARY)])
    }

    /// The node says, signed, that it refused `what`, in words that hold `why`; and no device was touched.
    pub fn refuses(&mut self, what: &str, why: &str) {
        let name = self.name;
        let found =
            try_wait(30, || self.evil.refusals().into_iter().find(|(w, y)| w.contains(what) && y.contains(why)));
        if found.is_none() {
            let log = self.site.node().log();
            panic!("{name}: no refusal of {what:?} with {why:?} in {:?}\n{log}", self.evil.refusals());
        }
        self.check_ins(2);
        assert!(self.site.devices.iter().all(Device::untouched), "{name}: a device was touched");
        assert!(self.site.node().ended().is_none(), "{name}: the node ended");
    }

    /// Proof that nothing but the tampering stood in the way: honest words now install on this device alone.
    pub fn honest_words_install(&self, directive: &Directive, device: &str) {
        self.serve_honestly();
        self.say(self.estate.seal(directive));
        let patch = self.estate.patch.id.as_str();
        wait_until(40, &format!("{}: the honest install on {device}", self.name), || {
            self.site.device(device).installed(patch)
        });
        for other in self.site.devices.iter().filter(|d| d.name() != device) {
            assert!(other.untouched(), "{}: {}", self.name, other.id);
        }
    }
}
