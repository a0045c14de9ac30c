//! The trust anchor: which key belongs to which person and what it may sign.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{KeyId, PublicKey, is_hidden};

/// Most keys of an anchor.
pub const KEYS_MAX: usize = 1_000;
/// Longest name of a holder, bytes.
pub const HOLDER_BYTES_MAX: usize = 200;

/// What a key is trusted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Release manager: releases patches and rollouts.
    Release,
    /// Clinical safety officer: countersigns them, approves waves.
    Clinical,
    /// On-call: halts and rolls back.
    OnCall,
    /// The controller's online key: directives. Never in an anchor.
    Controller,
    /// A site node's key: reports. Never in an anchor.
    Node,
}

impl Role {
    /// The roles of people.
    pub const PEOPLE: [Self; 3] = [Self::Release, Self::Clinical, Self::OnCall];

    /// The word in files, API and CLI.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Clinical => "clinical",
            Self::OnCall => "on-call",
            Self::Controller => "controller",
            Self::Node => "node",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::PEOPLE
            .into_iter()
            .find(|r| r.word() == text)
            .ok_or_else(|| format!("{text:?} is not a role of people: expected release, clinical or on-call"))
    }
}

/// A person's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// The key.
    pub key: PublicKey,
    /// Who holds it; two keys of one holder never make two people.
    pub holder: String,
    /// What it may sign.
    pub roles: BTreeSet<Role>,
}

/// All people's keys, as the verified image repository names them ([`crate::tuf::Images::people`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustAnchor {
    keys: Vec<TrustedKey>,
}

/// Why an anchor is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// Size.
    #[error("a trust anchor holds 1 to {KEYS_MAX} keys, not {0}")]
    KeyCount(usize),
    /// One key under two names would pass for two people.
    #[error("key {key} stands twice, for {first:?} and {second:?}: each person needs a key of their own")]
    SharedKey {
        /// Id.
        key: KeyId,
        /// Holder.
        first: String,
        /// Holder.
        second: String,
    },
    /// A holder without a name or with an overlong one.
    #[error("key {0} needs a holder's name of 1 to {HOLDER_BYTES_MAX} bytes without control or invisible characters")]
    Holder(KeyId),
    /// Roles of machines, or none.
    #[error("key {0} needs at least one of the roles release, clinical and on-call, and no other")]
    Roles(KeyId),
    /// Nobody could ever sign a patch.
    #[error("no two different people hold the roles release and clinical, so nothing could ever be signed by both")]
    NoPair,
}

impl TrustAnchor {
    /// Checks and makes an anchor.
    ///
    /// # Errors
    /// [`AnchorError`] names the key and what is wrong with it.
    pub fn new(keys: Vec<TrustedKey>) -> Result<Self, AnchorError> {
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return Err(AnchorError::KeyCount(keys.len()));
        }
        for (index, key) in keys.iter().enumerate() {
            let id = key.key.id();
            if !valid_holder(&key.holder) {
                return Err(AnchorError::Holder(id));
            }
            if key.roles.is_empty() || !key.roles.iter().all(|r| Role::PEOPLE.contains(r)) {
                return Err(AnchorError::Roles(id));
            }
            if let Some(other) = keys[..index].iter().find(|k| k.key == key.key) {
                return Err(AnchorError::SharedKey {
                    key: id,
                    first: other.holder.clone(),
                    second: key.holder.clone(),
                });
            }
        }
        let holders = |role| keys.iter().filter(move |k| k.roles.contains(&role)).map(|k| same_person(&k.holder));
        if !holders(Role::Release).any(|r| holders(Role::Clinical).any(|c| c != r)) {
            return Err(AnchorError::NoPair);
        }
        Ok(Self { keys })
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// The key with this id.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<&TrustedKey> {
        self.keys.iter().find(|k| k.key.id() == *id)
    }
}

/// A holder's name that people can tell apart from every other.
pub(crate) fn valid_holder(holder: &str) -> bool {
    !holder.trim().is_empty() && holder.len() <= HOLDER_BYTES_MAX && !holder.chars().any(is_hidden)
}

/// The form of a holder's name by which people are told apart: "Ann  Lee" and "ann lee" are one person.
#[must_use]
pub fn same_person(holder: &str) -> String {
    holder.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}
