//! A directive with one thing wrong, for each thing that can be wrong.

use std::collections::BTreeMap;

use wardround_rollout_plans::model::{
    CHUNK_BYTES, Command, DeploymentState, Device, DeviceId, Directive, DurationMs, Evidence, Gate, Goal, GoalAction,
    HealthPolicy, Installer, Interpreter, Limits, Member, Mode, Order, Passage, Patch, PatchId, Payload, Plan,
    Platform, Proven, Report, ReportBody, Reporter, Reporters, ResolvedWave, RollBackTarget, Rollout, RolloutId,
    Selector, Severity, SiteId, SiteInventory, SiteRollout, Timestamp, Variant, VariantId, WaveName, WavePlan,
};
use wardround_signing::{
    Digest, Document, Envelope, Role, SecretKey, Signer as _, TrustAnchor, TrustedKey, document_bytes,
    merkle::Tree,
    tuf::{Images, Kind},
};

use super::{
    Documents, Floor, Genuine, Listed, Paper, Papers, Refusal, agreement, directive::expired, halt, open,
    store_tests::Repository, wishes,
};
use crate::machine::Wishes;

mod passage;
mod rollback;

const XP: &str = "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:*:*:x86:*";
const NOW: Timestamp = Timestamp(1_000_000);

/// Ann releases, Ben is the clinical safety officer, Cem is on call; Dan has Ann's roles under a name that is hers.
struct Hospital {
    ann: SecretKey,
    ben: SecretKey,
    cem: SecretKey,
    twin: SecretKey,
    online: SecretKey,
    anchor: TrustAnchor,
    patch: Patch,
    rollout: Rollout,
    waves: Vec<Vec<Member>>,
    inventory: SiteInventory,
    _dir: tempfile::TempDir,
    documents: Documents,
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(&format!("rx1/{name}")).unwrap()
}

fn member(wave: &str, name: &str) -> Member {
    Member { wave: WaveName::new(wave).unwrap(), device: device(name), variant: VariantId::new("xp").unwrap() }
}

fn sealed<D: Document>(document: &D, signers: &[&SecretKey]) -> Envelope {
    let mut envelope = Envelope::unsigned(document).unwrap();
    for signer in signers {
        envelope.sign(*signer).unwrap();
    }
    envelope
}

fn genuine<D: Document>(document: &D) -> Genuine<D> {
    let envelope = Envelope::unsigned(document).unwrap();
    Genuine::read(&envelope.payload, &envelope.digest()).unwrap()
}

fn resume() -> Command {
    Command::Resume { lifts: Vec::new() }
}

impl Hospital {
    /// Wave canary holds `a`; wave full holds `b` and `c`, and its gate asks for a clinical and an on-call approval.
    fn new() -> Self {
        let keys: Vec<SecretKey> = (1..=5).map(|n| SecretKey::from_seed(&[n; 32])).collect();
        let [ann, ben, cem, twin, online] = <[SecretKey; 5]>::try_from(keys).ok().unwrap();
        let key = |key: &SecretKey, holder: &str, roles: &[Role]| TrustedKey {
            key: key.public(),
            holder: holder.to_owned(),
            roles: roles.iter().copied().collect(),
        };
        let anchor = TrustAnchor::new(vec![
            key(&ann, "Ann Lee", &[Role::Release]),
            key(&ben, "Ben Fox", &[Role::Clinical]),
            key(&cem, "Cem Oz", &[Role::OnCall]),
            key(&twin, "ben  FOX", &[Role::OnCall]),
        ])
        .unwrap();
        let platform = Platform::new(XP).unwrap();
        let payload = Payload {
            file_name: "kb.sh".into(),
            digest: Digest::of(b"payload"),
            length: CHUNK_BYTES.min(7),
            chunks: vec![Digest::of(b"payload")],
            sizes: Vec::new(),
        };
        let variant = Variant::new(
            VariantId::new("xp").unwrap(),
            vec![platform.clone()],
            payload,
            Installer::Script { interpreter: Interpreter::Sh },
        );
        let patch = Patch {
            id: PatchId::new("KB1").unwrap(),
            title: "a patch".into(),
            cves: Vec::new(),
            severity: Severity::Critical,
            guidance: String::new(),
            supersedes: Vec::new(),
            requires: Vec::new(),
            variants: vec![variant],
        };
        let waves = vec![vec![member("canary", "a")], vec![member("full", "b"), member("full", "c")]];
        let rollout = Self::rollout(&patch, &waves);
        let machine = |name: &str| Device {
            id: device(name),
            platform: platform.clone(),
            model: String::new(),
            labels: BTreeMap::new(),
            group: None,
            windows: Vec::new(),
            patches: Vec::new(),
        };
        let inventory = SiteInventory {
            site: SiteId::new("rx1").unwrap(),
            display_name: String::new(),
            region: String::new(),
            site_type: String::new(),
            labels: BTreeMap::new(),
            groups: BTreeMap::new(),
            hours: Default::default(),
            devices: ["a", "b", "c", "d"].map(machine).to_vec(),
            systems: Vec::new(),
        };
        let dir = tempfile::tempdir().unwrap();
        let documents = Documents::open(dir.path()).unwrap();
        Self { ann, ben, cem, twin, online, anchor, patch, rollout, waves, inventory, _dir: dir, documents }
    }

