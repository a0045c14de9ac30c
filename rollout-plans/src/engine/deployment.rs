//! One deployment as the engine holds it. There may be 1.5 million of them, so what few need lives in a box.

use serde::{Deserialize, Serialize};

use super::windows::SHUT_MAX;
use crate::model::{
    DeploymentState, Detected, DeviceId, DurationMs, EVIDENCE_TEXT_MAX, Evidence, GoalAction, GroupId, Plan, Timestamp,
};

/// Most probe answers kept of a report; all of them stand in the journal.
const PROBES_KEPT_MAX: usize = 16;

/// A deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Deployment {
    pub(super) device: DeviceId,
    /// Positions in the tables of the rollout.
    pub(super) site: u32,
    pub(super) wave: u16,
    pub(super) variant: u16,
    pub(super) state: DeploymentState,
    pub(super) since: Timestamp,
    /// From 1; 0 means never offered. It rises only when a person has a failed rollback tried again: a rollback is the
    /// end of the attempt that installed, so that a node which begins it by itself answers the same attempt.
    #[serde(default)]
    pub(super) attempt: u32,
    #[serde(default, skip_serializing_if = "Back::is_no")]
    pub(super) back: Back,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<Box<Note>>,
}

/// Whether the device is wanted back as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Back {
    /// No.
    #[default]
    No,
    /// Yes, but its turn has not come: another device of its redundancy group is in hand.
    Waiting,
    /// Yes, and the node is told so.
    Told,
}

impl Back {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if hands out a reference")]
    fn is_no(&self) -> bool {
        *self == Self::No
    }
}

/// What only some deployments need.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Note {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    pub(super) evidence: Evidence,
    /// State before the silence; set while it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<DeploymentState>,
    /// When the engine itself first heard that it soaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) soaking_since: Option<Timestamp>,
    /// The node has reported success earlier than the engine's own count of the soak allows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) success_reported: bool,
    /// First deferral of this attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deferred_since: Option<Timestamp>,
    /// Since when its node waits for a window: that uses up no patience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shut_since: Option<Timestamp>,
    /// Why it is wanted back.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) back_reason: String,
    /// The engine has given it up before its install began: it ends as failed, not as rolled back.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) withdrawn: bool,
    /// It was withdrawn since nobody waits for it any longer: it ends as skipped when its node confirms that nothing began.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) left_out: bool,
    /// Its redundancy group when it was offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<GroupId>,
    /// The region of its site when it was offered, where the site has another now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) region: Option<String>,
    /// The alarm that it takes too long has been raised.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) overdue: bool,
}

impl Deployment {
    pub(super) fn note(&mut self) -> &mut Note {
        self.note.get_or_insert_default()
    }

    pub(super) fn reason(&self) -> &str {
        self.note.as_ref().map_or("", |n| n.reason.as_str())
    }

    pub(super) fn group(&self) -> Option<&GroupId> {
        self.note.as_ref()?.group.as_ref()
    }

    /// The state, or that before the silence.
    pub(super) fn last_known(&self) -> DeploymentState {
        self.note.as_ref().and_then(|n| n.before).unwrap_or(self.state)
    }

    pub(super) fn move_to(&mut self, state: DeploymentState, now: Timestamp) {
        if self.state != state {
            self.since = now;
            self.state = state;
            if let Some(note) = &mut self.note {
                note.overdue = false;
                note.before = None;
            }
        }
    }

    pub(super) fn say(&mut self, reason: &str) {
        if self.reason() != reason {
            self.note().reason = cut(reason);
        }
    }

    /// Its node waits for a window, or no longer does.
    pub(super) fn wait_for_window(&mut self, waits: bool, now: Timestamp) {
        let since = self.note.as_ref().and_then(|n| n.shut_since);
        match (since, waits) {
            (None, true) => self.note().shut_since = Some(now),
            (Some(since), false) => {
                let note = self.note();
                note.shut_since = None;
                note.deferred_since = note.deferred_since.map(|put_off| put_off.after(now.since(since)));
            }
            _ => {}
        }
    }

    /// Keeps the newest evidence, within limits.
    pub(super) fn keep(&mut self, evidence: &Evidence) {
        // Which document it is of is known, and says nothing about the device.
        let mut kept = Evidence { document: None, ..evidence.clone() };
        if kept == Evidence::default() {
            return;
        }
        kept.probes.truncate(PROBES_KEPT_MAX);
        for probe in &mut kept.probes {
            probe.probe = cut(&probe.probe);
            probe.answer = cut(&probe.answer);
        }
        for found in [&mut kept.before, &mut kept.after] {
            if let Some(Detected::Present { proof: text } | Detected::Unknown { why: text }) = found {
                *text = cut(text);
            }
        }
        kept.output = cut(&kept.output);
        self.note().evidence = kept;
    }

