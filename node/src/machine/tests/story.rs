//! One story with golden text: canary, a PACS that breaks, the rollback, all without a controller after the start.

use std::fmt::Write as _;

use wardround_rollout_plans::model::{Detected, DurationMs, GoalAction, Report, ReportBody, Scope, Timestamp};

use super::rig::{Rig, checked, device, goal, installed, present, ready, uninstalled, word};
use crate::machine::{Found, Input, InstallOutcome};

struct Story {
    rig: Rig,
    begun: Timestamp,
    reports: usize,
    actions: usize,
    text: String,
}

impl Story {
    /// Writes what the step before has led to.
    fn tell(&mut self, what: &str) {
        let at = self.rig.now.since(self.begun);
        let _ = writeln!(self.text, "{at}: {what}");
        for report in self.rig.reports().skip(self.reports) {
            let _ = writeln!(self.text, "    tells  {}", line(report));
        }
        for action in &self.rig.given[self.actions..] {
            let _ = writeln!(self.text, "    does   {} {} ({})", word(&action.verb), action.device, action.op);
        }
        self.reports = self.rig.reports().count();
        self.actions = self.rig.given.len();
    }

    fn done(&mut self, name: &str, what: &str, found: Found) {
        self.rig.done(name, found);
        self.tell(&format!("{name}: {what}"));
    }
}

fn line(report: &Report) -> String {
    match &report.body {
        ReportBody::Inventory { inventory } => format!("inventory of {} devices", inventory.devices.len()),
        ReportBody::Deployment { device, state, code, reason, .. } if code.is_empty() && reason.is_empty() => {
            format!("{device} {state}")
        }
        ReportBody::Deployment { device, state, code, reason, .. } => format!("{device} {state}: [{code}] {reason}"),
        ReportBody::Health { system, health, blames, .. } => {
            format!("{system} {health:?}{}", blames.as_ref().map_or(String::new(), |r| format!(", blames {r}")))
        }
        ReportBody::HaltKnown { rollout, counter } => format!("knows halt {counter} of {rollout}"),
        other => format!("{other:?}"),
    }
}

/// A crash between install and reboot, a PACS that breaks, a halt in the middle of the rollback.
fn told() -> Story {
    let rig = Rig::new(Scope::Wave);
    let mut story = Story { begun: rig.now, rig, reports: 0, actions: 0, text: String::new() };
    story.tell("the node has read its site file");
    story.rig.wish(|w| w.goals = ["ct-02", "lab-01"].iter().map(|n| goal(n, GoalAction::Install, 1)).collect());
    story.tell("a directive: ct-02 and lab-01 of wave full");
    for name in ["ct-02", "lab-01"] {
        story.rig.pass(DurationMs::from_secs(1));
        story.done(name, "payload is whole", Found::Fetched);
        story.done(name, "payload is on the device", Found::Staged);
        story.done(name, "is free and its systems are healthy", super::rig::preflight(ready(name)));
    }
    story.done("ct-02", "the installer asks for a reboot", installed(InstallOutcome::NeedsReboot, Detected::Absent));
    story.done("lab-01", "the installer is content", installed(InstallOutcome::Installed, present()));
    story.rig.crash();
    story.tell("the node is killed and started again");
    story.rig.pass(DurationMs::from_secs(40));
    story.done("ct-02", "is back", Found::Rebooted);
    story.done("ct-02", "has the patch", checked(present(), ready("ct-02").probes));
    story.done("lab-01", "has the patch", checked(present(), ready("lab-01").probes));
    for n in 1..=3 {
        story.rig.pass(DurationMs::from_secs(1));
        story.rig.probe("pacs", false);
        story.tell(&format!("the PACS refuses associations ({n})"));
    }
    story.done("ct-02", "has run the uninstaller", uninstalled(true));
    story.rig.feed(Input::Halt(super::rig::order(2, "halt")));
    story.tell("a halt is pushed");
    story.done("ct-02", "is back", Found::Rebooted);
    story.done("lab-01", "has run the uninstaller", uninstalled(false));
    story.rig.probe("pacs", true);
    story.tell("the PACS answers again");
    for name in ["ct-02", "lab-01"] {
        story.done(name, "is without the patch", checked(Detected::Absent, ready(name).probes));
        story.done(name, "is cleaned up", Found::Cleaned);
    }
    story
}

#[test]
fn a_broken_pacs_takes_the_wave_back_while_the_node_is_alone() {
    let story = told();
    assert!(story.rig.action("ct-01").is_none(), "{} was never asked for", device("ct-01"));
    insta::assert_snapshot!(story.text);
}

/// The journal of this story as the first version wrote it. It is never written anew: a node that is updated in the middle
/// of a rollout must read what it wrote the day before, and decide the same.
const YESTERDAY: &str = include_str!("journal_v1.jsonl");

#[test]
fn yesterdays_records_are_read_and_lead_to_the_same() {
    let journal: Vec<(Input, Timestamp)> = YESTERDAY.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let state = super::rig::replay(&journal);
    let today = told().rig.state;
    let reports = |state: &crate::machine::NodeState| serde_json::to_value(state.outbox()).unwrap();
    assert_eq!(reports(&state), reports(&today));
    assert_eq!(state, today);
}
