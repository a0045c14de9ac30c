//! A request that was read and checked: what it says in plain words, and what a signature is made over.

use wardround_rollout_plans::{
    describe::{describe_order, describe_patch, describe_rollout},
    language::lint_plan,
    model::{Member, Order, Patch, Rollout},
    patch_file::lint_patch,
    resolve::check_members,
};
use wardround_signing::{Digest, Envelope, Signer};

use super::{Answer, Request, Reviewed, SignedPart, review};
use crate::{failure::Failure, signer::Person};

/// What a request or an answer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Patch(String),
    Rollout(String),
    /// What is ordered, and of which rollout.
    Order(String, String),
    Metadata(String),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Patch(id) => write!(f, "patch {id}"),
            Self::Rollout(id) => write!(f, "rollout {id}"),
            Self::Order(command, rollout) => write!(f, "order to {command} rollout {rollout}"),
            Self::Metadata(files) => f.write_str(files),
        }
    }
}

/// Everything in it was checked against everything else.
pub(crate) struct Reading {
    pub(crate) subject: Subject,
    /// Plain words.
    pub(crate) lines: Vec<String>,
    /// What people compare aloud: name and SHA-256.
    pub(crate) digests: Vec<(String, Digest)>,
    content: Content,
}

enum Content {
    Document(Envelope),
    Metadata(Box<Reviewed>),
}

impl Reading {
    /// Checks a request and puts it into words. `now` is Unix milliseconds.
    pub(crate) fn new(request: Request, now: i64) -> Result<Self, Failure> {
        match request {
            Request::Patch { document } => {
                let patch = check_patch(&document)?;
                let subject = Subject::Patch(patch.id.to_string());
                Ok(Self::of(subject, describe_patch(&patch), document))
            }
            Request::Rollout { document, patch, members } => {
                let (rollout, patch) = check_rollout(&document, &patch, &members)?;
                let subject = Subject::Rollout(rollout.id.to_string());
                Ok(Self::of(subject, describe_rollout(&rollout, &patch, &members), document))
            }
            Request::Order { document, rollout, patch, members } => {
                let order: Order = document.peek_unverified().map_err(|why| changed("order", &why))?;
                if order.digest != rollout.digest() {
                    let why = format!("it names another document of rollout {} than the one beside it", order.rollout);
                    return Err(changed("order", &why));
                }
                let (rollout, patch) = check_rollout(&rollout, &patch, &members)?;
                if rollout.id != order.rollout {
                    return Err(changed(
                        "order",
                        &format!("it is for {}, beside a document of {}", order.rollout, rollout.id),
                    ));
                }
                let subject = Subject::Order(order.command.word().replace('_', " "), order.rollout.to_string());
                Ok(Self::of(subject, describe_order(&order, &rollout, &patch, &members), document))
            }
            Request::Metadata(request) => {
                let reviewed = review(&request, now)?;
                Ok(Self {
                    subject: Subject::Metadata(reviewed.subject.clone()),
                    lines: reviewed.lines.clone(),
                    digests: reviewed.digests(),
                    content: Content::Metadata(Box::new(reviewed)),
                })
            }
        }
    }

    fn of(subject: Subject, lines: Vec<String>, mut document: Envelope) -> Self {
        document.signatures.clear();
        let digests = vec![(subject.to_string(), document.digest())];
        Self { subject, lines, digests, content: Content::Document(document) }
    }

    /// The whole text, as a person reads it before they sign.
    pub(crate) fn text(&self) -> String {
        let mut lines = self.lines.clone();
        lines.push(String::new());
        lines.push("To compare with other copies of this request, SHA-256 of what is signed:".to_owned());
        lines.extend(self.digests.iter().map(|(what, digest)| format!("  {what}: {}", digest.hex())));
        lines.join("\n")
    }

    /// Signs.
    pub(crate) fn sign(&self, person: &Person) -> Result<Answer, Failure> {
        let (signed, document) = match &self.content {
            Content::Document(document) => {
                let mut envelope = document.clone();
                envelope.sign(&person.key).map_err(|e| Failure::new(e.to_string()))?;
                let signature = envelope.signatures.first().map(|s| s.sig.clone()).unwrap_or_default();
                (vec![SignedPart::new("document", document.digest(), &signature)], Some(document.clone()))
            }
            Content::Metadata(reviewed) => (reviewed.sign(person)?, None),
        };
        let (holder, key) = (person.holder().to_owned(), person.key.public());
        Ok(Answer { subject: self.subject.to_string(), holder, key, signed, document })
    }
}

/// A request whose parts do not belong together.
pub(super) fn changed(what: &str, why: &str) -> Failure {
    Failure::refused(format!("this {what} must not be signed: {why}"))
        .hint("the request was changed, or its controller shows something else than it holds: tell its operators, and sign nothing until then")
}

fn check_patch(document: &Envelope) -> Result<Patch, Failure> {
    let patch: Patch = document.peek_unverified().map_err(|why| changed("patch", &why))?;
    match lint_patch(&patch).first() {
        None => Ok(patch),
        Some(fault) => Err(changed(&format!("patch {}", patch.id), &fault.to_string())),
    }
}

/// The rollout document, its patch and its members belong together.
pub(crate) fn check_rollout(
    document: &Envelope,
    patch: &Envelope,
    members: &[Member],
) -> Result<(Rollout, Patch), Failure> {
    let rollout: Rollout = document.peek_unverified().map_err(|why| changed("rollout", &why))?;
    let wrong = |why: String| changed(&format!("rollout {}", rollout.id), &why);
    if patch.digest() != rollout.patch_digest {
        return Err(wrong(format!("it is for another document of patch {} than the one beside it", rollout.patch)));
    }
    let patch = check_patch(patch)?;
    if patch.id != rollout.patch {
        return Err(wrong(format!(
            "it says patch {}, and the document behind that is of patch {}",
            rollout.patch, patch.id
        )));
    }
    check_members(&rollout, members).map_err(wrong)?;
    if let Some(stranger) = members.iter().find(|m| patch.variant(&m.variant).is_none()) {
        return Err(wrong(format!(
            "{} would get variant {}, which the patch does not have",
            stranger.device, stranger.variant
        )));
    }
    // The controller checks this too; it need not be in the right hands, and with --yes nobody reads a warning.
    if let Some(fault) = lint_plan(&rollout.plan).into_iter().next() {
        return Err(wrong(fault));
    }
    Ok((rollout, patch))
}
