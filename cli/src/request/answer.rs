//! What comes back: one person's signatures.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use wardround_signing::{Detached, Digest, Envelope, PublicKey, tuf::TufKey};

use super::{ANSWER, ANSWER_BYTES_MAX, load, save};
use crate::failure::Failure;

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    /// What was signed, for people: "patch KB4500331".
    pub(crate) subject: String,
    /// The holder's name as the signing machine knew it; for people.
    pub(crate) holder: String,
    /// Whose signatures.
    pub(crate) key: PublicKey,
    /// One for a document; for a ceremony one for each file that this key may sign.
    pub(crate) signed: Vec<SignedPart>,
    /// The document, whole, so that it can be handed in without the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) document: Option<Envelope>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignedPart {
    /// "document", or a metadata file: "root", "targets".
    pub(crate) what: String,
    /// SHA-256 of the document's bytes, or of the metadata's canonical form.
    pub(crate) digest: Digest,
    /// Base64 of 64 bytes.
    pub(crate) signature: String,
}

impl Answer {
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        load(path, ANSWER, "answer", ANSWER_BYTES_MAX, "`wardround sign FILE` writes one")
    }

    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        save(path, ANSWER, self)
    }

    /// "Ann Lee (key 012345678901)".
    pub(crate) fn signer(&self) -> String {
        // The id by which the text that was signed names it.
        let id = match &self.document {
            Some(_) => self.key.id().short().to_owned(),
            None => TufKey::new(self.key, None).id().short().to_owned(),
        };
        if self.holder.is_empty() { format!("key {id}") } else { format!("{} (key {id})", self.holder) }
    }

    /// The document with its one signature, verified to be one over these very bytes.
    pub(crate) fn envelope(&self) -> Result<Envelope, Failure> {
        let wrong = |why: String| {
            Failure::refused(format!("the answer for {} can't be used: {why}", self.subject))
                .hint("sign the request again, and bring the new file")
        };
        let mut envelope = self.document.clone().ok_or_else(|| wrong("it holds no document".into()))?;
        let [part] = self.signed.as_slice() else {
            return Err(wrong(format!("it holds {} signatures instead of one", self.signed.len())));
        };
        if part.digest != envelope.digest() {
            return Err(wrong("its document is not the one that was signed: the file was changed".into()));
        }
        envelope.signatures.clear();
        envelope.sign(&self.signer_of(part)?).map_err(|e| wrong(e.to_string()))?;
        Ok(envelope)
    }

    /// One of its signatures as something that signs.
    pub(crate) fn signer_of(&self, part: &SignedPart) -> Result<Detached, Failure> {
        let wrong = |why: String| Failure::refused(format!("the answer of {} can't be used: {why}", self.signer()));
        let bytes = BASE64.decode(&part.signature).map_err(|e| wrong(e.to_string()))?;
        Detached::new(self.key, &bytes).map_err(|e| wrong(e.to_string()))
    }
}

impl SignedPart {
    pub(crate) fn new(what: &str, digest: Digest, signature: &[u8]) -> Self {
        Self { what: what.to_owned(), digest, signature: BASE64.encode(signature) }
    }
}
