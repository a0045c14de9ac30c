//! Errors of the rooms as gRPC statuses with google.rpc details. The only place that chooses codes.
//!
//! Every status carries an `ErrorInfo` with a reason for programs and, where there is a way out, `metadata["hint"]`.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use wardround_rollout_plans::{engine::Refusal, language::Problem};
use wardround_signing::VerifyError;

use crate::{core::CoreError, payloads::PayloadError};

/// `ErrorInfo.domain`.
const DOMAIN: &str = "wardround";
/// Longest message, bytes. Message and details travel in headers, of which hyper's clients take 16 KiB in all; a longer
/// status would reach its reader as a broken connection. What is not ASCII there triples, details grow by a third.
const MESSAGE_BYTES_MAX: usize = 1_000;
/// Longest hint, bytes.
const HINT_BYTES_MAX: usize = 500;
/// Most violations in one status.
const VIOLATIONS_MAX: usize = 20;
/// Longest field and longest text of one violation, bytes.
const VIOLATION_BYTES_MAX: usize = 240;
/// Most bytes of all violations.
const VIOLATIONS_BYTES_MAX: usize = 4_000;

/// A status with reason and hint.
pub(crate) fn make(code: Code, reason: &str, message: &str, hint: &str) -> Status {
    whole(code, message, details(reason, hint))
}

fn whole(code: Code, message: &str, details: ErrorDetails) -> Status {
    Status::with_error_details(code, shorten(message, MESSAGE_BYTES_MAX), details)
}

fn details(reason: &str, hint: &str) -> ErrorDetails {
    let mut metadata = HashMap::new();
    if !hint.is_empty() {
        metadata.insert("hint".to_owned(), shorten(hint, HINT_BYTES_MAX));
    }
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, metadata);
    details
}

/// A field of the request is wrong.
pub(crate) fn invalid(field: &str, message: impl std::fmt::Display) -> Status {
    let message = message.to_string();
    let mut details = details("INVALID_FIELD", "");
    details.add_bad_request_violation(field, shorten(&message, VIOLATION_BYTES_MAX));
    whole(Code::InvalidArgument, &format!("{field}: {message}"), details)
}

/// Something is not there.
pub(crate) fn not_found(what: &str, id: &str, hint: &str) -> Status {
    make(Code::NotFound, "NOT_FOUND", &format!("there is no {what} {id:?}"), hint)
}

/// Something must be done first.
pub(crate) fn precondition(reason: &str, subject: &str, message: &str, hint: &str) -> Status {
    let mut details = details(reason, hint);
    details.add_precondition_failure_violation(
        reason,
        shorten(subject, VIOLATION_BYTES_MAX),
        shorten(message, VIOLATION_BYTES_MAX),
    );
    whole(Code::FailedPrecondition, message, details)
}

/// Several fields are wrong.
pub(crate) fn violations(message: &str, hint: &str, wrong: &[(String, String)]) -> Status {
    let mut details = details("INVALID_FIELD", hint);
    let mut room = VIOLATIONS_BYTES_MAX;
    for (field, text) in wrong.iter().take(VIOLATIONS_MAX) {
        let (field, text) = (shorten(field, VIOLATION_BYTES_MAX), shorten(text, VIOLATION_BYTES_MAX));
        let Some(left) = room.checked_sub(field.len() + text.len()) else { break };
        room = left;
        details.add_bad_request_violation(field, text);
    }
    whole(Code::InvalidArgument, message, details)
}

/// Problems of a plan: one violation each, at "file:line:column field".
pub(crate) fn problems(problems: &[Problem]) -> Status {
    let wrong: Vec<(String, String)> = problems.iter().map(|p| (place(p), sentence(p))).collect();
    let (first, rest) = match problems.split_first() {
        Some((first, rest)) => (first, rest.len()),
        None => return Status::internal("a plan was refused without a problem"),
    };
    let more = if rest == 0 { String::new() } else { format!(" (and {rest} more)") };
    violations(&format!("the plan can't be used: {}: {}{more}", place(first), first.message), &first.hint, &wrong)
}

/// "plan.yaml:12:7 waves[1].gate", without what is unknown.
pub(crate) fn place(problem: &Problem) -> String {
    let mut place = problem.file.clone();
    if problem.line > 0 {
        place.push_str(&format!(":{}", problem.line));
        if problem.column > 0 {
            place.push_str(&format!(":{}", problem.column));
        }
    }
    format!("{place} {}", problem.field).trim().to_owned()
}

/// Message and hint in one line.
pub(crate) fn sentence(problem: &Problem) -> String {
    match problem.hint.as_str() {
        "" => problem.message.clone(),
        hint => format!("{}; {hint}", problem.message),
    }
}

/// At most `max` bytes of a text, and a sign that there was more.
pub(super) fn shorten(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let cut = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..cut])
}

/// The engine or the registry said no.
pub(crate) fn refusal(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::NotFound { .. } => make(Code::NotFound, "NOT_FOUND", &message, ""),
        Refusal::AlreadyExists { .. } => make(Code::AlreadyExists, "ALREADY_EXISTS", &message, "choose another id"),
        Refusal::InvalidTransition { what, hint, .. } => precondition("INVALID_TRANSITION", what, &message, hint),
        Refusal::StaleOrder { .. } => {
            make(Code::Aborted, "STALE_ORDER", &message, "read the rollout again and sign a new order")
        }
        Refusal::NotPermitted { .. } => {
            make(Code::PermissionDenied, "NOT_PERMITTED", &message, "somebody else, who holds such a role, must sign")
        }
        Refusal::Invalid { .. } => make(Code::InvalidArgument, "INVALID", &message, ""),
        Refusal::AnotherNode { .. } => make(
            Code::PermissionDenied,
            "ANOTHER_NODE",
            &message,
            "enrol this node anew if it is the one that should serve the site",
        ),
        Refusal::Duplicate { .. } => make(Code::AlreadyExists, "DUPLICATE", &message, ""),
        Refusal::Gap { .. } => make(Code::OutOfRange, "GAP", &message, "send the missing report first"),
    }
}