    fn rollout(patch: &Patch, waves: &[Vec<Member>]) -> Rollout {
        let wave = |members: &Vec<Member>, approvals: &[Role]| WavePlan {
            deadline: None,
            offline: None,
            name: members[0].wave.clone(),
            select: Selector::default(),
            order: Vec::new(),
            windows: Vec::new(),
            limits: Limits::default(),
            soak: DurationMs::from_secs(60),
            gate: Gate { approvals: approvals.to_vec(), ..Gate::default() },
        };
        Rollout {
            id: RolloutId::new("r1").unwrap(),
            version: 1,
            ancestors: Vec::new(),
            patch: patch.id.clone(),
            patch_digest: Envelope::unsigned(patch).unwrap().digest(),
            requires: Vec::new(),
            supersedes: Vec::new(),
            plan: Plan {
                name: "plan".into(),
                description: String::new(),
                patch: None,
                eligible: Selector::default(),
                windows: Vec::new(),
                freezes: Vec::new(),
                on_call: Vec::new(),
                accept: Vec::new(),
                waves: vec![wave(&waves[0], &[Role::Clinical, Role::OnCall]), wave(&waves[1], &[])],
                limits: Limits::default(),
                health: HealthPolicy::default(),
                rollback: Default::default(),
                timing: Default::default(),
                deadline: None,
                offline: None,
            },
            waves: waves
                .iter()
                .map(|members| ResolvedWave {
                    name: members[0].wave.clone(),
                    root: Tree::new(members.iter().map(Member::leaf)).root(),
                    count: members.len() as u64,
                    since: 1,
                    reporters: Reporters::of(&[Self::reporter()], members),
                })
                .collect(),
            created_at: NOW,
        }
    }

    /// The report key of the site's node, pinned in every wave.
    fn node() -> SecretKey {
        SecretKey::from_seed(&[6; 32])
    }

    fn reporter() -> Reporter {
        Reporter { site: SiteId::new("rx1").unwrap(), key: Self::node().public() }
    }

    /// Its honest word that a device has succeeded.
    fn report(&self, device: &DeviceId) -> Report {
        let evidence = Evidence { document: Some(self.digest()), ..Evidence::default() };
        let body = ReportBody::Deployment {
            rollout: self.rollout.id.clone(),
            device: device.clone(),
            attempt: 1,
            state: DeploymentState::Succeeded,
            reason: String::new(),
            code: String::new(),
            evidence,
        };
        Report { site: self.inventory.site.clone(), seq: 3, at: NOW, body }
    }

    fn proven(&self, wave: usize, at: usize) -> Proven {
        let Goal { member, proof, .. } = self.goal(wave, at);
        let tree = Reporters::tree(&[Self::reporter()]);
        let report = sealed(&self.report(&member.device), &[&Self::node()]);
        Proven { member, proof, report, key: Self::node().public(), node: tree.prove(0).unwrap() }
    }

