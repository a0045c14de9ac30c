//! The one verify function.

use std::collections::BTreeSet;

use crate::{Digest, Document, Envelope, KeyId, PublicKey, Role, TrustAnchor, TrustedKey, dsse::SIGNATURES_MAX};

/// Whose signatures make a document count.
#[derive(Debug, Clone)]
pub struct Policy<'a> {
    keys: Keys<'a>,
    /// One valid signature by a holder of any of these roles is needed. How many people a document needs besides, its own
    /// rule says of those who signed.
    roles: &'a [Role],
}

#[derive(Debug, Clone)]
enum Keys<'a> {
    Anchor(&'a TrustAnchor),
    One(Box<TrustedKey>),
}

impl<'a> Policy<'a> {
    /// One person who holds any of `roles`.
    #[must_use]
    pub fn any_of(anchor: &'a TrustAnchor, roles: &'a [Role]) -> Self {
        Self { keys: Keys::Anchor(anchor), roles }
    }

    /// The controller's online key: directives.
    #[must_use]
    pub fn controller(key: PublicKey) -> Self {
        Self::machine(key, Role::Controller, &[Role::Controller])
    }

    /// A node's key: reports.
    #[must_use]
    pub fn node(key: PublicKey) -> Self {
        Self::machine(key, Role::Node, &[Role::Node])
    }

    fn machine(key: PublicKey, role: Role, roles: &'a [Role]) -> Self {
        let key = TrustedKey { key, holder: role.word().to_owned(), roles: BTreeSet::from([role]) };
        Self { keys: Keys::One(Box::new(key)), roles }
    }

    fn find(&self, id: &KeyId) -> Option<&TrustedKey> {
        match &self.keys {
            Keys::Anchor(anchor) => anchor.key(id),
            Keys::One(key) => (key.key.id() == *id).then_some(key),
        }
    }
}

/// Whose signature was found valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBy {
    /// Key.
    pub keyid: KeyId,
    /// Person (or "controller", "node").
    pub holder: String,
    /// What the key may sign.
    pub roles: BTreeSet<Role>,
}

/// A document whose signatures satisfied a policy. Made by [`verify`] alone.
#[derive(Debug, Clone)]
pub struct Verified<D> {
    document: D,
    digest: Digest,
    signers: Vec<SignedBy>,
}

impl<D> Verified<D> {
    /// The document.
    #[must_use]
    pub fn document(&self) -> &D {
        &self.document
    }

    /// The document, owned.
    #[must_use]
    pub fn into_document(self) -> D {
        self.document
    }

    /// SHA-256 of the payload bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All whose signatures were valid, each key once.
    #[must_use]
    pub fn signers(&self) -> &[SignedBy] {
        &self.signers
    }
}

/// Why a document does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A signature for another kind of document.
    #[error("the payload type is {found:?}, but {expected:?} is needed")]
    PayloadType {
        /// What is there.
        found: String,
        /// What is needed.
        expected: &'static str,
    },
    /// Too large to be looked at.
    #[error("the document has {bytes} bytes; at most {max} are accepted")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Too many signatures to be looked at.
    #[error("the document carries {0} signatures; at most {SIGNATURES_MAX} are accepted")]
    TooManySignatures(usize),
    /// A signature that names a trusted key but does not verify: the bytes or the signature were changed.
    #[error("the signature of {holder} (key {key}) does not match: the document or the signature was changed")]
    Altered {
        /// Key.
        key: KeyId,
        /// Holder.
        holder: String,
    },
    /// Nobody of the right role signed.
    #[error("a signature of the role {} is missing{hint}", .missing.iter().map(|r| r.word()).collect::<Vec<_>>().join(" or "))]
    Missing {
        /// Roles, of which any one is needed.
        missing: Vec<Role>,
        /// What was there instead, as a clause.
        hint: String,
    },
    /// Signed properly, but not readable.
    #[error("the signed document can't be read: {0}")]
    Json(String),
}

/// Verifies `envelope` under `policy` and only then reads it.
///
/// Steps (DSSE v1.0.2, section "Protocol", with the stricter rules of DESIGN "Trust"):
/// 1. the payload type must be that of `D`, sizes and counts within limits;
/// 2. each signature that names a key of the policy must verify strictly over the PAE: one that does not is an alarm, not noise;
/// 3. one of those who signed must hold one of the roles;
/// 4. the payload is parsed as JSON of `D`, unknown fields refused by its type.
///
/// # Errors
/// [`VerifyError`] says which step failed and, where a person can mend it, how.
pub fn verify<D: Document>(envelope: &Envelope, policy: &Policy<'_>) -> Result<Verified<D>, VerifyError> {
    // 1. Domain and limits.
    if envelope.payload_type != D::PAYLOAD_TYPE {
        return Err(VerifyError::PayloadType { found: envelope.payload_type.clone(), expected: D::PAYLOAD_TYPE });
    }
    if envelope.payload.len() > D::BYTES_MAX {
        return Err(VerifyError::TooLarge { bytes: envelope.payload.len(), max: D::BYTES_MAX });
    }
    if envelope.signatures.len() > SIGNATURES_MAX {
        return Err(VerifyError::TooManySignatures(envelope.signatures.len()));
    }
    // 2. Signatures. The key is looked up by the id that we compute from it, never trusted from the envelope.
    let pae = envelope.pae();
    let mut signers: Vec<SignedBy> = Vec::new();
    let mut strangers = 0;
    for signature in &envelope.signatures {
        let Some(trusted) = policy.find(&signature.keyid) else {
            strangers += 1;
            continue;
        };
        if !trusted.key.verifies(&pae, &signature.sig) {
            return Err(VerifyError::Altered { key: signature.keyid.clone(), holder: trusted.holder.clone() });
        }
        if signers.iter().all(|s| s.keyid != signature.keyid) {
            signers.push(SignedBy {
                keyid: signature.keyid.clone(),
                holder: trusted.holder.clone(),
                roles: trusted.roles.clone(),
            });
        }
    }
    // 3. Roles.
    require_role(policy.roles, &signers, strangers)?;
    // 4. Content.
    let document = serde_json::from_slice(&envelope.payload).map_err(|e| VerifyError::Json(e.to_string()))?;
    Ok(Verified { document, digest: envelope.digest(), signers })
}

fn require_role(roles: &[Role], signers: &[SignedBy], strangers: usize) -> Result<(), VerifyError> {
    if roles.iter().any(|role| signers.iter().any(|s| s.roles.contains(role))) {
        return Ok(());
    }
    let hint = match (signers.len(), strangers) {
        (0, 0) => "; it carries no signature".to_owned(),
        (_, 0) => format!("; signed by {}", names(signers)),
        (0, n) => format!("; its {n} signature(s) are by keys that the trust anchor does not know"),
        (_, n) => format!("; signed by {} and by {n} unknown key(s)", names(signers)),
    };
    Err(VerifyError::Missing { missing: roles.to_vec(), hint })
}

fn names(signers: &[SignedBy]) -> String {
    signers
        .iter()
        .map(|s| format!("{} ({})", s.holder, s.roles.iter().map(|r| r.word()).collect::<Vec<_>>().join(", ")))
        .collect::<Vec<_>>()
        .join(" and ")
}
