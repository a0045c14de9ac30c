//! Keys, envelopes, roles, thresholds and Merkle proofs: everything that says whether a document counts.
//!
//! Patches and rollouts count by the image repository ([`tuf`]); orders, directives and reports carry signatures of their own.
//! There is exactly one function that verifies those: [`verify`]. What it returns, [`Verified`], can be made
//! in no other way, so code that takes a `Verified<T>` can't be handed an unchecked one. Checkpoints of the audit log are no
//! documents; [`log`] verifies them, with the same guarantee of [`log::SignedCheckpoint`] and [`log::Cosignature`].
//!
//! **Invariant:** no I/O, no clock, no runtime in this crate; [`tuf`] awaits only what its caller fetches. Randomness only where a key is made ([`SecretKey::generate`]).

mod detached;
mod digest;
mod document;
mod dsse;
mod key;
pub mod log;
pub mod merkle;
#[cfg(test)]
mod tests;
mod text;
mod trust;
pub mod tuf;
mod verify;

pub use detached::Detached;
pub use digest::{Digest, DigestWriter, InvalidDigest};
pub use document::{document_bytes, read_document};
pub use dsse::{Document, Envelope, EnvelopeError, SIGNATURES_MAX, Signature};
pub use key::{InvalidKey, KeyFileError, KeyId, PASSPHRASE_CHARS_MIN, PublicKey, SecretKey, SignError, Signer};
pub use text::is_hidden;
pub(crate) use trust::valid_holder;
pub use trust::{AnchorError, HOLDER_BYTES_MAX, KEYS_MAX, Role, TrustAnchor, TrustedKey, same_person};
pub use verify::{Policy, SignedBy, Verified, VerifyError, verify};