    fn passage(&self, devices: Vec<Proven>) -> Passage {
        Passage { wave: self.waves[0][0].wave.clone(), devices }
    }

    fn digest(&self) -> Digest {
        Envelope::unsigned(&self.rollout).unwrap().digest()
    }

    fn order(&self, command: Command, signer: &SecretKey) -> Envelope {
        self.ordered(command, &[signer])
    }

    fn ordered(&self, command: Command, signers: &[&SecretKey]) -> Envelope {
        let order = Order {
            rollout: self.rollout.id.clone(),
            digest: self.digest(),
            counter: 1,
            issued_at: NOW,
            command,
            reason: String::new(),
        };
        sealed(&order, signers)
    }

    fn approval(&self, signer: &SecretKey) -> Envelope {
        self.order(Command::Approve { wave: self.waves[1][0].wave.clone() }, signer)
    }

    fn goal(&self, wave: usize, at: usize) -> Goal {
        let members = &self.waves[wave];
        Goal {
            member: members[at].clone(),
            proof: Tree::new(members.iter().map(Member::leaf)).prove(at as u64).unwrap(),
            action: GoalAction::Install,
            attempt: 1,
        }
    }

    fn directive(&self, orders: Vec<Envelope>, goals: Vec<Goal>) -> Directive {
        Directive {
            site: self.inventory.site.clone(),
            counter: 7,
            issued_at: NOW,
            expires_at: Timestamp(NOW.0 + 60_000),
            rollouts: vec![SiteRollout {
                rollout: self.rollout.id.clone(),
                digest: self.digest(),
                mode: Mode::Proceed,
                orders,
                goals,
                passages: vec![self.passage(vec![self.proven(0, 0)])],
                failures: Vec::new(),
            }],
        }
    }

    fn papers(&self) -> Papers {
        let paper = Paper { rollout: genuine(&self.rollout), patch: genuine(&self.patch), agreed: true };
        Papers::from([(self.rollout.id.clone(), paper)])
    }

    fn wishes(&self, orders: Vec<Envelope>, goals: Vec<Goal>) -> (Wishes, Vec<Refusal>) {
        wishes(&self.directive(orders, goals), &self.papers(), &self.anchor, &self.inventory, &Self::reporter())
    }

    /// The one goal is left out, for this reason.
    fn leaves_out(&self, orders: Vec<Envelope>, goal: Goal, why: &str) {
        let (wishes, refusals) = self.wishes(orders, vec![goal]);
        assert!(wishes.rollouts[0].goals.is_empty(), "{why}");
        assert!(refusals.iter().any(|r| r.why.contains(why)), "{why}: {refusals:?}");
    }

    fn opened(&self, directive: &Directive, floor: u64) -> Result<(), String> {
        let envelope = sealed(directive, &[&self.online]);
        let floor = Floor { counter: floor, ..Floor::default() };
        open(&envelope, self.online.public(), &self.inventory.site, floor).map(drop).map_err(|r| r.why)
    }
}

