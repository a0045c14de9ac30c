//! The node's own program as one of its devices: lab-01 stands for it here.

use wardround_rollout_plans::model::{DeploymentState, DurationMs, Scope};

use super::rig::{Rig, checked, device, installed, inventory, present, rollout, uninstalled};
use crate::machine::{CheckFound, Found, InstallOutcome, SiteView, Verb};
use wardround_rollout_plans::model::Detected;

fn rig(names: &[&str]) -> Rig {
    let mut rig = Rig::wanting(Scope::Wave, names);
    let view = SiteView {
        inventory: Some(inventory()),
        concurrency_max: 4,
        own: Some(device("lab-01")),
        ..SiteView::default()
    };
    rig.feed(crate::machine::Input::Site(Box::new(view)));
    rig
}

/// The new program has its slot.
fn slotted() -> Found {
    installed(InstallOutcome::NeedsReboot, Detected::Absent)
}

fn gone(said: &str) -> Found {
    let found = CheckFound {
        detected: Detected::Absent,
        reboot_pending: Some(false),
        probes: Vec::new(),
        said: said.to_owned(),
    };
    Found::Checked(Box::new(found))
}

#[test]
fn the_program_is_replaced_while_no_device_is_in_the_middle_of_a_step_and_nothing_begins_beside_it() {
    let mut rig = rig(&["ct-01", "ct-02", "lab-01"]);
    rig.until("ct-01", "install");
    rig.until("lab-01", "stage");
    rig.done("lab-01", Found::Staged);
    assert_eq!((rig.verb("lab-01"), rig.code("lab-01").as_str()), ("nothing", "site_at_work"));
    rig.soak("ct-01");
    // As soon as nothing is in the middle of a step.
    rig.until("lab-01", "install");
    rig.until("ct-02", "stage");
    rig.done("ct-02", Found::Staged);
    assert_eq!((rig.verb("ct-02"), rig.code("ct-02").as_str()), ("nothing", "node_restarts"));
    rig.done("lab-01", slotted());
    assert_eq!(rig.verb("lab-01"), "reboot", "a soak is no step");
    rig.crash();
    assert_eq!(rig.verb("lab-01"), "reboot", "the process after it is asked whether it is");
    rig.done("lab-01", Found::Rebooted);
    rig.until("ct-02", "preflight");
}

#[test]
fn a_restart_waits_for_a_rollback_that_has_begun_and_not_for_ever() {
    for ends in [true, false] {
        let mut rig = rig(&["ct-01", "lab-01"]);
        rig.soak("ct-01");
        rig.until("lab-01", "install");
        // ct-01 is taken back, which waits for nobody.
        rig.wish(|w| w.goals[0].action = wardround_rollout_plans::model::GoalAction::RollBack);
        assert_eq!(rig.verb("ct-01"), "uninstall");
        rig.done("lab-01", slotted());
        assert_eq!((rig.verb("lab-01"), rig.code("lab-01").as_str()), ("nothing", "site_at_work"));
        if ends {
            rig.done("ct-01", uninstalled(false));
        } else {
            rig.pass(DurationMs::from_secs(719));
            assert_eq!(rig.verb("lab-01"), "nothing");
            rig.pass(DurationMs::from_secs(2));
        }
        assert_eq!(rig.verb("lab-01"), "reboot");
    }
}

#[test]
fn a_program_that_its_supervisor_has_left_fails_with_the_reason_at_once_and_in_the_soak() {
    let mut rig = self::rig(&["lab-01"]);
    rig.until("lab-01", "install");
    rig.done("lab-01", slotted());
    rig.crash();
    rig.done("lab-01", Found::Rebooted);
    rig.done("lab-01", gone("the supervisor went back: it ended with 7"));
    let (state, code, reason) = rig.told("lab-01").unwrap();
    assert_eq!((state, code.as_str()), (DeploymentState::Failed, "verify"));
    assert!(reason.contains("it ended with 7"), "{reason}");
    let Verb::Cleanup { kept, .. } = rig.action("lab-01").unwrap().verb else { panic!("cleaned up") };
    assert!(!kept);

    let mut rig = self::rig(&["lab-01"]);
    rig.soak("lab-01");
    rig.crash();
    assert_eq!(rig.verb("lab-01"), "check", "another process is looked at before the soak goes on");
    rig.done("lab-01", gone("the supervisor went back"));
    assert_eq!(rig.shown("lab-01"), DeploymentState::Failed);
}

#[test]
fn a_restart_in_the_soak_begins_the_soak_anew_and_its_end_keeps_the_program() {
    let mut rig = rig(&["lab-01", "ct-01"]);
    rig.soak("lab-01");
    rig.soak("ct-01");
    rig.pass(DurationMs::from_secs(50));
    rig.crash();
    assert_eq!(rig.verb("ct-01"), "nothing", "that device has not restarted");
    rig.done("lab-01", checked(present(), Vec::new()));
    rig.pass(DurationMs::from_secs(50));
    assert_eq!((rig.verb("lab-01"), rig.verb("ct-01")), ("nothing", "check"));
    rig.pass(DurationMs::from_secs(11));
    rig.done("lab-01", checked(present(), super::rig::ready("lab-01").probes));
    assert_eq!(rig.shown("lab-01"), DeploymentState::Succeeded);
    let Verb::Cleanup { ops, kept } = &rig.action("lab-01").unwrap().verb else { panic!("cleaned up") };
    assert!(*kept && ops.contains(&format!("{}.lab-01.1", rollout())));
}
