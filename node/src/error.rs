//! What can go wrong with a node as a whole, with the way out.

use std::{io, path::PathBuf};

use crate::{config::ConfigError, device::DeviceError};

/// Why a node can't start, enrol or go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The site file.
    #[error(transparent)]
    Site(#[from] ConfigError),
    /// A device's transport can't be set up.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The journal.
    #[error("the node's journal at {} can't be used", .path.display())]
    Journal {
        /// Folder.
        path: PathBuf,
        /// Why.
        source: wardround_journal::JournalError,
    },
    /// A journal record that this program can't read.
    #[error("record {seq} of the node's journal can't be read: {why}")]
    Record {
        /// Its sequence number.
        seq: u64,
        /// Why.
        why: String,
    },
    /// A file of the state folder.
    #[error("{} can't be {verb}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// "read", "written".
        verb: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The identity is missing, damaged or contradicts itself.
    #[error("the node's identity in {} can't be used: {why}", .path.display())]
    Identity {
        /// Folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// There is an identity already.
    #[error("{} holds the identity of site {site} already", .path.display())]
    Enrolled {
        /// Folder.
        path: PathBuf,
        /// Its site.
        site: String,
    },
    /// The client certificate has run out.
    #[error("the node's certificate expired on {on}")]
    CertificateExpired {
        /// RFC 3339.
        on: String,
    },
    /// The token is not of the form that `wardround site token` prints.
    #[error("this is not an enrolment token: expected id.secret.ca-pin.root-pin, as printed by wardround site token")]
    Token,
    /// The controller answered something that contradicts the token's pins.
    #[error("the controller does not match the token: {0}")]
    Pin(String),
    /// The controller gave a node something that it can't use.
    #[error("what the controller sent can't be used: {0}")]
    Answer(String),
    /// The controller can't be reached.
    #[error("controller {endpoint} can't be reached: {why}")]
    Unreachable {
        /// As given.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// The controller refused.
    #[error("controller {endpoint} refused: {}", .status.message())]
    Refused {
        /// As given.
        endpoint: String,
        /// Its answer.
        status: Box<tonic::Status>,
    },
    /// The site file is of another site.
    #[error("the site file is of site {found}, but this node was enrolled for {expected}")]
    OtherSite {
        /// In the file.
        found: String,
        /// In the identity.
        expected: String,
    },
    /// Both copies of the trust floors are damaged.
    #[error("both copies of the trust floor in {} are damaged: {why}", .path.display())]
    Floor {
        /// Folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The kept metadata is damaged.
    #[error("the trust store in {} is damaged, and damage is never taken for absence: {why}", .path.display())]
    Trust {
        /// Folder.
        path: PathBuf,
        /// What.
        why: String,
    },
    /// The floors are lost and nobody vouches for new ones.
    #[error("both copies of the trust floor in {} are lost: a person must say from where on to believe", .path.display())]
    Vouch {
        /// Folder.
        path: PathBuf,
    },
    /// A task without which the node must not go on has ended.
    #[error("{name} of the node ended unexpectedly: {why}")]
    Task {
        /// Which.
        name: &'static str,
        /// How.
        why: String,
    },
    /// The node's own program, or the record of what runs.
    #[error("the node's programs: {why}")]
    Program {
        /// What.
        why: String,
    },
    /// Keys, certificates or randomness.
    #[error("{what} failed: {why}")]
    Crypto {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
}

impl NodeError {
    /// The way out, one sentence; empty when the message says it all.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Journal { source: wardround_journal::JournalError::Locked { .. }, .. } => {
                "another wardround node runs on this state folder; stop it, or give this one a folder of its own".into()
            }
            Self::Journal { source, .. } => source.hint().unwrap_or_default(),
            Self::Record { .. } => "was it written by a newer version? run that version".into(),
            Self::File { .. } => "check that the folder exists, has room and belongs to this user".into(),
            Self::Identity { .. } => "enrol anew: wardround site token SITE, then wardround node enrol with an empty folder".into(),
            Self::Enrolled { .. } => "run it with wardround node run, or enrol into an empty folder".into(),
            Self::CertificateExpired { .. } => {
                "make a token with wardround site token SITE and enrol into a new folder".into()
            }
            Self::Token => "copy the whole line that wardround site token printed".into(),
            Self::Pin(_) => "someone may stand between you and the controller; check the address, or make a new token".into(),
            Self::Answer(_) => {
                "nothing was written, and the token is used up: compare the clocks, look at the controller's log, then make a new token with wardround site token SITE".into()
            }
            Self::Unreachable { .. } => "check the address, that the controller runs, and the firewall towards it".into(),
            Self::Refused { .. } => "tokens work once and expire: make a new one with wardround site token SITE".into(),
            Self::OtherSite { .. } => "give the site file that belongs to this node".into(),
            Self::Floor { .. } => {
                "the node can't tell old directives from new ones: check its disk, then run wardround node reanchor with what another node has seen".into()
            }
            Self::Trust { .. } => {
                "check the disk, compare the pinned root with the people who hold its keys, then run wardround node reanchor: the floors stay".into()
            }
            Self::Vouch { .. } => {
                "give the counter and the versions of root and timestamp, read from another node or from the audit log".into()
            }
            Self::Task { .. } => "start the node again: what runs on devices is taken up; report this as a mistake of wardround".into(),
            Self::Program { .. } => "docs/self-update.md says what each file below STATE/program is".into(),
            Self::Site(_) | Self::Device(_) | Self::Crypto { .. } => String::new(),
        }
    }
}