#[test]
fn an_honest_directive_becomes_wishes() {
    let h = Hospital::new();
    let orders = vec![h.order(Command::Start, &h.ann), h.approval(&h.ben), h.approval(&h.cem)];
    let (wishes, refusals) = h.wishes(orders, vec![h.goal(0, 0), h.goal(1, 0), h.goal(1, 1)]);
    assert_eq!(refusals, []);
    let goals = &wishes.rollouts[0].goals;
    assert_eq!(goals.iter().map(|g| g.device.name()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!((wishes.counter, wishes.rollouts[0].policy.per_site), (7, 1));
}

#[test]
fn a_directive_is_for_this_site_from_this_controller_and_not_older() {
    let h = Hospital::new();
    let honest = h.directive(Vec::new(), Vec::new());
    assert_eq!((h.opened(&honest, 0), h.opened(&honest, 7)), (Ok(()), Ok(())), "the same again is fine");
    assert!(h.opened(&honest, 8).unwrap_err().contains("counter 7 is below 8"));
    let other = Directive { site: SiteId::new("rx2").unwrap(), ..honest.clone() };
    assert!(h.opened(&other, 0).unwrap_err().contains("rx2"));
    for stranger in [&h.ann, &SecretKey::from_seed(&[77; 32])] {
        let envelope = sealed(&honest, &[stranger]);
        assert!(open(&envelope, h.online.public(), &h.inventory.site, Floor::default()).is_err());
    }
}

#[test]
fn time_never_runs_back_below_what_was_attested() {
    let h = Hospital::new();
    let directive = h.directive(Vec::new(), Vec::new());
    let attested = |ms| Floor { counter: 0, attested: Timestamp(ms) };
    assert_eq!(expired(&directive, attested(0), NOW), None);
    assert!(expired(&directive, attested(0), Timestamp(NOW.0 + 60_001)).is_some());
    assert!(expired(&directive, attested(NOW.0 + 60_001), Timestamp(0)).is_some(), "a clock that was set back");
}

/// As a document is taken from the controller.
fn admit<D: Listed>(envelope: &Envelope, digest: &Digest, images: &Images) -> Result<(), String> {
    agreement(images, &Genuine::<D>::read(&envelope.payload, digest)?)
}

#[test]
fn every_bit_of_a_signed_document_counts() {
    let h = Hospital::new();
    let (rollout, patch) = (Envelope::unsigned(&h.rollout).unwrap(), Envelope::unsigned(&h.patch).unwrap());
    let mut repository = Repository::new();
    repository.list("rollouts/r1.1.json", Kind::Rollout, Some(&rollout.payload), Some(&rollout.payload));
    repository.list("patches/KB1.json", Kind::Patch, Some(&patch.payload), Some(&patch.payload));
    let images = repository.images();
    let directive = sealed(&h.directive(Vec::new(), Vec::new()), &[&h.online]);
    let order = h.order(Command::Halt, &h.cem);
    let flipped = |envelope: &Envelope, bit: usize| {
        let mut envelope = envelope.clone();
        envelope.payload[bit / 8] ^= 1 << (bit % 8);
        envelope
    };
    // Every 13th bit: coprime to 8, so that all bit positions are met.
    for bit in (0..directive.payload.len() * 8).step_by(13) {
        let envelope = flipped(&directive, bit);
        assert!(open(&envelope, h.online.public(), &h.inventory.site, Floor::default()).is_err(), "directive {bit}");
    }
    for bit in (0..order.payload.len() * 8).step_by(13) {
        assert!(halt(&flipped(&order, bit), &h.anchor).is_err(), "order {bit}");
    }
    for bit in (0..rollout.payload.len() * 8).step_by(13) {
        let envelope = flipped(&rollout, bit);
        // Also when the controller names the changed bytes by their own digest.
        for digest in [rollout.digest(), envelope.digest()] {
            assert!(admit::<Rollout>(&envelope, &digest, &images).is_err(), "rollout {bit}");
        }
    }
    for bit in (0..patch.payload.len() * 8).step_by(13) {
        let envelope = flipped(&patch, bit);
        for digest in [patch.digest(), envelope.digest()] {
            assert!(admit::<Patch>(&envelope, &digest, &images).is_err(), "patch {bit}");
        }
    }
    for bit in 0..64 * 8 {
        let mut envelope = order.clone();
        envelope.signatures[0].sig[bit / 8] ^= 1 << (bit % 8);
        assert!(halt(&envelope, &h.anchor).is_err(), "signature {bit}");
    }
}

#[test]
fn documents_need_both_roles_identically() {
    let h = Hospital::new();
    let rollout = genuine(&h.rollout);
    let (bytes, mut other) = (Envelope::unsigned(&h.rollout).unwrap().payload, h.rollout.clone());
    other.plan.description = "another content, the same id".into();
    let other = Envelope::unsigned(&other).unwrap().payload;
    let (ours, theirs) = (Some(bytes.as_slice()), Some(other.as_slice()));
    for (release, clinical, why) in [
        (None, None, "signed for by neither"),
        (ours, None, "not signed for by clinical"),
        (None, ours, "not signed for by release"),
        (ours, theirs, "signed for different documents"),
        (theirs, theirs, "signed for another document"),
    ] {
        let mut repository = Repository::new();
        repository.list("rollouts/r1.1.json", Kind::Rollout, release, clinical);
        let refused = agreement(&repository.images(), &rollout).unwrap_err();
        assert!(refused.contains(why) && refused.contains("rollouts/r1.1.json"), "{why}: {refused}");
    }
    let mut repository = Repository::new();
    repository.list("rollouts/r1.1.json", Kind::Rollout, ours, ours);
    assert_eq!(agreement(&repository.images(), &rollout), Ok(()));
    // At the place of another rollout it counts for nothing.
    let mut repository = Repository::new();
    repository.list("rollouts/r2.1.json", Kind::Rollout, ours, ours);
    assert!(agreement(&repository.images(), &rollout).is_err());
}

#[test]
fn kept_documents_are_checked_when_they_are_read() {
    let h = Hospital::new();
    let digest = h.digest();
    assert!(h.documents.get::<Rollout>(&digest).is_none());
    h.documents.keep(&document_bytes(&h.rollout).unwrap()).unwrap();
    assert_eq!(h.documents.get::<Rollout>(&digest), Some(genuine(&h.rollout)));
    assert!(h.documents.get::<Patch>(&digest).is_none(), "a rollout is never read as a patch");
    let path = h._dir.path().join(format!("{}.json", digest.hex()));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("KB1", "KB2", 1)).unwrap();
    assert!(h.documents.get::<Rollout>(&digest).is_none(), "changed on the disk");
    std::fs::write(&path, &text[..text.len() / 2]).unwrap();
    assert!(h.documents.get::<Rollout>(&digest).is_none(), "torn on the disk");
}

/// A patch that people have withdrawn is not installed any more, and still taken back.
#[test]
fn what_people_no_longer_agree_on_is_only_taken_back() {
    let h = Hospital::new();
    let back = Goal { action: GoalAction::RollBack, ..h.goal(1, 0) };
    let all = Command::RollBack { target: RollBackTarget::Rollout };
    let ordered = h.ordered(all, &[&h.ann, &h.ben]);
    let orders = vec![h.order(Command::Start, &h.ann), h.approval(&h.ben), h.approval(&h.cem), ordered];
    let directive = h.directive(orders, vec![h.goal(0, 0), back]);
    let mut papers = h.papers();
    papers.values_mut().for_each(|paper| paper.agreed = false);
    let (wishes, _) = wishes(&directive, &papers, &h.anchor, &h.inventory, &Hospital::reporter());
    let goals: Vec<_> = wishes.rollouts[0].goals.iter().map(|g| (g.device.name(), g.action)).collect();
    assert_eq!(goals, [("b", GoalAction::RollBack)]);
}

#[test]
fn nothing_begins_without_a_signed_start_of_this_very_rollout() {
    let h = Hospital::new();
    h.leaves_out(Vec::new(), h.goal(0, 0), "no signed start");
    h.leaves_out(
        vec![h.order(Command::Start, &h.cem)],
        h.goal(0, 0),
        "a start order does not count: it needs a signature of release",
    );
    h.leaves_out(vec![h.order(Command::Pause, &h.ann)], h.goal(0, 0), "no signed start");
    let mut other = Hospital::new();
    other.rollout.plan.description = "another content, the same id".into();
    h.leaves_out(vec![other.order(Command::Start, &h.ann)], h.goal(0, 0), "for another rollout document");
}

#[test]
fn a_later_wave_needs_its_approvals_by_different_people() {
    let h = Hospital::new();
    let start = || h.order(Command::Start, &h.ann);
    let waits = "wave full needs signed approvals";
    h.leaves_out(vec![start()], h.goal(1, 0), waits);
    h.leaves_out(vec![start(), h.approval(&h.ben)], h.goal(1, 0), waits);
    h.leaves_out(vec![start(), h.approval(&h.ben), h.approval(&h.ben)], h.goal(1, 0), waits);
    h.leaves_out(vec![start(), h.approval(&h.ben), h.approval(&h.twin)], h.goal(1, 0), waits);
    let canary = h.order(Command::Approve { wave: h.waves[0][0].wave.clone() }, &h.cem);
    h.leaves_out(vec![start(), h.approval(&h.ben), canary], h.goal(1, 0), waits);
    let (wishes, refusals) = h.wishes(vec![start(), h.approval(&h.ben), h.approval(&h.cem)], vec![h.goal(1, 0)]);
    assert_eq!((wishes.rollouts[0].goals.len(), refusals.len()), (1, 0));
}

#[test]
fn a_device_is_proved_to_be_in_its_wave_and_ours() {
    let h = Hospital::new();
    let orders = || vec![h.order(Command::Start, &h.ann), h.approval(&h.ben), h.approval(&h.cem)];
    let proof = "not proved to be in the signed wave";
    // Another device with a borrowed proof; a neighbour's proof; another variant; a smaller tree.
    h.leaves_out(orders(), Goal { member: member("canary", "d"), ..h.goal(0, 0) }, proof);
    h.leaves_out(orders(), Goal { proof: h.goal(1, 1).proof, ..h.goal(1, 0) }, proof);
    let mut goal = h.goal(0, 0);
    goal.member.variant = VariantId::new("w7").unwrap();
    h.leaves_out(orders(), goal, proof);
    let mut goal = h.goal(1, 0);
    goal.proof.size = 1;
    h.leaves_out(orders(), goal, proof);
    h.leaves_out(orders(), Goal { member: member("pilot", "b"), ..h.goal(1, 0) }, "no wave pilot");

    let mut small = Hospital::new();
    small.inventory.devices.retain(|d| d.id != device("a"));
    small.leaves_out(orders(), small.goal(0, 0), "the site file does not know it");
    let mut other = Hospital::new();
    other.inventory.devices[0].platform = Platform::new(&XP.replace("x86", "x64")).unwrap();
    other.leaves_out(orders(), other.goal(0, 0), "not for its platform");
}

#[test]
fn only_a_halt_is_taken_where_halts_are_pushed() {
    let h = Hospital::new();
    for signer in [&h.ann, &h.ben, &h.cem] {
        assert!(halt(&h.order(Command::Halt, signer), &h.anchor).is_ok());
    }
    assert!(
        halt(&h.order(Command::Halt, &h.online), &h.anchor).is_err(),
        "the controller can't halt in a person's name"
    );
    let resume = h.ordered(resume(), &[&h.ann, &h.ben]);
    assert!(halt(&resume, &h.anchor).unwrap_err().why.contains("only a halt"));
}

#[test]
fn one_bad_order_takes_nothing_else_with_it() {
    let h = Hospital::new();
    let mut bad = h.ordered(resume(), &[&h.ann, &h.ben]);
    bad.signatures[0].sig[3] ^= 1;
    let orders = vec![bad, h.order(Command::Start, &h.ann), h.order(Command::Halt, &h.cem)];
    let (wishes, refusals) = h.wishes(orders, vec![h.goal(0, 0)]);
    let wish = &wishes.rollouts[0];
    assert_eq!((wish.goals.len(), wish.halts.len(), wish.resumes.len(), refusals.len()), (1, 1, 0, 1));
}

#[test]
fn what_a_directive_repeats_counts_once() {
    let h = Hospital::new();
    let mut orders = vec![h.order(Command::Start, &h.ann), h.approval(&h.cem)];
    // Enough for a search through all pairs and triples of them to take for ever.
    orders.extend((0..300).map(|_| h.approval(&h.ben)));
    let back = Goal { action: GoalAction::RollBack, ..h.goal(0, 0) };
    let mut directive = h.directive(orders, vec![h.goal(0, 0), back, h.goal(1, 0)]);
    directive.rollouts.push(directive.rollouts[0].clone());
    let (wishes, refusals) = wishes(&directive, &h.papers(), &h.anchor, &h.inventory, &Hospital::reporter());
    assert_eq!(wishes.rollouts.len(), 1);
    let goals: Vec<_> = wishes.rollouts[0].goals.iter().map(|g| (g.device.name(), g.action)).collect();
    assert_eq!(goals, [("a", GoalAction::Install), ("b", GoalAction::Install)]);
    assert_eq!(refusals.iter().filter(|r| r.why.contains("twice")).count(), 2, "{refusals:?}");
}

#[test]
fn a_resume_is_of_two_people_one_of_them_a_release_manager() {
    let h = Hospital::new();
    let resumes = |signers: &[&SecretKey]| {
        let orders = vec![h.order(Command::Start, &h.ann), h.ordered(resume(), signers)];
        let (wishes, refusals) = h.wishes(orders, Vec::new());
        (wishes.rollouts[0].resumes.len(), refusals.iter().map(|r| r.why.clone()).collect::<Vec<_>>().join("; "))
    };
    assert_eq!(resumes(&[&h.ann, &h.ben]), (1, String::new()));
    for (signers, why) in [
        (&[&h.ann][..], "a second person must sign too: release or clinical"),
        (&[&h.ben], "a second person must sign too: release"),
        (&[&h.cem], "it needs a signature of release or clinical"),
        (&[&h.ann, &h.cem], "signed by Ann Lee; a second person must sign too"),
        // One person with two keys, and the controller in a person's place.
        (&[&h.ben, &h.twin], "signed by Ben Fox; a second person must sign too: release"),
        (&[&h.ann, &h.online], "signed by Ann Lee; a second person must sign too"),
    ] {
        let (count, refused) = resumes(signers);
        assert!(count == 0 && refused.contains(why), "{why}: {refused}");
    }
    // Signatures of two people over different bytes don't add up.
    let mut mixed = h.ordered(resume(), &[&h.ann]);
    mixed.add(h.order(Command::Resume { lifts: vec![h.digest()] }, &h.ben).signatures.remove(0));
    let (wishes, refusals) = h.wishes(vec![mixed], Vec::new());
    assert!(wishes.rollouts[0].resumes.is_empty() && refusals[0].why.contains("does not match"), "{refusals:?}");
}

#[test]
fn orders_of_a_version_before_count_and_approvals_only_of_a_wave_that_is_the_same() {
    let mut h = Hospital::new();
    let own = h.digest();
    let mut next = h.rollout.clone();
    (next.version, next.ancestors, next.waves[1].since) = (2, vec![own], 2);
    let old = [h.order(Command::Start, &h.ann), h.approval(&h.ben), h.approval(&h.cem), h.order(Command::Halt, &h.cem)];
    let early = h.order(Command::Approve { wave: h.waves[0][0].wave.clone() }, &h.ben);
    h.rollout = next;
    let (wishes, refusals) = h.wishes([old.to_vec(), vec![early]].concat(), vec![h.goal(0, 0), h.goal(1, 0)]);
    let wish = &wishes.rollouts[0];
    let goals: Vec<_> = wish.goals.iter().map(|g| g.device.name()).collect();
    assert_eq!((goals, wish.halts.len()), (vec!["a"], 1), "{refusals:?}");
    assert_eq!((wish.version.number, &wish.version.ancestors), (2, &vec![own]));
    let late = refusals.iter().filter(|r| r.why.contains("wave full as it was before an amendment")).count();
    assert_eq!(late, 2, "{refusals:?}");
    let orders = [old[..1].to_vec(), vec![h.approval(&h.ben), h.approval(&h.cem)]].concat();
    let (wishes, refusals) = h.wishes(orders, vec![h.goal(1, 0)]);
    assert_eq!((wishes.rollouts[0].goals.len(), refusals), (1, Vec::new()));
}

#[test]
fn a_document_whose_lineage_is_made_up_counts_for_nothing() {
    let mut h = Hospital::new();
    h.rollout.version = 2;
    let (wishes, refusals) = h.wishes(vec![h.order(Command::Start, &h.ann)], vec![h.goal(0, 0)]);
    assert!(wishes.rollouts.is_empty() && refusals[0].why.contains("not all of them"), "{refusals:?}");
}
