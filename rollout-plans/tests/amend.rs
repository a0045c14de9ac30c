//! Amendments: the signed plan against the estate of a later day, and what it says to those who sign.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

mod common;

use common::*;
use wardround_rollout_plans::{
    describe::Difference,
    estate::Estate,
    language::ParsedPlan,
    model::{ANCESTORS_MAX, Member, Rollout, RolloutId, Timestamp},
    resolve::{Amended, CannotAmend, Former, amend, check_members, document, resolve},
};
use wardround_signing::Digest;

/// A rollout as it was signed, and what of it has been done.
struct Signed {
    rollout: Rollout,
    members: Vec<Member>,
    touched: Vec<bool>,
    passed: Vec<bool>,
}

impl Signed {
    fn new(plan: &ParsedPlan) -> Self {
        let resolution = resolve(plan, &patch(), &three_sites()).unwrap();
        let id = RolloutId::new("r1").unwrap();
        let rollout = document(id, &plan.plan, &patch(), Digest::of(b"patch"), &resolution, &[], Timestamp(5));
        let members = resolution.members();
        let (touched, passed) = (vec![false; members.len()], vec![false; rollout.waves.len()]);
        Self { rollout, members, touched, passed }
    }

    fn digest(&self) -> Digest {
        Digest::of(&serde_json::to_vec(&self.rollout).unwrap())
    }

    fn touch(mut self, devices: &[&str]) -> Self {
        for (member, touched) in self.members.iter().zip(&mut self.touched) {
            *touched |= devices.contains(&member.device.as_str());
        }
        self
    }

    fn amend(&self, estate: &Estate) -> Result<Amended, CannotAmend> {
        let former = Former {
            rollout: &self.rollout,
            digest: self.digest(),
            members: &self.members,
            touched: &self.touched,
            reporters: &[],
            passed: &self.passed,
        };
        let amended = amend(&former, &patch(), estate, Timestamp(9))?;
        check_members(&amended.rollout, &amended.members).unwrap();
        self.rollout.check_amendment(self.digest(), &amended.rollout).unwrap();
        Ok(amended)
    }

    fn say(&self, amended: &Amended) -> String {
        let difference = Difference::between(&self.members, &amended.rollout, &amended.members);
        let mut lines = difference.lines(&amended.rollout);
        lines.extend(amended.left_out.iter().map(|(device, why)| format!("left out: {device}: {why}")));
        lines.join("\n")
    }
}

/// A new site, a new device at an old one, and two devices gone.
fn later() -> Estate {
    estate([
        site("rx1", "north", &[("ct-01", XP, "ScanMaker CT", "canary"), ("ct-03", XP, "ScanMaker CT", "")]),
        site("rx2", "north", &[("mr-01", XP, "ScanMaker CT", "canary"), ("lab-01", W2003, "Analyser 9", "")]),
        site("ry1", "south", &[("db-01", W2003, "", "")]),
        site("rz9", "south", &[("ct-01", XP, "ScanMaker CT", "canary"), ("w10", W10, "Desk", "")]),
    ])
}

#[test]
fn new_devices_come_in_and_gone_ones_are_taken_out() {
    let signed = Signed::new(&standard());
    let amended = signed.amend(&later()).unwrap();
    assert_eq!((amended.rollout.version, &amended.rollout.ancestors), (2, &vec![signed.digest()]));
    assert_eq!(amended.rollout.waves.iter().map(|w| w.since).collect::<Vec<_>>(), [2, 2]);
    insta::assert_snapshot!(signed.say(&amended));
}

#[test]
fn what_was_done_stays_whatever_today_says() {
    let mut signed = Signed::new(&standard()).touch(&["rx1/ct-01", "rx2/mr-01", "ry1/ct-01"]);
    signed.passed[0] = true;
    let amended = signed.amend(&later()).unwrap();
    assert_eq!(amended.rollout.waves[0], signed.rollout.waves[0], "a wave that has passed never changes");
    insta::assert_snapshot!(signed.say(&amended));
}

#[test]
fn a_device_that_moves_is_named_with_both_waves() {
    let signed = Signed::new(&standard());
    let mut today = three_sites();
    today.put(site(
        "rx2",
        "north",
        &[("mr-01", XP, "ScanMaker CT", "canary"), ("lab-01", W2003, "Analyser 9", "canary")],
    ));
    insta::assert_snapshot!(signed.say(&signed.amend(&today).unwrap()));
}

#[test]
fn a_second_amendment_names_both_versions_before_it() {
    let mut signed = Signed::new(&standard());
    let first = signed.digest();
    let amended = signed.amend(&later()).unwrap();
    signed = Signed {
        touched: vec![false; amended.members.len()],
        rollout: amended.rollout,
        members: amended.members,
        passed: signed.passed,
    };
    let again = signed.amend(&three_sites()).unwrap();
    assert_eq!((again.rollout.version, &again.rollout.ancestors), (3, &vec![first, signed.digest()]));
    assert_eq!(again.members, Signed::new(&standard()).members);
}

#[test]
fn what_can_not_be_amended_says_why() {
    let signed = Signed::new(&standard());
    let same = signed.amend(&three_sites()).unwrap_err();
    assert!(same.why.contains("the same devices"), "{same:?}");
    let canary_gone = estate([site("ry1", "south", &[("ct-01", XP, "", ""), ("db-01", W2003, "", "")])]);
    assert!(signed.amend(&canary_gone).unwrap_err().why.contains("no devices left"));
    let one_left = estate([site("rx1", "north", &[("ct-01", XP, "", "canary"), ("ct-02", XP, "", "")])]);
    assert!(signed.amend(&one_left).unwrap_err().why.contains("2 successes are demanded"));
    let mut old = Signed::new(&standard());
    old.rollout.ancestors = (0..ANCESTORS_MAX).map(|n| Digest::of(&n.to_be_bytes())).collect();
    old.rollout.version = u32::try_from(ANCESTORS_MAX + 1).unwrap();
    assert!(old.amend(&later()).unwrap_err().why.contains("65 versions"));
}
