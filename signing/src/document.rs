//! Documents without signatures of their own: people sign for their bytes in the image repository ([`crate::tuf`]).

use crate::{Document, EnvelopeError};

/// The bytes of a document, for which people sign.
///
/// # Errors
/// [`EnvelopeError::Json`], [`EnvelopeError::TooLarge`].
pub fn document_bytes<D: Document>(document: &D) -> Result<Vec<u8>, EnvelopeError> {
    let bytes = serde_json::to_vec(document)?;
    if bytes.len() > D::BYTES_MAX {
        return Err(EnvelopeError::TooLarge { bytes: bytes.len(), max: D::BYTES_MAX });
    }
    Ok(bytes)
}

/// Reads a document's bytes. That they can be read says nothing of whether anybody signed for them: ask
/// [`crate::tuf::Images::agreed`].
///
/// # Errors
/// A sentence when the size or the JSON is not that of `D`.
pub fn read_document<D: Document>(bytes: &[u8]) -> Result<D, String> {
    if bytes.len() > D::BYTES_MAX {
        return Err(format!("the document has {} bytes; at most {} are accepted", bytes.len(), D::BYTES_MAX));
    }
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}
