//! DSSE envelopes (github.com/secure-systems-lab/dsse, protocol v1.0.2): the payload type is under the signature, so a
//! signature made for one kind of document never counts for another.

use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Digest, KeyId, SignError, Signer};

/// Most signatures that an envelope may carry; verifying costs the verifier, not the sender.
pub const SIGNATURES_MAX: usize = 16;

/// A kind of document that gets signed.
pub trait Document: Serialize + DeserializeOwned {
    /// Media type: the domain that separates its signatures from all others.
    const PAYLOAD_TYPE: &'static str;
    /// Largest payload that is parsed, bytes.
    const BYTES_MAX: usize;
}

/// A document's bytes with signatures over them. Holding one proves nothing; see [`crate::verify()`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// Media type.
    pub payload_type: String,
    /// The signed bytes, exactly.
    #[serde(with = "base64_bytes")]
    pub payload: Vec<u8>,
    /// Signatures.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Claimed key.
    pub keyid: KeyId,
    /// 64 bytes.
    #[serde(with = "base64_bytes")]
    pub sig: Vec<u8>,
}

/// Why no envelope could be made.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The document can't be written as JSON.
    #[error("the document can't be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The document is too large to be accepted by anyone.
    #[error("the document has {bytes} bytes; at most {max} are accepted")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// [`Document::BYTES_MAX`].
        max: usize,
    },
    /// The signer did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Envelope {
    /// An envelope without signatures.
    ///
    /// # Errors
    /// [`EnvelopeError::Json`], [`EnvelopeError::TooLarge`].
    pub fn unsigned<D: Document>(document: &D) -> Result<Self, EnvelopeError> {
        let payload = serde_json::to_vec(document)?;
        if payload.len() > D::BYTES_MAX {
            return Err(EnvelopeError::TooLarge { bytes: payload.len(), max: D::BYTES_MAX });
        }
        Ok(Self { payload_type: D::PAYLOAD_TYPE.to_owned(), payload, signatures: Vec::new() })
    }

    /// A signed envelope.
    ///
    /// # Errors
    /// As [`Envelope::unsigned`], or when the signer does not sign.
    pub fn seal<D: Document>(document: &D, signer: &dyn Signer) -> Result<Self, EnvelopeError> {
        let mut envelope = Self::unsigned(document)?;
        envelope.sign(signer)?;
        Ok(envelope)
    }

    /// Adds a signature, replacing one of the same key.
    ///
    /// # Errors
    /// [`SignError`] when the signer does not sign, or signs with another key than the one it names.
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<(), SignError> {
        let (public, pae) = (signer.public(), self.pae());
        let sig = signer.sign(&pae)?.to_vec();
        // A faulty device must be noticed here, not by every node; a wrong signature can also give the key away.
        if !public.verifies(&pae, &sig) {
            return Err(SignError {
                key: public.id().short().to_owned(),
                why: "what it returned is not its signature over this document".to_owned(),
            });
        }
        self.add(Signature { keyid: public.id(), sig });
        Ok(())
    }

    /// Adds a ready-made signature, replacing one of the same key.
    pub fn add(&mut self, signature: Signature) {
        self.signatures.retain(|s| s.keyid != signature.keyid);
        self.signatures.push(signature);
    }

    /// SHA-256 of the payload bytes: the document's identity, whatever signatures it carries.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.payload)
    }

    /// Reads the document **without verifying it**: for showing a draft to those who are about to sign it.
    ///
    /// # Errors
    /// A sentence when the type, the size or the JSON is not that of `D`.
    pub fn peek_unverified<D: Document>(&self) -> Result<D, String> {
        if self.payload_type != D::PAYLOAD_TYPE {
            return Err(format!("the payload type is {:?}, not {:?}", self.payload_type, D::PAYLOAD_TYPE));
        }
        if self.payload.len() > D::BYTES_MAX {
            return Err(format!(
                "the document has {} bytes; at most {} are accepted",
                self.payload.len(),
                D::BYTES_MAX
            ));
        }
        serde_json::from_slice(&self.payload).map_err(|e| e.to_string())
    }

    /// The bytes under the signature: PAE of DSSE v1.0.2.
    pub(crate) fn pae(&self) -> Vec<u8> {
        let mut bytes =
            format!("DSSEv1 {} {} {} ", self.payload_type.len(), self.payload_type, self.payload.len()).into_bytes();
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

mod base64_bytes {
    use super::{BASE64, Deserialize as _};
    use base64::Engine as _;

    pub(super) fn serialize<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64.decode(text).map_err(serde::de::Error::custom)
    }
}
