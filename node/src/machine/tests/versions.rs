//! Amendments: a newer version takes over in the middle of everything, and an older one is refused for good.

use wardround_rollout_plans::model::{DeploymentState as S, GoalAction, ReportBody, Scope};
use wardround_signing::Digest;

use super::rig::{Rig, goal, order, replay, rollout};
use crate::machine::{RolloutWish, Version};

fn refusals(rig: &Rig) -> Vec<String> {
    rig.reports()
        .filter_map(|r| match &r.body {
            ReportBody::Refused { what, why, rollout: of } => {
                assert_eq!((what.as_str(), of), ("rollout", &Some(rollout())));
                Some(why.clone())
            }
            _ => None,
        })
        .collect()
}

fn document(version: u32) -> Digest {
    if version == 1 { Digest::of(b"rollout") } else { Digest::of(&version.to_be_bytes()) }
}

/// The wish leans on this version, and wants these devices patched.
fn lean(wish: &mut RolloutWish, version: u32, names: &[&str]) {
    wish.digest = document(version);
    wish.version = Version { number: version, ancestors: (1..version).map(document).collect() };
    wish.goals = names.iter().map(|n| goal(n, GoalAction::Install, 1)).collect();
}

#[test]
fn an_amendment_takes_over_in_the_middle_of_an_install() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.until("ct-01", "install");
    rig.wish(|w| lean(w, 2, &["ct-01", "lab-01"]));
    assert_eq!((rig.verb("ct-01"), rig.verb("lab-01")), ("install", "fetch"));
    rig.soak("ct-01");
    rig.soak("lab-01");
    assert_eq!((rig.installs("ct-01"), refusals(&rig)), (1, Vec::<String>::new()));
    assert!(rig.state.documents().contains(&document(2)) && !rig.state.documents().contains(&document(1)));
}

#[test]
fn an_older_version_is_refused_by_name_and_after_a_crash_too() {
    let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
    rig.wish(|w| lean(w, 3, &["ct-01"]));
    rig.until("ct-01", "install");
    rig.wish(|w| lean(w, 2, &["ct-01", "lab-01"]));
    assert_eq!(rig.verb("lab-01"), "nothing");
    let [why] = <[String; 1]>::try_from(refusals(&rig)).unwrap();
    assert!(why.contains("version 2 of rollout r1 after version 3"), "{why}");
    rig.crash();
    rig.wish(|w| lean(w, 1, &["lab-01"]));
    assert_eq!((rig.verb("lab-01"), refusals(&rig).len()), ("nothing", 2));
    rig.wish(|w| lean(w, 1, &["lab-01"]));
    assert_eq!(refusals(&rig).len(), 2, "the same again is said once");
    rig.wish(|w| lean(w, 3, &["ct-01"]));
    rig.until("ct-01", "check");
    assert_eq!(replay(&rig.journal), rig.state);
}

#[test]
fn on_an_older_version_halts_hold_and_patches_are_taken_back() {
    let mut rig = Rig::wanting(Scope::Device, &["ct-01", "lab-01"]);
    rig.wish(|w| lean(w, 2, &["ct-01", "lab-01"]));
    rig.soak("ct-01");
    rig.wish(|w| {
        lean(w, 1, &["lab-01"]);
        w.halts = vec![order(4, "halt")];
        w.goals.push(goal("ct-01", GoalAction::RollBack, 1));
    });
    assert_eq!(rig.shown("ct-01"), S::RollingBack);
    rig.wish(|w| {
        lean(w, 2, &["lab-01"]);
        w.halts.clear();
    });
    assert_eq!(rig.installs("lab-01"), 0, "the halt holds in every version");
}

#[test]
fn what_does_not_descend_from_what_is_known_changes_nothing() {
    type Change = fn(&mut RolloutWish);
    let changes: [(&str, Change); 5] = [
        ("is known with other content", |w| w.digest = document(9)),
        ("does not descend from version 1", |w| {
            lean(w, 2, &["lab-01"]);
            w.version.ancestors = vec![document(9)];
        }),
        ("does not descend from version 1", |w| {
            lean(w, 2, &["lab-01"]);
            w.version.ancestors.clear();
        }),
        ("another patch or plan", |w| {
            lean(w, 2, &["lab-01"]);
            w.patch_digest = document(9);
        }),
        ("another patch or plan", |w| {
            lean(w, 2, &["lab-01"]);
            w.policy.per_site = 9;
        }),
    ];
    for (why, change) in changes {
        let mut rig = Rig::wanting(Scope::Wave, &["ct-01"]);
        rig.until("ct-01", "install");
        rig.wish(change);
        assert_eq!(rig.verb("lab-01"), "nothing", "{why}");
        assert!(refusals(&rig)[0].contains(why), "{why}: {:?}", refusals(&rig));
        rig.wish(|w| {
            w.patch_digest = Digest::of(b"patch");
            w.policy = super::rig::policy(Scope::Wave);
            lean(w, 2, &["ct-01", "lab-01"]);
        });
        assert_eq!(rig.verb("lab-01"), "fetch", "what was refused raised no floor");
    }
}
