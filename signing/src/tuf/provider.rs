//! The TUF client's cryptography: our own strict Ed25519 and SHA-2, and nothing else.

use std::sync::OnceLock;

use sha2::{Digest as _, Sha256, Sha384, Sha512};
use sigstore_crypto::{CryptoProvider, Error, HashContext, SigningScheme, install_default_provider};
use sigstore_types::HashAlgorithm;

use super::TufError;
use crate::PublicKey;

#[derive(Debug)]
struct Strict;

struct Hash<H>(H);

impl<H: sha2::Digest + Send> HashContext for Hash<H> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

impl CryptoProvider for Strict {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
        Ok(match algorithm {
            HashAlgorithm::Sha2256 => Box::new(Hash(Sha256::new())),
            HashAlgorithm::Sha2384 => Box::new(Hash(Sha384::new())),
            HashAlgorithm::Sha2512 => Box::new(Hash(Sha512::new())),
            other => return Err(Error::UnsupportedAlgorithm(format!("{other:?}"))),
        })
    }

    fn verify_raw(&self, scheme: SigningScheme, key: &[u8], data: &[u8], signature: &[u8]) -> Result<(), Error> {
        if scheme != SigningScheme::Ed25519 {
            return Err(Error::UnsupportedAlgorithm(format!("{scheme:?}: only Ed25519 is accepted")));
        }
        let key = PublicKey::from_bytes(key).map_err(|e| Error::InvalidKey(e.to_string()))?;
        if key.verifies(data, signature) {
            Ok(())
        } else {
            Err(Error::Verification("the signature does not match".to_owned()))
        }
    }

    fn verify_prehashed(&self, scheme: SigningScheme, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), Error> {
        Err(Error::UnsupportedAlgorithm(format!("{scheme:?} over a hash: only Ed25519 is accepted")))
    }
}

/// Installs the provider, once for the process. Without it the client panics, so every way into it passes here.
pub(super) fn installed() -> Result<(), TufError> {
    static OURS: OnceLock<bool> = OnceLock::new();
    if *OURS.get_or_init(|| install_default_provider(&Strict).is_ok()) { Ok(()) } else { Err(TufError::Provider) }
}
