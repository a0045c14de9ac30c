//! What comes back: one person's signatures.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use wardround_signing::{
    Detached, Digest, Envelope, PublicKey,
    tuf::{Signed, Targets, TufKey},
};

use super::{ANSWER, ANSWER_BYTES_MAX, MetadataFile, load, save};
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
    /// The order, whole, so that it can be handed in without the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) document: Option<Envelope>,
    /// For a patch or a rollout: its place in the image repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// And the version that was signed, whole, without this signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<MetadataFile>,
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
    pub(super) fn new(subject: String, holder: String, key: PublicKey) -> Self {
        Self { subject, holder, key, signed: Vec::new(), document: None, path: None, metadata: None }
    }

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

    fn wrong(&self, why: &str) -> Failure {
        Failure::refused(format!("the answer for {} can't be used: {why}", self.subject))
            .hint("sign the request again, and bring the new file")
    }

    /// Its one signature, which must be over content with this digest.
    fn only(&self, digest: Digest) -> Result<Detached, Failure> {
        let [part] = self.signed.as_slice() else {
            return Err(self.wrong(&format!("it holds {} signatures instead of one", self.signed.len())));
        };
        if part.digest != digest {
            return Err(self.wrong("what it holds is not what was signed: the file was changed"));
        }
        self.signer_of(part)
    }

    /// The version that was signed, with its signature, verified to be one over this very content.
    pub(crate) fn version(&self, file: &MetadataFile) -> Result<Vec<u8>, Failure> {
        let bytes = serde_json::to_vec(&file.file).map_err(|e| self.wrong(&e.to_string()))?;
        let mut signed: Signed<Targets> = Signed::parse(file.role, &bytes).map_err(|e| self.wrong(&e.to_string()))?;
        let signer = self.only(signed.digest())?;
        signed.sign(&signer).map_err(|e| self.wrong(&e.to_string()))?;
        Ok(signed.to_bytes())
    }

    /// The order with its one signature, verified to be one over these very bytes.
    pub(crate) fn envelope(&self) -> Result<Envelope, Failure> {
        let mut envelope = self.document.clone().ok_or_else(|| self.wrong("it holds no order"))?;
        let signer = self.only(envelope.digest())?;
        envelope.signatures.clear();
        envelope.sign(&signer).map_err(|e| self.wrong(&e.to_string()))?;
        Ok(envelope)
    }

    /// One of its signatures as something that signs.
    pub(crate) fn signer_of(&self, part: &SignedPart) -> Result<Detached, Failure> {
        let bytes = BASE64.decode(&part.signature).map_err(|e| self.wrong(&e.to_string()))?;
        Detached::new(self.key, &bytes).map_err(|e| self.wrong(&e.to_string()))
    }
}

impl SignedPart {
    pub(crate) fn new(what: &str, digest: Digest, signature: &[u8]) -> Self {
        Self { what: what.to_owned(), digest, signature: BASE64.encode(signature) }
    }
}
