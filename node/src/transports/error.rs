//! What can go wrong between a node and a device.

use std::time::Duration;

use crate::installers;

/// Why a device could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// It does not answer.
    #[error("the device does not answer: {detail}")]
    Unreachable {
        /// What was seen.
        detail: String,
    },
    /// It answers with another identity than the pinned one.
    #[error("the device's host key is not the pinned one: {detail}")]
    HostKey {
        /// What the client said.
        detail: String,
    },
    /// It speaks only algorithms that the node was not told to accept.
    #[error("the device offers only algorithms that are refused: {detail}")]
    Algorithms {
        /// What the client said.
        detail: String,
    },
    /// It does not accept the node's key.
    #[error("the device refuses the node's key: {detail}")]
    Login {
        /// What the client said.
        detail: String,
    },
    /// Something took too long.
    #[error("{what} took longer than {}s", after.as_secs())]
    Timeout {
        /// What.
        what: String,
        /// The limit.
        after: Duration,
    },
    /// A step began, and ended without leaving a result: only detection can tell what it did.
    #[error("{step} began on the device, but left no result: {why}")]
    Interrupted {
        /// Step.
        step: &'static str,
        /// How that was learned.
        why: String,
    },
    /// A step that needs the payload found none.
    #[error("the payload {file:?} is not on the device")]
    NotStaged {
        /// File name.
        file: String,
    },
    /// A name that could not be passed safely.
    #[error("{what} {name:?} holds characters that are not passed to devices")]
    BadName {
        /// What it names.
        what: &'static str,
        /// It.
        name: String,
    },
    /// The technology, or one of its values, does not fit the device.
    #[error(transparent)]
    Installer(#[from] installers::Refused),
    /// A value that could not be quoted.
    #[error(transparent)]
    Unquotable(#[from] super::shell::Unquotable),
    /// A write filter that does not become what it is told to be.
    #[error("the device's write filter ({kind}) does not turn {wanted}")]
    WriteFilter {
        /// Which.
        kind: &'static str,
        /// What it was told.
        wanted: &'static str,
    },
    /// An answer that was not understood.
    #[error("the device's answer to {what} was not understood: {text:?}")]
    Garbled {
        /// The question.
        what: String,
        /// The answer (its end).
        text: String,
    },
    /// A file of this machine.
    #[error("could not {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl DeviceError {
    /// Machine word for reports.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::HostKey { .. } => "host_key",
            Self::Algorithms { .. } => "ssh_algorithms",
            Self::Login { .. } => "login",
            Self::Timeout { .. } => "timeout",
            Self::Interrupted { .. } => "interrupted",
            Self::NotStaged { .. } => "not_staged",
            Self::BadName { .. } | Self::Installer(_) | Self::Unquotable(_) => "bad_variant",
            Self::Garbled { .. } => "garbled_answer",
            Self::WriteFilter { .. } => "write_filter",
            Self::Io { .. } => "node_io",
        }
    }

    /// The way out.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "is it switched on, and does the site file name its address and port?",
            Self::HostKey { .. } => {
                "look at the key on the device itself; only if it was changed on purpose, put it into host_key"
            }
            Self::Algorithms { .. } => "name the old algorithms under transport.legacy, for this device only",
            Self::Login { .. } => "put the node's public key among the device's authorized keys",
            Self::Timeout { .. } => "look whether something on the device waits for a person",
            Self::Interrupted { .. } => "detect what is installed before trying again",
            Self::NotStaged { .. } => "stage the payload first",
            Self::BadName { .. } | Self::Installer(_) | Self::Unquotable(_) => {
                "correct the patch variant, and have it signed again"
            }
            Self::Garbled { .. } => "run the question on the device by hand",
            Self::WriteFilter { .. } => "run ewfmgr or fbwfmgr on the device by hand",
            Self::Io { .. } => "look at the node's disk and permissions",
        }
    }

    /// Whether the same call may do better later, with nothing changed by a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. } | Self::Garbled { .. } | Self::Io { .. })
    }
}
