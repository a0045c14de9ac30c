//! Signatures made on another machine.

use crate::{PublicKey, SignError, Signer};

/// A ready-made signature, as an air-gapped machine brought it: the third form of a [`Signer`], which signs one thing only.
/// Whoever takes it ([`crate::Envelope::sign`], [`crate::tuf::Signed::sign`]) verifies that it is the signature over what is at
/// hand, so a signature over anything else is refused there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detached {
    public: PublicKey,
    signature: [u8; 64],
}

impl Detached {
    /// `signature` as it stands in the file that came back.
    ///
    /// # Errors
    /// [`SignError`] for another length than 64 bytes.
    pub fn new(public: PublicKey, signature: &[u8]) -> Result<Self, SignError> {
        let signature = signature.try_into().map_err(|_| SignError {
            key: public.id().short().to_owned(),
            why: format!("its signature has {} bytes, not 64", signature.len()),
        })?;
        Ok(Self { public, signature })
    }
}

impl Signer for Detached {
    fn public(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, _message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Envelope, SecretKey};

    #[test]
    fn a_signature_counts_for_what_was_signed_elsewhere_and_nothing_else() {
        let key = SecretKey::from_seed(&[7; 32]);
        let envelope = |text: &str| Envelope {
            payload_type: "x".into(),
            payload: text.as_bytes().to_vec(),
            signatures: Vec::new(),
        };
        let mut away = envelope("this");
        away.sign(&key).unwrap();
        let brought = Detached::new(key.public(), &away.signatures[0].sig).unwrap();
        let mut here = envelope("this");
        here.sign(&brought).unwrap();
        assert_eq!(here, away);
        let refused = envelope("that").sign(&brought).unwrap_err();
        assert!(refused.why.contains("not its signature over this document"), "{refused}");
        let other = Detached::new(SecretKey::from_seed(&[8; 32]).public(), &away.signatures[0].sig).unwrap();
        assert!(envelope("this").sign(&other).is_err());
        assert!(Detached::new(key.public(), &[0; 63]).unwrap_err().why.contains("63 bytes"));
    }
}
