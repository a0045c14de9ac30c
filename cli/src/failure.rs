//! How a command ends: the exit codes, and the one form of an error.

use std::{fmt, process::ExitCode};

use tonic::Code;
use tonic_types::StatusExt as _;

use crate::output::{harmless, one_line};

/// Exit codes. Documented: a script may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    Failure = 1,
    Usage = 2,
    Refused = 3,
    NotFound = 4,
    Unreachable = 5,
    EndedBadly = 6,
    Declined = 7,
    /// A node's word to its supervisor.
    Restart = wardround_node::program::RESTART_CODE as isize,
    /// As shells report a process that SIGINT ended (128 + 2).
    Interrupted = 130,
}

impl Exit {
    pub(crate) const ALL: [Self; 10] = [
        Self::Ok,
        Self::Failure,
        Self::Usage,
        Self::Refused,
        Self::NotFound,
        Self::Unreachable,
        Self::EndedBadly,
        Self::Declined,
        Self::Restart,
        Self::Interrupted,
    ];

    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Failure => "failed: the error line says why (also: problems found by a lint)",
            Self::Usage => "the command line is wrong",
            Self::Refused => "refused: by the state of the thing, by a missing or wrong signature, or by a passphrase",
            Self::NotFound => "no such thing: patch, rollout, site, wave, device or file",
            Self::Unreachable => "the controller can't be reached, or does not answer in time",
            Self::EndedBadly => "the rollout that was watched was halted, rolled back or cancelled",
            Self::Declined => "a person was asked and did not say yes",
            Self::Restart => "`node run` under its supervisor: another program is to be started",
            Self::Interrupted => "interrupted with Ctrl-C",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One line in lower case, without a full stop.
    pub(crate) message: String,
    /// Lines that stand before it, one problem each.
    pub(crate) details: Vec<String>,
    /// The way out; may be empty.
    pub(crate) hint: String,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::with(Exit::Failure, message)
    }

    pub(crate) fn with(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), details: Vec::new(), hint: String::new() }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::with(Exit::Refused, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::with(Exit::Usage, message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    /// Writes it to standard error and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        for line in &self.details {
            eprintln!("{}", harmless(line));
        }
        eprintln!("error: {}", one_line(&self.message));
        // Some servers' words hold their own way out.
        if !self.hint.is_empty() && !self.message.ends_with(&self.hint) {
            eprintln!("hint: {}", one_line(&self.hint));
        }
        self.exit.into()
    }

    /// From an error of the operating system about a file.
    pub(crate) fn file(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failure };
        Self::with(exit, format!("cannot {doing} {}: {}", path.display(), os_words(error)))
    }
}

/// A connection that broke has no words of the controller's; the cause is in the error's sources.
fn connection_broke(status: &tonic::Status) -> Option<Failure> {
    let source = std::error::Error::source(status)?;
    if !source.is::<tonic::transport::Error>() {
        return None;
    }
    let words = chain(source).to_lowercase();
    let words =
        words.strip_prefix("transport error: ").unwrap_or(&words).split(" (os error").next().unwrap_or_default();
    let hint = if words.contains("certificate") || words.contains("alert") {
        "the controller does not accept this profile's certificate: is it another controller's?"
    } else {
        "is the controller running, and is the profile's endpoint right?"
    };
    Some(Failure::with(Exit::Unreachable, format!("the connection to the controller broke: {words}")).hint(hint))
}

/// The operating system's words without its "(os error 2)".
pub(crate) fn os_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = inner.source();
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.details {
            write!(f, "{line}; ")?;
        }
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " ({})", self.hint) }
    }
}

impl From<tonic::Status> for Failure {
    /// Keeps the server's words: each violated field becomes a line, a hint becomes the hint.
    fn from(status: tonic::Status) -> Self {
        if let Some(broken) = connection_broke(&status) {
            return broken;
        }
        let exit = match status.code() {
            Code::NotFound => Exit::NotFound,
            // Tonic's own word for a call that ran out of time on this side is Cancelled.
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Exit::Unreachable,
            Code::FailedPrecondition
            | Code::Aborted
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated => Exit::Refused,
            _ => Exit::Failure,
        };
        let details = status.get_error_details();
        let mut lines = Vec::new();
        if let Some(request) = details.bad_request() {
            for violation in &request.field_violations {
                lines.push(match violation.field.as_str() {
                    "" => violation.description.clone(),
                    field => format!("{field}: {}", violation.description),
                });
            }
        }
        let mut hints = Vec::new();
        if let Some(failure) = details.precondition_failure() {
            hints.extend(failure.violations.iter().map(|v| v.description.clone()));
        }
        if let Some(hint) = details.error_info().and_then(|info| info.metadata.get("hint")) {
            hints.push(hint.clone());
        }
        if let Some(help) = details.help() {
            hints.extend(help.links.iter().map(|link| link.description.clone()));
        }
        hints.retain(|hint| !hint.is_empty() && hint != status.message());
        hints.dedup();
        let message = match status.message() {
            "" => format!("the controller answered {:?}", status.code()),
            words => words.to_owned(),
        };
        let mut failure = Self::with(exit, message).details(lines).hint(hints.join("; "));
        if failure.exit == Exit::Unreachable && failure.hint.is_empty() {
            failure.hint = "is the controller running, and is the profile's endpoint right?".into();
        }
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_answer_in_time_is_5() {
        for code in [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled] {
            let failure = Failure::from(tonic::Status::new(code, "Timeout expired"));
            assert_eq!((failure.exit, failure.hint.is_empty()), (Exit::Unreachable, false), "{code:?}");
        }
    }

    #[test]
    fn the_page_lists_the_codes_that_are_used() {
        let page = include_str!("../../docs/cli.md");
        for exit in Exit::ALL {
            let row = format!("| {} | {} |", exit.code(), exit.meaning());
            assert!(page.contains(&row), "docs/cli.md lacks {row}");
            let readme = include_str!("../../README.md");
            assert!(readme.contains(&format!("\n| {} | ", exit.code())), "README.md lacks exit code {}", exit.code());
        }
    }
}
