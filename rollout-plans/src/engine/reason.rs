//! Why nothing is happening, as data: the same words in API, CLI and console.

use std::fmt;

use serde::{Deserialize, Serialize};
use wardround_signing::Role;

use super::RolloutState;
use crate::{
    model::{GroupId, PatchId, RolloutId, SiteId, Timestamp, WaveName},
    words::count,
};

/// A reason with its times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// On what.
    pub on: WaitingOn,
    /// Since when.
    pub since: Timestamp,
    /// When it is expected to end, when that is known.
    pub until: Option<Timestamp>,
}

/// What something waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum WaitingOn {
    /// Signatures of both roles on the rollout document.
    Signatures,
    /// A start order.
    Start,
    /// Earlier waves.
    EarlierWave {
        /// The one in front.
        wave: WaveName,
    },
    /// Approvals of these roles: of the wave itself, or of the next one where the gate has too little evidence.
    Approval {
        /// Missing roles.
        roles: Vec<Role>,
        /// The version that changed the wave, so that approvals of before count no more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changed_in: Option<u32>,
        /// The next wave, where that is to be approved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<WaveName>,
    },
    /// Deployments that are still on their way.
    Deployments {
        /// How many.
        open: u64,
    },
    /// Soaks.
    Soak {
        /// How many deployments still soak.
        soaking: u64,
    },
    /// Rollbacks.
    Rollbacks {
        /// How many are not back yet.
        open: u64,
    },
    /// Nodes that do not answer.
    SilentSites {
        /// Sites.
        sites: Vec<SiteId>,
    },
    /// A gate that has not seen enough to decide.
    Evidence {
        /// Succeeded so far.
        have: u64,
        /// Needed.
        need: u64,
    },
    /// A gate that has seen enough, of which too little can be shown to the nodes of the next wave.
    CheckableEvidence {
        /// Successes that nodes can check.
        have: u64,
        /// As many as they ask for.
        need: u64,
    },
    /// A gate whose exact test can't tell yet.
    GateTest {
        /// The gate's sentence.
        finding: String,
    },
    /// People who hold the gate of the wave in front.
    Hold {
        /// That wave.
        wave: WaveName,
        /// Who.
        by: String,
        /// Why.
        reason: String,
        /// How many further holds stand.
        more: u64,
    },
    /// A person who resumes.
    Resume {
        /// Why it was paused or halted.
        reason: String,
    },
    /// A second person who signs the resume that waits.
    SecondSignature {
        /// That order's counter.
        order: u64,
        /// Who has signed.
        signed_by: Vec<String>,
        /// Roles of which the second person must hold one.
        roles: Vec<Role>,
    },
    /// A person who decides what to do with a failed wave.
    Decision {
        /// What failed.
        reason: String,
    },
    /// A limit.
    Concurrency {
        /// "site", "wave", "total", or "device" (another rollout has it in hand).
        scope: String,
        /// The limit.
        limit: u32,
    },
    /// A limit of the site's region.
    Region {
        /// Its name; empty for sites that name none.
        region: String,
        /// The limit.
        limit: u32,
    },
    /// A redundancy group of which another device is in hand.
    RedundancyGroup {
        /// Group.
        group: GroupId,
    },
    /// Another rollout that is to bring to the device what the patch requires.
    Prerequisite {
        /// What is required.
        patch: PatchId,
        /// What brings it.
        rollout: RolloutId,
    },
    /// A maintenance window, or the end of a change freeze.
    Window {
        /// The site, by whose clock it opens.
        site: SiteId,
        /// When, on that clock; empty when none opens within sight.
        opens: String,
        /// What stands in the way now.
        reason: String,
    },
    /// Nobody: the deadline of the wave is over, and what has not begun is left out.
    Deadline {
        /// The wave.
        wave: WaveName,
        /// The moment, in words.
        by: String,
    },
    /// A node that was asked to begin nothing, or to take back what had not begun, and has not said yet that nothing is there.
    Confirmation {
        /// Its site.
        site: SiteId,
    },
    /// Nobody: the rollout has ended or is taken back, and nothing more begins in it.
    Ended {
        /// What has become of the rollout.
        state: RolloutState,
    },
    /// The node said "not now".
    Device {
        /// The node's words.
        reason: String,
    },
}

impl WaitingOn {
    /// The machine word in API and files.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signatures => "signatures",
            Self::Start => "start",
            Self::EarlierWave { .. } => "earlier_wave",
            Self::Approval { .. } => "approval",
            Self::Deployments { .. } => "deployments",
            Self::Soak { .. } => "soak",
            Self::Rollbacks { .. } => "rollbacks",
            Self::SilentSites { .. } => "silent_sites",
            Self::Evidence { .. } => "evidence",
            Self::CheckableEvidence { .. } => "checkable_evidence",
            Self::GateTest { .. } => "gate_test",
            Self::Hold { .. } => "hold",
            Self::Resume { .. } => "resume",
            Self::SecondSignature { .. } => "second_signature",
            Self::Decision { .. } => "decision",
            Self::Concurrency { .. } => "concurrency",
            Self::Region { .. } => "region",
            Self::RedundancyGroup { .. } => "redundancy_group",
            Self::Prerequisite { .. } => "prerequisite",
            Self::Window { .. } => "window",
            Self::Deadline { .. } => "deadline",
            Self::Confirmation { .. } => "confirmation",
            Self::Ended { .. } => "ended",
            Self::Device { .. } => "device",
        }
    }
}