/// A change did not become true.
pub(crate) fn core(error: &CoreError) -> Status {
    match error {
        CoreError::Refused(why) => refusal(why),
        CoreError::DiskFull(_) => make(
            Code::ResourceExhausted,
            "DISK_FULL",
            &error.to_string(),
            "nothing was changed; make room on the controller's disk (docs/operations.md, \"Disk full\")",
        ),
        CoreError::TooLarge(_) => make(Code::ResourceExhausted, "TOO_LARGE", &error.to_string(), "make it smaller"),
        CoreError::Broken(_) => make(
            Code::Unavailable,
            "JOURNAL",
            &error.to_string(),
            "look at the controller's log, mend the disk, restart",
        ),
        CoreError::Stopping => make(Code::Unavailable, "STOPPING", &error.to_string(), "try again in a moment"),
    }
}

/// A signed document does not count.
pub(crate) fn verify(what: &str, error: &VerifyError) -> Status {
    let message = format!("{what} does not count: {error}");
    match error {
        VerifyError::Missing { .. } => make(
            Code::PermissionDenied,
            "SIGNATURE_MISSING",
            &message,
            "sign with a key that the targets metadata names for such a role: `wardround root show`",
        ),
        VerifyError::Altered { .. } => {
            make(Code::InvalidArgument, "SIGNATURE_ALTERED", &message, "sign the very bytes that the controller holds")
        }
        VerifyError::PayloadType { .. }
        | VerifyError::TooLarge { .. }
        | VerifyError::TooManySignatures(_)
        | VerifyError::Json(_) => make(Code::InvalidArgument, "DOCUMENT", &message, ""),
    }
}

/// A chunk could not be stored or read.
pub(crate) fn payload(error: &PayloadError) -> Status {
    let message = error.to_string();
    match error {
        PayloadError::NotFound(_) => make(Code::NotFound, "NO_CHUNK", &message, ""),
        PayloadError::Damaged { .. } => {
            make(Code::DataLoss, "CHUNK_DAMAGED", &message, "import the patch again: its chunks are then stored anew")
        }
        PayloadError::Packed(_) => make(Code::InvalidArgument, "CHUNK_PACKED", &message, "send it as it is"),
        PayloadError::Size(_) => make(Code::InvalidArgument, "CHUNK_SIZE", &message, ""),
        PayloadError::DiskFull { .. } => {
            make(Code::ResourceExhausted, "DISK_FULL", &message, "make room on the controller's disk and import again")
        }
        PayloadError::Io { .. } => make(Code::Unavailable, "DISK", &message, "look at the controller's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_code() {
        let why = || "why".to_owned();
        let cases = [
            (Refusal::NotFound { what: "wave", id: why() }, Code::NotFound),
            (Refusal::AlreadyExists { what: "rollout", id: why() }, Code::AlreadyExists),
            (
                Refusal::InvalidTransition { what: why(), verb: "resume", state: why(), hint: "do this".to_owned() },
                Code::FailedPrecondition,
            ),
            (Refusal::StaleOrder { why: why() }, Code::Aborted),
            (Refusal::NotPermitted { why: why() }, Code::PermissionDenied),
            (Refusal::Invalid { why: why() }, Code::InvalidArgument),
        ];
        for (given, code) in cases {
            assert_eq!(refusal(&given).code(), code, "{given}");
        }
        let status = refusal(&Refusal::InvalidTransition {
            what: why(),
            verb: "resume",
            state: why(),
            hint: "do this".to_owned(),
        });
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().metadata["hint"], "do this");
        assert_eq!(details.precondition_failure().unwrap().violations.len(), 1);
    }

    /// What hyper's client counts (RFC 9113, section 6.5.2): names, values, and 32 bytes for each field.
    fn header_bytes(status: &Status) -> usize {
        let answer = status.clone().into_http::<tonic::body::Body>();
        answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    #[test]
    fn whatever_the_caller_sent_a_status_fits_into_a_clients_headers() {
        let long = "ä".repeat(100_000);
        let problem = Problem {
            file: "p".repeat(200),
            line: 12,
            column: 7,
            field: "ä".repeat(200),
            message: long.clone(),
            hint: long.clone(),
        };
        let refused =
            Refusal::InvalidTransition { what: long.clone(), verb: "resume", state: long.clone(), hint: long.clone() };
        let all = [
            problems(&vec![problem; 100]),
            invalid(&"f".repeat(200), &long),
            not_found("patch", &long, &long),
            refusal(&refused),
            verify(&long, &VerifyError::Json(long.clone())),
        ];
        for status in all {
            let bytes = header_bytes(&status);
            assert!(bytes < 14 * 1024, "{bytes} bytes: {}", &status.message()[..40]);
            assert!(status.get_error_details().error_info().is_some());
        }
    }

    #[test]
    fn problems_point_into_the_file() {
        let problem = Problem {
            file: "plan.yaml".to_owned(),
            line: 12,
            column: 7,
            field: "waves[1].gate".to_owned(),
            message: "x".to_owned(),
            hint: "do y".to_owned(),
        };
        let status = problems(&vec![problem; 30]);
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "plan.yaml:12:7 waves[1].gate");
        assert_eq!((violations[0].description.as_str(), violations.len()), ("x; do y", VIOLATIONS_MAX));
        assert!(status.message().contains("29 more"));
    }
}
