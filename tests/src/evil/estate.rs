//! An estate of one site with two devices, and another elsewhere, a patch, a rollout of two waves, and everything signed as it should be.

use std::collections::BTreeMap;

use wardround_rollout_plans::{
    estate,
    language::parse_plan,
    model::{
        CHUNK_BYTES, Command, DeploymentState, Device, DeviceId, Directive, Evidence, Failure, Goal, GoalAction,
        Installer, Interpreter, Member, Mode, Order, Passage, Patch, PatchId, Payload, Pin, Platform, Proven, Report,
        ReportBody, Reporter, Reporters, ResolvedWave, Rollout, RolloutId, Severity, SiteId, SiteInventory,
        SiteRollout, Timestamp, Variant, VariantId, WaveName,
    },
    resolve::resolve,
};
use wardround_signing::{Digest, Envelope, SecretKey, Signer as _, merkle::Tree};

use super::Repository;
use crate::world::{PLATFORM, payload};

/// The patch of these tests.
const PATCH: &str = "KB4500331";

/// Their keys.
pub struct People {
    /// Ann releases.
    pub ann: SecretKey,
    /// Ben is the clinical safety officer.
    pub ben: SecretKey,
    /// Dora stands in no role; what she would need both of is tried with her.
    pub dora: SecretKey,
    /// Nobody knows her.
    pub eve: SecretKey,
    /// Ann's second key, on call: two keys, and still one person.
    pub ann_again: SecretKey,
    /// Rae holds root and targets.
    pub rae: SecretKey,
    /// Rob does too.
    pub rob: SecretKey,
}

impl People {
    /// The number of Ann's key.
    pub const ANN: u8 = 1;
    /// Ben's.
    pub const BEN: u8 = 2;
    /// Rae's.
    pub const RAE: u8 = 6;
    /// Rob's.
    pub const ROB: u8 = 7;

    /// The key of a number.
    #[must_use]
    pub fn key(number: u8) -> SecretKey {
        SecretKey::from_seed(&[number; 32])
    }

    fn new() -> Self {
        let keys = [Self::ANN, Self::BEN, 3, 4, 5, Self::RAE, Self::ROB].map(Self::key);
        let [ann, ben, dora, eve, ann_again, rae, rob] = keys;
        Self { ann, ben, dora, eve, ann_again, rae, rob }
    }
}

/// All that an honest controller would hold.
pub struct Estate {
    /// Keys.
    pub people: People,
    /// The controller's online key.
    pub online: SecretKey,
    /// The site.
    pub site: SiteId,
    /// The patch.
    pub patch: Patch,
    /// The rollout.
    pub rollout: Rollout,
    /// Members, wave by wave.
    pub members: Vec<Vec<Member>>,
    /// Chunks by digest.
    pub chunks: BTreeMap<Digest, Vec<u8>>,
}

/// A site with two canaries of its own, whose node is pinned.
const ELSEWHERE: &str = "rx9";

