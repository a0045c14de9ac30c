//! One deployment as the engine holds it. There may be 1.5 million of them, so what few need lives in a box.

use serde::{Deserialize, Serialize};

use super::{note::Note, windows::SHUT_MAX};
use crate::model::{
    DeploymentState, DeviceId, DurationMs, EVIDENCE_TEXT_MAX, Evidence, GoalAction, GroupId, Plan, Timestamp,
};

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

impl Deployment {
    pub(super) fn note(&mut self) -> &mut Note {
        self.note.get_or_insert_default()
    }

    pub(super) fn reason(&self) -> &str {
        self.note.as_ref().map_or("", |n| &*n.reason)
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
            self.note().reason = shortened(reason).into();
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
        let kept = super::kept::Kept::of_device(evidence);
        if !kept.is_empty() {
            self.note().evidence = kept;
        }
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
    shortened(text).to_owned()
}

/// The same, without a copy.
pub(super) fn shortened(text: &str) -> &str {
    let mut end = text.len().min(EVIDENCE_TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
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