fn list(items: impl IntoIterator<Item: ToString>, between: &str) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(between)
}

/// " (reason)", or nothing.
fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

impl fmt::Display for WaitingOn {
    /// One sentence that says what would move it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signatures => f.write_str("release and clinical must both sign the rollout document"),
            Self::Start => f.write_str("a release manager must order the start"),
            Self::EarlierWave { wave } => write!(f, "wave {wave} must pass its gate first"),
            Self::Approval { roles, changed_in, next } => {
                write!(f, "{} must approve", list(roles, " and "))?;
                match (changed_in, next) {
                    (None, None) => Ok(()),
                    (None, Some(next)) => write!(f, " the next wave, {next}, too: the gate is inconclusive"),
                    (Some(version), next) => {
                        let which = next
                            .as_ref()
                            .map_or_else(|| "the wave".to_owned(), |next| format!("the next wave, {next},"));
                        write!(f, " {which} as version {version} has it: approvals from before that do not count")
                    }
                }
            }
            Self::Deployments { open } => write!(f, "{} must end first", count(*open, "deployment")),
            Self::Soak { soaking } => write!(f, "{} must soak to the end", count(*soaking, "device")),
            Self::Rollbacks { open } => write!(f, "{} must be taken back first", count(*open, "device")),
            Self::SilentSites { sites } => write!(f, "the node of {} must answer again", list(sites, ", ")),
            Self::Evidence { have, need } => write!(
                f,
                "the gate is inconclusive, only {have} of at least {need} succeeded: people of release and clinical must both approve the next \
                 wave, or cancel"
            ),
            Self::CheckableEvidence { have, need } => write!(
                f,
                "waits for evidence nodes can check: {have} of at least {need} successes were reported by nodes that were \
                 enrolled when the rollout was resolved; people of release and clinical must both approve the next wave, or \
                 cancel"
            ),
            Self::GateTest { finding } => write!(
                f,
                "the gate is {finding}: people of release and clinical must both approve the next wave, or cancel"
            ),
            Self::Hold { wave, by, reason, more } => {
                let others = if *more == 0 { String::new() } else { format!(", and {} besides", count(*more, "hold")) };
                write!(
                    f,
                    "{by} holds the gate of wave {wave}{}{others}: whoever put a hold, or two people, must lift it",
                    because(reason)
                )
            }
            Self::Resume { reason } => {
                write!(f, "two people must resume, one of them a release manager{}", because(reason))
            }
            Self::SecondSignature { order, signed_by, roles } => write!(
                f,
                "a second person ({}) must sign order {order}, the resume that {} signed",
                list(roles, " or "),
                list(signed_by, " and ")
            ),
            Self::Decision { reason } => write!(f, "a person must decide: roll back or cancel{}", because(reason)),
            Self::Concurrency { scope, .. } if scope == "device" => {
                f.write_str("another rollout must be done with the device")
            }
            Self::Concurrency { scope, limit } => {
                let scope = match scope.as_str() {
                    "site" => "at the site",
                    "wave" => "in the wave",
                    _ => "in the rollout",
                };
                write!(f, "another device {scope} must end first: at most {limit} may be in hand at once")
            }
            Self::Region { region, limit } => {
                let of = if region.is_empty() {
                    "the sites without a region".to_owned()
                } else {
                    format!("region {region}")
                };
                write!(f, "another device of {of} must end first: at most {limit} may be in hand at once")
            }
            Self::RedundancyGroup { group } => {
                write!(f, "another device of redundancy group {group} must end first")
            }
            Self::Prerequisite { patch, rollout } => {
                write!(f, "rollout {rollout} must bring {patch} to the device first, which the patch requires")
            }
            Self::Window { site, opens, reason } if opens.is_empty() => {
                write!(f, "site {site}: no window opens that is long enough: {reason}")
            }
            Self::Window { site, opens, reason } => write!(f, "site {site}: window opens at {opens}: {reason}"),
            Self::Deadline { wave, by } => {
                write!(f, "the deadline of wave {wave}, {by}, is over: what has not begun is left out")
            }
            Self::Confirmation { site } => {
                write!(f, "the node of {site} must confirm that nothing of the patch is on the device")
            }
            Self::Ended { state } => {
                let state = match state {
                    RolloutState::RollingBack => "is being taken back".to_owned(),
                    state => format!("is {}", state.word().replace('_', " ")),
                };
                write!(f, "nothing more begins: the rollout {state}; what is left wants another one")
            }
            Self::Device { reason } if reason.is_empty() => f.write_str("its node tries again by itself"),
            Self::Device { reason } => write!(f, "its node tries again by itself: {reason}"),
        }
    }
}