/// The report key of its node. An attacker does not hold it; the tests make its honest reports with it.
fn elsewhere_key() -> SecretKey {
    SecretKey::from_seed(&[8; 32])
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

impl Estate {
    /// Site `site` with devices `a` (label `ring: canary`) and `b`.
    #[must_use]
    pub fn new(site: &str, plan: &str) -> Self {
        let site = SiteId::new(site).unwrap();
        let script = payload(PATCH, 600 * 1024);
        let chunks: BTreeMap<Digest, Vec<u8>> = script
            .chunks(usize::try_from(CHUNK_BYTES).unwrap())
            .map(|chunk| (Digest::of(chunk), chunk.to_vec()))
            .collect();
        let patch = Patch {
            id: PatchId::new(PATCH).unwrap(),
            title: "Test patch".into(),
            cves: vec!["CVE-2019-0708".into()],
            severity: Severity::Critical,
            guidance: String::new(),
            supersedes: Vec::new(),
            requires: Vec::new(),
            variants: vec![Variant::new(
                VariantId::new("xp").unwrap(),
                vec![Platform::new(PLATFORM).unwrap()],
                Payload {
                    file_name: format!("{PATCH}.sh"),
                    digest: Digest::of(&script),
                    length: script.len() as u64,
                    chunks: script.chunks(usize::try_from(CHUNK_BYTES).unwrap()).map(Digest::of).collect(),
                    sizes: Vec::new(),
                },
                Installer::Script { interpreter: Interpreter::Sh },
            )],
        };
        let mut known = estate::Estate::default();
        let device = |name: &str, ring: &str| Device {
            id: DeviceId::new(&format!("{site}/{name}")).unwrap(),
            platform: Platform::new(PLATFORM).unwrap(),
            model: "sandbox".into(),
            labels: BTreeMap::from([("ring".to_owned(), ring.to_owned())]),
            group: None,
            windows: Vec::new(),
            patches: Vec::new(),
        };
        known.put(SiteInventory {
            site: site.clone(),
            display_name: String::new(),
            region: String::new(),
            site_type: String::new(),
            labels: BTreeMap::new(),
            groups: BTreeMap::new(),
            hours: Default::default(),
            devices: vec![device("a", "canary"), device("b", "full")],
            systems: Vec::new(),
        });
        let elsewhere = Reporter { site: SiteId::new(ELSEWHERE).unwrap(), key: elsewhere_key().public() };
        let far =
            |name: &str| Device { id: DeviceId::new(&format!("{ELSEWHERE}/{name}")).unwrap(), ..device("a", "canary") };
        known.put(SiteInventory {
            site: elsewhere.site.clone(),
            display_name: String::new(),
            region: String::new(),
            site_type: String::new(),
            labels: BTreeMap::new(),
            groups: BTreeMap::new(),
            hours: Default::default(),
            devices: vec![far("y"), far("z")],
            systems: Vec::new(),
        });
        let parsed = parse_plan(plan, "plan.yaml").unwrap();
        let members = resolve(&parsed, &patch, &known).unwrap().waves;
        let waves = members.iter().map(|wave| ResolvedWave {
            name: wave[0].wave.clone(),
            root: Tree::new(wave.iter().map(Member::leaf)).root(),
            count: wave.len() as u64,
            since: 1,
            reporters: Reporters::of(std::slice::from_ref(&elsewhere), wave),
        });
        let rollout = Rollout {
            id: RolloutId::new("r1").unwrap(),
            version: 1,
            ancestors: Vec::new(),
            patch: patch.id.clone(),
            patch_digest: Envelope::unsigned(&patch).unwrap().digest(),
            requires: Vec::new(),
            supersedes: Vec::new(),
            waves: waves.collect(),
            plan: parsed.plan,
            created_at: now(),
        };
        let online = SecretKey::from_seed(&[9; 32]);
        Self { people: People::new(), online, site, patch, rollout, members, chunks }
    }

    /// An honest repository: both roles list the patch and the rollout.
    #[must_use]
    pub fn repository(&self) -> Repository {
        let mut repository = Repository::begin(&self.people, &self.online);
        repository.agree(self);
        repository
    }

    /// The patch document, in the envelope in which documents travel.
    #[must_use]
    pub fn patch_document(&self) -> Envelope {
        Envelope::unsigned(&self.patch).unwrap()
    }

    /// The rollout document.
    #[must_use]
    pub fn rollout_document(&self) -> Envelope {
        Envelope::unsigned(&self.rollout).unwrap()
    }

    /// An order about the rollout.
    #[must_use]
    pub fn order(&self, counter: u64, command: Command, signer: &SecretKey) -> Envelope {
        self.order_of(counter, command, &[signer])
    }

    /// An order about the rollout that these have signed.
    #[must_use]
    pub fn order_of(&self, counter: u64, command: Command, signers: &[&SecretKey]) -> Envelope {
        let digest = Envelope::unsigned(&self.rollout).unwrap().digest();
        let rollout = self.rollout.id.clone();
        let order = Order { rollout, digest, counter, issued_at: now(), command, reason: "test".into() };
        sign(Envelope::unsigned(&order).unwrap(), signers)
    }

    /// Ann's start order.
    #[must_use]
    pub fn start(&self) -> Envelope {
        self.order(1, Command::Start, &self.people.ann)
    }

    /// An approval of the second wave.
    #[must_use]
    pub fn approval(&self, signer: &SecretKey) -> Envelope {
        self.order(2, Command::Approve { wave: WaveName::new("full").unwrap() }, signer)
    }

    /// The goal to install on the only device of a wave.
    #[must_use]
    pub fn goal(&self, wave: usize) -> Goal {
        let members = &self.members[wave];
        let proof = Tree::new(members.iter().map(Member::leaf)).prove(0).unwrap();
        Goal { member: members[0].clone(), proof, action: GoalAction::Install, attempt: 1 }
    }

    /// The word of the node elsewhere that a device has succeeded in the rollout.
    #[must_use]
    pub fn success(&self, device: &DeviceId) -> Report {
        let document = Envelope::unsigned(&self.rollout).unwrap().digest();
        let body = ReportBody::Deployment {
            rollout: self.rollout.id.clone(),
            device: device.clone(),
            attempt: 1,
            state: DeploymentState::Succeeded,
            reason: String::new(),
            code: String::new(),
            evidence: Evidence { document: Some(document), ..Evidence::default() },
        };
        Report { site: device.site(), seq: 1, at: now(), body }
    }

    /// Device `at` of the first wave (1 and 2 are elsewhere), proved as an honest controller would.
    #[must_use]
    pub fn proven(&self, at: usize) -> Proven {
        self.proven_by(at, &elsewhere_key(), |_| ())
    }

    /// The same by another key, or with something changed before it is signed.
    #[must_use]
    pub fn proven_by(&self, at: usize, key: &SecretKey, change: impl FnOnce(&mut Report)) -> Proven {
        let wave = &self.members[0];
        let member = wave[at].clone();
        let mut report = self.success(&member.device);
        change(&mut report);
        let node = Reporter { site: SiteId::new(ELSEWHERE).unwrap(), key: elsewhere_key().public() };
        let nodes = Reporters::tree(&[node]);
        Proven {
            member,
            proof: Tree::new(wave.iter().map(Member::leaf)).prove(at as u64).unwrap(),
            report: Envelope::seal(&report, key).unwrap(),
            key: key.public(),
            node: nodes.prove(0).unwrap(),
        }
    }

    /// The word of the node elsewhere that its device `y` has failed, proved as an honest controller would.
    #[must_use]
    pub fn failure(&self) -> Failure {
        self.failure_by(&elsewhere_key(), |_| ())
    }

    /// The same by another key, or with something changed before it is signed.
    #[must_use]
    pub fn failure_by(&self, key: &SecretKey, change: impl FnOnce(&mut Report)) -> Failure {
        let proven = self.proven_by(1, key, |report| {
            if let ReportBody::Deployment { state, code, .. } = &mut report.body {
                *state = DeploymentState::RolledBack;
                "install_failed".clone_into(code);
            }
            change(report);
        });
        let Proven { member, proof, report, key, node } = proven;
        Failure { member, proof, report, pin: Some(Pin { key, proof: node }) }
    }

    /// What is shown of the first wave.
    #[must_use]
    pub fn passage(&self, devices: Vec<Proven>) -> Passage {
        Passage { wave: self.members[0][0].wave.clone(), devices }
    }

    /// A directive that wants these goals under these orders, good for an hour.
    #[must_use]
    pub fn directive(&self, counter: u64, orders: Vec<Envelope>, goals: Vec<Goal>) -> Directive {
        let issued_at = now();
        let rollouts = vec![SiteRollout {
            rollout: self.rollout.id.clone(),
            digest: Envelope::unsigned(&self.rollout).unwrap().digest(),
            mode: Mode::Proceed,
            orders,
            goals,
            passages: vec![self.passage(vec![self.proven(1), self.proven(2)])],
            failures: Vec::new(),
        }];
        let expires_at = Timestamp(issued_at.0 + 3_600_000);
        Directive { site: self.site.clone(), counter, issued_at, expires_at, rollouts }
    }

    /// A directive signed with the controller's online key.
    #[must_use]
    pub fn seal(&self, directive: &Directive) -> Envelope {
        Envelope::seal(directive, &self.online).unwrap()
    }
}

fn sign(mut envelope: Envelope, signers: &[&SecretKey]) -> Envelope {
    for signer in signers {
        envelope.sign(*signer).unwrap();
    }
    envelope
}
