//! A request that was read and checked: what it says in plain words, and what a signature is made over.

use wardround_rollout_plans::{
    describe::{describe_order, describe_patch, describe_rollout},
    language::lint_plan,
    model::{Member, Order, Patch, Rollout, Signatory},
    patch_file::lint_patch,
    resolve::check_members,
};
use wardround_signing::{
    Digest, Envelope, Policy, PublicKey, SignedBy, Signer as _, read_document,
    tuf::{Images, patch_path, rollout_path},
    verify,
};

use super::{
    Answer, Listing, Request, Reviewed, SignedPart,
    listing::{Versions, stranger},
    review,
};
use crate::{
    failure::Failure,
    signer::{Person, role_words},
};

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
    Order(Box<OrderToSign>),
    Versions(Box<Versions>),
    Metadata(Box<Reviewed>),
}

/// An order, and those who have signed it.
struct OrderToSign {
    envelope: Envelope,
    order: Order,
    signers: Vec<SignedBy>,
    images: Images,
    root: Digest,
}

impl Reading {
    /// Checks a request and puts it into words. `now` is Unix milliseconds.
    pub(crate) fn new(request: Request, now: i64) -> Result<Self, Failure> {
        match request {
            Request::Patch { document, listing } => {
                let patch = check_patch(&document)?;
                let subject = Subject::Patch(patch.id.to_string());
                let path = patch_path(patch.id.as_str()).map_err(|e| changed("patch", &e.to_string()))?;
                let versions = Versions::check(&listing, path, document.as_bytes(), now)?;
                Ok(Self::of(subject, describe_patch(&patch), &document, versions))
            }
            Request::Rollout { document, patch: patch_text, members, listing } => {
                let (rollout, patch) = check_rollout(&document, &patch_text, &members)?;
                let subject = Subject::Rollout(rollout.id.to_string());
                let wrong = |why: String| changed(&format!("rollout {}", rollout.id), &why);
                let path = rollout_path(rollout.id.as_str(), u64::from(rollout.version));
                let path = path.map_err(|e| wrong(e.to_string()))?;
                let versions = Versions::check(&listing, path, document.as_bytes(), now)?;
                if let Some(parent) = rollout.ancestors.last() {
                    let path = rollout_path(rollout.id.as_str(), u64::from(rollout.version - 1)).ok();
                    let agreed = path.and_then(|path| versions.images.agreed(&path).ok());
                    if agreed.is_none_or(|agreed| agreed.sha256 != *parent) {
                        return Err(wrong(
                            "release and clinical have not both signed for the version before it".into(),
                        ));
                    }
                }
                let agreed = patch_path(patch.id.as_str()).ok().and_then(|path| versions.images.agreed(&path).ok());
                if agreed.is_none_or(|agreed| agreed.sha256 != rollout.patch_digest) {
                    return Err(wrong(format!("release and clinical have not both signed for its patch {}", patch.id)));
                }
                Ok(Self::of(subject, describe_rollout(&rollout, &patch, &members), &document, versions))
            }
            Request::Order { document, rollout, patch, members, listing } => {
                Self::order(document, &rollout, &patch, &members, &listing)
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

    fn order(
        envelope: Envelope,
        rollout_text: &str,
        patch: &str,
        members: &[Member],
        listing: &Listing,
    ) -> Result<Self, Failure> {
        let order: Order = envelope.peek_unverified().map_err(|why| changed("order", &why))?;
        let (images, root) = listing.images()?;
        let (rollout, patch) = check_rollout(rollout_text, patch, members)?;
        if order.digest != Digest::of(rollout_text.as_bytes()) {
            let why = format!("it names another document of rollout {} than the one beside it", order.rollout);
            return Err(changed("order", &why));
        }
        if rollout.id != order.rollout {
            let why = format!("it is for {}, beside a document of {}", order.rollout, rollout.id);
            return Err(changed("order", &why));
        }
        let mut lines = Vec::new();
        let path = rollout_path(rollout.id.as_str(), u64::from(rollout.version)).ok();
        let agreed = path.and_then(|path| images.agreed(&path).ok());
        if agreed.is_none_or(|agreed| agreed.sha256 != order.digest) {
            lines.push("! UNUSUAL: release and clinical have not both signed for this rollout.".to_owned());
        }
        let signers = match envelope.signatures.is_empty() {
            true => Vec::new(),
            false => {
                let policy = Policy::any_of(images.people(), order.command.needs().roles);
                let verified = verify::<Order>(&envelope, &policy).map_err(|why| changed("order", &why.to_string()))?;
                verified.signers().to_vec()
            }
        };
        lines.extend(describe_order(&order, &rollout, &patch, members));
        let names: Vec<String> = signers.iter().map(|s| format!("{} ({})", s.holder, role_words(&s.roles))).collect();
        if !names.is_empty() {
            lines.push(format!("It waits for a second person; signed by {}.", names.join(" and ")));
        }
        let subject = Subject::Order(order.command.word().replace('_', " "), order.rollout.to_string());
        let digests = vec![(subject.to_string(), envelope.digest())];
        let content = Content::Order(Box::new(OrderToSign { envelope, order, signers, images, root }));
        Ok(Self { subject, lines, digests, content })
    }

    fn of(subject: Subject, mut lines: Vec<String>, document: &str, versions: Versions) -> Self {
        lines.extend(versions.lines());
        let mut digests = vec![(subject.to_string(), Digest::of(document.as_bytes()))];
        digests.extend(versions.digests());
        Self { subject, lines, digests, content: Content::Versions(Box::new(versions)) }
    }

    /// SHA-256 of the first root of the image repository that everything here was verified by; none for a root ceremony.
    pub(crate) fn root(&self) -> Option<Digest> {
        match &self.content {
            Content::Order(order) => Some(order.root),
            Content::Versions(versions) => Some(versions.root),
            Content::Metadata(_) => None,
        }
    }

    /// The whole text, as a person reads it before they sign.
    pub(crate) fn text(&self) -> String {
        let mut lines = self.lines.clone();
        lines.push(String::new());
        if let Some(root) = self.root() {
            lines.push(format!(
                "It rests on the root with SHA-256 {}: compare it with the ceremony's paper.",
                root.hex()
            ));
        }
        lines.push("To compare with other copies of this request, SHA-256 of what is signed:".to_owned());
        lines.extend(self.digests.iter().map(|(what, digest)| format!("  {what}: {}", digest.hex())));
        lines.join("\n")
    }

    /// Signs.
    pub(crate) fn sign(&self, person: &Person) -> Result<Answer, Failure> {
        let (holder, key) = (person.holder().to_owned(), person.key.public());
        let bare = Answer::new(self.subject.to_string(), holder, key);
        match &self.content {
            Content::Order(order) => {
                order.may_sign(key)?;
                let mut envelope = Envelope { signatures: Vec::new(), ..order.envelope.clone() };
                envelope.sign(&person.key).map_err(|e| Failure::new(e.to_string()))?;
                let signature = envelope.signatures.pop().map(|s| s.sig).unwrap_or_default();
                let signed = vec![SignedPart::new("document", envelope.digest(), &signature)];
                Ok(Answer { signed, document: Some(envelope), ..bare })
            }
            Content::Versions(versions) => {
                let (part, file) = versions.sign(person)?;
                let (path, metadata) = (Some(versions.path.clone()), Some(file));
                Ok(Answer { signed: vec![part], path, metadata, ..bare })
            }
            Content::Metadata(reviewed) => Ok(Answer { signed: reviewed.sign(person)?, ..bare }),
        }
    }
}

impl OrderToSign {
    /// Would the signature by this key count, beside those that are there?
    fn may_sign(&self, key: PublicKey) -> Result<(), Failure> {
        let person = self.images.people().keys().iter().find(|person| person.key == key).ok_or_else(stranger)?;
        let needs = self.order.command.needs();
        if !person.roles.iter().any(|role| needs.roles.contains(role)) {
            let (who, may) = (&person.holder, role_words(needs.roles));
            let what = self.order.command.word().replace('_', " ");
            return Err(Failure::refused(format!("{who} ({}) may not order to {what}", role_words(&person.roles)))
                .hint(format!("these roles may: {may}")));
        }
        if self.signers.is_empty() {
            return Ok(());
        }
        let me = SignedBy { keyid: key.id(), holder: person.holder.clone(), roles: person.roles.clone() };
        let all: Vec<Signatory> = self.signers.iter().chain([&me]).map(Signatory::from).collect();
        needs
            .met_by(&all)
            .map_err(|lacking| Failure::refused(format!("{}'s signature does not complete it: {lacking}", me.holder)))
    }
}

/// A request whose parts do not belong together.
pub(super) fn changed(what: &str, why: &str) -> Failure {
    Failure::refused(format!("this {what} must not be signed: {why}"))
        .hint("the request was changed, or its controller shows something else than it holds: tell its operators, and sign nothing until then")
}

fn check_patch(document: &str) -> Result<Patch, Failure> {
    let patch: Patch = read_document(document.as_bytes()).map_err(|why| changed("patch", &why))?;
    match lint_patch(&patch).first() {
        None => Ok(patch),
        Some(fault) => Err(changed(&format!("patch {}", patch.id), &fault.to_string())),
    }
}

/// The rollout document, its patch and its members belong together.
pub(crate) fn check_rollout(document: &str, patch: &str, members: &[Member]) -> Result<(Rollout, Patch), Failure> {
    let rollout: Rollout = read_document(document.as_bytes()).map_err(|why| changed("rollout", &why))?;
    let wrong = |why: String| changed(&format!("rollout {}", rollout.id), &why);
    rollout.check_lineage().map_err(wrong)?;
    if Digest::of(patch.as_bytes()) != rollout.patch_digest {
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
