//! What only some deployments need, and what only few do: there may be 1.5 million, so each has room for what it needs alone.

use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use super::kept::Kept;
use crate::model::{DeploymentState, GroupId, Timestamp};

/// What most deployments come to need.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Form", into = "Form")]
pub(super) struct Note {
    pub(super) reason: Box<str>,
    pub(super) evidence: Kept,
    /// When the engine itself first heard that it soaks.
    pub(super) soaking_since: Option<Timestamp>,
    /// Its redundancy group when it was offered.
    pub(super) group: Option<GroupId>,
    /// What is read and written as if it stood here, in a box of its own.
    rare: Option<Box<Rare>>,
    /// State before the silence; set while it is unknown.
    pub(super) before: Option<DeploymentState>,
    /// The node has reported success earlier than the engine's own count of the soak allows.
    pub(super) success_reported: bool,
    /// The alarm that it takes too long has been raised.
    pub(super) overdue: bool,
}

/// What few deployments need.
#[derive(Debug, Clone)]
pub(super) struct Rare {
    /// First deferral of this attempt.
    pub(super) deferred_since: Option<Timestamp>,
    /// Since when its node waits for a window: that uses up no patience.
    pub(super) shut_since: Option<Timestamp>,
    /// Why it is wanted back.
    pub(super) back_reason: String,
    /// The engine has given it up before its install began: it ends as failed, not as rolled back.
    pub(super) withdrawn: bool,
    /// It was withdrawn since nobody waits for it any longer: it ends as skipped when its node confirms that nothing began.
    pub(super) left_out: bool,
    /// The region of its site when it was offered, where the site has another now.
    pub(super) region: Option<String>,
}

impl Rare {
    const fn none() -> Self {
        Self {
            deferred_since: None,
            shut_since: None,
            back_reason: String::new(),
            withdrawn: false,
            left_out: false,
            region: None,
        }
    }
}

/// Of all that need none of it.
static NONE: Rare = Rare::none();

impl Deref for Note {
    type Target = Rare;
    fn deref(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for Note {
    fn deref_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| Box::new(Rare::none()))
    }
}

/// The form that snapshots have.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Form {
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: Box<str>,
    evidence: Kept,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<DeploymentState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    soaking_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    success_reported: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deferred_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shut_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    back_reason: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    withdrawn: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    left_out: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<GroupId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    overdue: bool,
}

impl From<Form> for Note {
    fn from(form: Form) -> Self {
        let Form { reason, evidence, before, soaking_since, success_reported, group, overdue, .. } = form;
        let Form { deferred_since, shut_since, back_reason, withdrawn, left_out, region, .. } = form;
        let plain = deferred_since.is_none() && shut_since.is_none() && back_reason.is_empty();
        let rare = Rare { deferred_since, shut_since, back_reason, withdrawn, left_out, region };
        let rare = if plain && !rare.withdrawn && !rare.left_out && rare.region.is_none() {
            None
        } else {
            Some(Box::new(rare))
        };
        Self { reason, evidence, soaking_since, group, rare, before, success_reported, overdue }
    }
}

impl From<Note> for Form {
    fn from(note: Note) -> Self {
        let Note { reason, evidence, soaking_since, group, rare, before, success_reported, overdue } = note;
        let rare = rare.map_or_else(Rare::none, |rare| *rare);
        let Rare { deferred_since, shut_since, back_reason, withdrawn, left_out, region } = rare;
        Self {
            reason,
            evidence,
            before,
            soaking_since,
            success_reported,
            deferred_since,
            shut_since,
            back_reason,
            withdrawn,
            left_out,
            group,
            region,
            overdue,
        }
    }
}
