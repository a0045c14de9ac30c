//! The controller of a running estate is taken over: whoever has its CA, its online keys and its whole store comes up in its
//! place, and tries what the keys allow. The node was enrolled with the real controller, and knows nothing of the change.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::{collections::BTreeMap, fs};

use wardround_rollout_plans::model::{
    CHUNK_BYTES, Command, Directive, Goal, GoalAction, Member, Mode, Order, Patch, Rollout, SiteId, SiteRollout,
    Timestamp,
};
use wardround_signing::{
    Digest, Envelope, SecretKey, Signer as _,
    log::SignedCheckpoint,
    merkle::Tree,
    tuf::{Files, Kind, RoleName, Signed, Snapshot, Targets, next_version},
};
use wardround_tests::{
    evil::Evil,
    world::{Blueprint, PASSPHRASE, World, payload, plan, repository::signed_by, try_wait, wait_until},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const SITE: &str = "rx1";
const KB: &str = "KB4500331";

/// The attacker at work.
struct Taken {
    world: World,
    evil: Evil,
    directive_key: SecretKey,
    /// Snapshot's and timestamp's.
    online: Vec<SecretKey>,
    rollout: Rollout,
    patch: Patch,
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// Every file that the real controller serves.
fn published(world: &World) -> Files {
    let mut files = Files::new();
    for role in [RoleName::Root, RoleName::Targets, RoleName::Release, RoleName::Clinical, RoleName::Snapshot] {
        for name in (1..).map(|version| role.versioned(version)) {
            match world.api.metadata(&name) {
                Ok(bytes) => drop(files.insert(name, bytes)),
                Err(_) => break,
            }
        }
    }
    files.insert(RoleName::Timestamp.file(), world.api.metadata("timestamp.json").unwrap());
    files
}

impl Taken {
    /// A patch and a rollout are signed by both roles, and nobody has started it.
    fn new() -> Self {
        let mut world = World::new(PROGRAM);
        world.add_site(&Blueprint::new(SITE).device("a", "canary").device("b", "full"));
        world.patch(KB, 0);
        world.rollout("r1", KB, &plan::two_waves("300ms", "{ per_site: 2 }", "wave"));
        world.wait_check_ins(SITE, 2);
        let rollout: Rollout = serde_json::from_slice(&world.api.document("r1").unwrap()).unwrap();
        let patch: Patch = serde_json::from_slice(&world.api.patch_document(KB).unwrap()).unwrap();
        let metadata = published(&world);
        let export = world.dir().join("stolen").display().to_string();
        world.run(&["audit", "export", &export]).ok();
        let note = fs::read_to_string(format!("{export}/checkpoint")).unwrap();
        world.controller().kill9();
        world.controller = None;
        let data = world.home().join("controller");
        let log = SecretKey::from_plain_pem(&fs::read_to_string(data.join("log.key")).unwrap()).unwrap();
        let log_key = wardround_signing::log::LogKey::new(log.public()).unwrap();
        let log = SignedCheckpoint::open(note.as_bytes(), &log_key).unwrap();
        let (evil, directive_key) = Evil::take_over(&world, SITE, metadata, log);
        let online = fs::read_dir(data.join("online"))
            .unwrap()
            .map(|entry| SecretKey::from_plain_pem(&fs::read_to_string(entry.unwrap().path()).unwrap()).unwrap());
        let online = online.collect();
        let taken = Self { world, evil, directive_key, online, rollout, patch };
        taken.serve(&taken.rollout, &taken.patch);
        let script = payload(KB, 0);
        taken.evil.with(|served| {
            for chunk in script.chunks(usize::try_from(CHUNK_BYTES).unwrap()) {
                served.chunks.insert(Digest::of(chunk), chunk.to_vec());
            }
        });
        wait_until(30, "the node to be back", || taken.evil.with(|served| served.check_ins) >= 2);
        taken
    }

    fn serve(&self, rollout: &Rollout, patch: &Patch) {
        let documents = [Envelope::unsigned(rollout).unwrap(), Envelope::unsigned(patch).unwrap()];
        self.evil.with(|served| served.documents.extend(documents.map(|document| (document.digest(), document))));
    }

    /// A signed wish to install on device `a`.
    fn say(&self, rollout: &Rollout, orders: Vec<Envelope>) {
        let member = Member {
            wave: rollout.waves[0].name.clone(),
            device: format!("{SITE}/a").parse().unwrap(),
            variant: self.patch.variants[0].id.clone(),
        };
        let proof = Tree::new([member.leaf()]).prove(0).unwrap();
        let goal = Goal { member, proof, action: GoalAction::Install, attempt: 1 };
        let counter = self.evil.with(|served| served.directive_counter) + 1;
        let directive = Directive {
            site: SiteId::new(SITE).unwrap(),
            counter,
            issued_at: now(),
            expires_at: Timestamp(now().0 + 3_600_000),
            rollouts: vec![SiteRollout {
                rollout: rollout.id.clone(),
                digest: Envelope::unsigned(rollout).unwrap().digest(),
                mode: Mode::Proceed,
                orders,
                goals: vec![goal],
                passages: Vec::new(),
                failures: Vec::new(),
            }],
        };
        let envelope = Envelope::seal(&directive, &self.directive_key).unwrap();
        self.evil.with(|served| served.directive = Some(envelope));
    }

    fn start(rollout: &Rollout, signer: &SecretKey) -> Envelope {
        let order = Order {
            rollout: rollout.id.clone(),
            digest: Envelope::unsigned(rollout).unwrap().digest(),
            counter: 1,
            issued_at: now(),
            command: Command::Start,
            reason: "says the attacker".into(),
        };
        Envelope::seal(&order, signer).unwrap()
    }

    /// The node says that it refused, in these words, and no device was touched.
    fn refused(&self, what: &str, why: &str) {
        let found = try_wait(30, || self.evil.refusals().into_iter().find(|(w, y)| w == what && y.contains(why)));
        assert!(found.is_some(), "no refusal of {what} with {why:?}: {:?}", self.evil.refusals());
        let before = self.evil.with(|served| served.check_ins);
        wait_until(30, "two more check-ins", || self.evil.with(|served| served.check_ins) >= before + 2);
        assert!(self.world.devices().iter().all(|device| device.untouched()), "{what}: {why}");
    }
}

#[test]
fn whoever_holds_the_controller_still_can_not_patch_a_device() {
    let taken = Taken::new();

    // What people signed, and nobody started.
    taken.say(&taken.rollout, Vec::new());
    taken.refused("directive", "no signed start order");
    taken.say(&taken.rollout, vec![Taken::start(&taken.rollout, &taken.directive_key)]);
    taken.refused("order", "");

    // A patch of the attacker's own, under the genuine one's rollout id and under another.
    let mut patch = taken.patch.clone();
    patch.title = "not what it seems".into();
    for (id, why) in [("r1", "signed for another document"), ("r2", "rollouts/r2.1.json is signed for by neither")] {
        let mut rollout = taken.rollout.clone();
        rollout.id = id.parse().unwrap();
        rollout.patch_digest = Envelope::unsigned(&patch).unwrap().digest();
        taken.serve(&rollout, &patch);
        taken.say(&rollout, vec![Taken::start(&rollout, &taken.directive_key)]);
        taken.refused("rollout", why);
    }

    // The same, listed in people's files, which the attacker signs with every key that there is.
    let mut rollout = taken.rollout.clone();
    rollout.id = "r3".parse().unwrap();
    let bytes = Envelope::unsigned(&rollout).unwrap().payload;
    taken.evil.with(|served| {
        let keys: Vec<&SecretKey> = taken.online.iter().collect();
        let newest = |files: &Files, role: RoleName| {
            let versions = (1..).take_while(|version| files.contains_key(&role.versioned(*version)));
            let version = versions.last().unwrap();
            (version, files[&role.versioned(version)].clone())
        };
        let mut pinned = BTreeMap::new();
        pinned.insert(RoleName::Targets, newest(&served.metadata, RoleName::Targets).1);
        for role in [RoleName::Release, RoleName::Clinical] {
            let (version, present) = newest(&served.metadata, role);
            let present = Signed::<Targets>::parse(role, &present).unwrap();
            let mut listing = next_version(present.metadata(), present.expires());
            listing.add_target("rollouts/r3.1.json", &bytes, Kind::Rollout).unwrap();
            let file = signed_by(listing, &keys);
            served.metadata.insert(role.versioned(version + 1), file.clone());
            pinned.insert(role, file);
        }
        let (version, present) = newest(&served.metadata, RoleName::Snapshot);
        let expires = Signed::<Snapshot>::parse(RoleName::Snapshot, &present).unwrap().expires();
        let snapshot = signed_by(Snapshot::of(version + 1, expires, &pinned).unwrap(), &keys);
        let present = Signed::<wardround_signing::tuf::Timestamp>::parse(
            RoleName::Timestamp,
            &served.metadata[&RoleName::Timestamp.file()],
        )
        .unwrap();
        let next = present.version() + 1;
        let timestamp = wardround_signing::tuf::Timestamp::of(next, present.expires(), &snapshot).unwrap();
        served.metadata.insert(RoleName::Snapshot.versioned(version + 1), snapshot);
        served.metadata.insert(RoleName::Timestamp.file(), signed_by(timestamp, &keys));
        served.timestamp_version = next;
    });
    taken.refused("metadata", "metadata carries 0 of the 1 valid signatures");

    // Nothing but people's word was missing: with Ann's start order the genuine rollout begins.
    let ann = fs::read_to_string(taken.world.key("ann")).unwrap();
    let ann = SecretKey::from_encrypted_pem(&ann, PASSPHRASE).unwrap();
    taken.say(&taken.rollout, vec![Taken::start(&taken.rollout, &ann)]);
    wait_until(60, "the genuine install", || taken.world.device("rx1/a").installed(KB));
    assert!(taken.world.device("rx1/b").untouched());
}