    /// True when it was offered and may still change the device: what a rollback has to reach. That includes those not
    /// yet installing by the last report, since the node may be further than its reports.
    pub(super) fn is_touched(&self) -> bool {
        self.state.is_in_hand() || self.state == DeploymentState::Succeeded
    }

    pub(super) fn is_withdrawn(&self) -> bool {
        self.note.as_ref().is_some_and(|n| n.withdrawn)
    }

    /// Given up since nobody waits for it any longer.
    pub(super) fn is_left_out(&self) -> bool {
        self.note.as_ref().is_some_and(|n| n.withdrawn && n.left_out)
    }

    /// What is wanted of the device. `active` says that the rollout has not ended.
    pub(super) fn wish(&self, active: bool) -> Option<GoalAction> {
        if self.back == Back::Told {
            let back = if self.is_withdrawn() { GoalAction::Withdraw } else { GoalAction::RollBack };
            return Some(back);
        }
        let wanted = if active {
            self.is_touched()
        } else {
            // An install already begun is finished; nothing else goes on after the end.
            self.state.is_in_hand() && self.last_known().may_be_installed()
        };
        wanted.then_some(GoalAction::Install)
    }

    /// When time alone changes something: the end of a soak that the node has already reported, the end of patience
    /// with a deferral, or the alarm that a step takes too long.
    pub(super) fn timer(&self, plan: &Plan) -> Option<Timestamp> {
        use DeploymentState::{
            Deferred, Downloading, Installing, Offered, Preflight, Rebooting, RollingBack, Soaking, Staged, Verifying,
        };
        let note = self.note.as_deref();
        let timing = &plan.timing;
        match self.state {
            Soaking if note.is_some_and(|n| n.success_reported) => return Some(self.soak_end(plan)),
            Deferred if self.back == Back::No && note.is_some_and(|n| n.overdue && n.shut_since.is_some()) => {
                return None;
            }
            Deferred if self.back == Back::No && note.is_some_and(|n| n.shut_since.is_some()) => {
                return Some(self.since.max(note.and_then(|n| n.shut_since).unwrap_or(self.since)).after(SHUT_MAX));
            }
            Deferred if self.back == Back::No => {
                return Some(note.and_then(|n| n.deferred_since).unwrap_or(self.since).after(timing.defer_max));
            }
            _ if note.is_some_and(|n| n.overdue) => return None,
            _ => {}
        }
        // A node ends an install at its timeout and then takes back, which may need as long again, and a reboot.
        let install = DurationMs(
            timing.install_timeout.0.saturating_mul(2).saturating_add(timing.reboot_timeout.0.saturating_mul(2)),
        );
        let allowed = match self.state {
            Offered | Downloading | Staged | Preflight if self.back == Back::No => timing.defer_max,
            // Counted from when the node was told.
            Offered | Downloading | Staged | Preflight | Deferred if self.back == Back::Waiting => return None,
            Offered | Downloading | Staged | Preflight | Deferred => install,
            Installing | Rebooting | Verifying | RollingBack => install,
            Soaking => self.soak(plan),
            _ => return None,
        };
        Some(self.since.after(allowed).after(timing.unknown_after))
    }

    fn soak(&self, plan: &Plan) -> DurationMs {
        plan.waves.get(usize::from(self.wave)).map_or(DurationMs::default(), |w| w.soak)
    }

    /// End of the soak by the engine's own count.
    pub(super) fn soak_end(&self, plan: &Plan) -> Timestamp {
        let began = self.note.as_ref().and_then(|n| n.soaking_since).unwrap_or(self.since);
        began.after(self.soak(plan))
    }
}

/// At most [`EVIDENCE_TEXT_MAX`] bytes, cut between characters.
pub(super) fn cut(text: &str) -> String {
    let mut end = text.len().min(EVIDENCE_TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let long = "ä".repeat(EVIDENCE_TEXT_MAX);
        let kept = cut(&long);
        assert!(kept.len() <= EVIDENCE_TEXT_MAX && long.starts_with(&kept));
        assert_eq!(cut("short"), "short");
    }
}
