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
    /// It says nothing that changes with its start, so a restart could not be proved.
    #[error("the device does not say when it was started, so a restart could not be proved; none was asked for")]
    NoBootMark,
    /// It answers, and does not accept the adapter's credentials.
    #[error("the device refuses the credentials: {detail}")]
    Refused {
        /// What the adapter said.
        detail: String,
    },
    /// A credential could not be read where the site file says that it is kept.
    #[error("the credential {name} could not be had: {detail}")]
    Credentials {
        /// Its name in the site file.
        name: String,
        /// Why, without a part of it.
        detail: String,
    },
    /// An adapter broke the protocol: what it did is not known.
    #[error("the adapter broke its protocol at {verb}, and what it did is not known: {broken}{}", logged(log))]
    Adapter {
        /// The verb.
        verb: String,
        /// How.
        broken: super::Broken,
        /// The end of its log, without secrets.
        log: String,
    },
    /// An adapter says that the device answered, and could not do it.
    #[error("the adapter's {verb} failed on the device: {detail}")]
    AdapterFailed {
        /// The verb.
        verb: &'static str,
        /// Its words.
        detail: String,
    },
    /// An adapter does not know the verb, or not these options.
    #[error("the adapter refuses {verb}: {detail}")]
    AdapterRefused {
        /// The verb.
        verb: &'static str,
        /// Its words.
        detail: String,
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

fn logged(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; it logged: {log}") }
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
            Self::NoBootMark => "no_boot_mark",
            Self::Refused { .. } => "login",
            Self::Credentials { .. } => "credentials",
            Self::Adapter { .. } => "adapter_broken",
            Self::AdapterFailed { .. } => "adapter_failed",
            Self::AdapterRefused { .. } => "adapter_refused",
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
            Self::NoBootMark => {
                "restart it by hand, and give it something that says when it was started (docs/site-file.md)"
            }
            Self::Refused { .. } => "look whether account and password are still right, and may do it",
            Self::Credentials { .. } => "correct the credential's place in the site file, or what is kept there",
            Self::Adapter { .. } => {
                "run `wardround node adapter test` on the adapter; docs/adapters.md has the protocol"
            }
            Self::AdapterFailed { .. } => "try it on the device by hand, as the adapter does it",
            Self::AdapterRefused { .. } => "compare the device's options with what `PROGRAM describe` says",
            Self::Io { .. } => "look at the node's disk and permissions",
        }
    }

    /// Whether the same call may do better later, with nothing changed by a person.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Timeout { .. }
                | Self::Garbled { .. }
                | Self::Io { .. }
                | Self::Adapter { .. }
                | Self::AdapterFailed { .. }
        )
    }
}
