//! Ed25519 keys (RFC 8032), in encrypted PKCS#8 files (RFC 5958, PBES2 with scrypt) as OpenSSL reads and writes them.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{SigningKey, VerifyingKey, pkcs8::KeypairBytes};
use pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef,
    SecretDocument,
    pkcs5::{self, EncryptionScheme},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Digest;

/// Shortest passphrase, in characters. NIST SP 800-63B, section 3.1.1.2, asks at least 15 where it stands alone.
pub const PASSPHRASE_CHARS_MIN: usize = 15;

/// Most memory that a key file's scrypt may ask for, bytes; OpenSSL's default and ours is 16 MiB.
const SCRYPT_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Most repetitions of it; OpenSSL's default and ours is 1.
const SCRYPT_PARALLEL_MAX: u16 = 16;
/// Most rounds of a key file's PBKDF2; OWASP advises 600,000 with SHA-256.
const PBKDF2_ITERATIONS_MAX: u32 = 10_000_000;

/// Why bytes or text are no acceptable public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Wrong form.
    #[error("not a public key: expected \"ed25519:\" and the base64 of 32 bytes")]
    Form,
    /// Wrong form in metadata.
    #[error(
        "not a key that is used here: expected keytype and scheme ed25519, and a value of 64 lower-case hex digits"
    )]
    Metadata,
    /// The bytes are no point of the curve.
    #[error("not a public key: the bytes are not a point on edwards25519")]
    Point,
    /// Another spelling of a point: one key could stand under two ids.
    #[error("not a public key: the bytes are not the canonical encoding of their point")]
    NotCanonical,
    /// A point of small order: signatures under it prove nothing.
    #[error("this public key is weak (of small order): anyone could sign for it")]
    Weak,
}

/// Id of a public key: lower-case hex SHA-256 of its 32 raw bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }

    /// An id as claimed by an envelope. It names a key; it proves nothing.
    #[must_use]
    pub fn claimed(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A public key that is on the curve and not weak. Text form: "ed25519:" and base64.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// From 32 raw bytes.
    ///
    /// # Errors
    /// [`InvalidKey`] for another length, a point off the curve, a weak key, or an encoding that RFC 8032, section 5.1.3,
    /// does not allow (dalek follows ZIP 215 there and would accept it).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        let bytes: &[u8; 32] = bytes.try_into().map_err(|_| InvalidKey::Form)?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| InvalidKey::Point)?;
        if key.is_weak() {
            return Err(InvalidKey::Weak);
        }
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(InvalidKey::NotCanonical);
        }
        Ok(Self(key))
    }

    /// The 32 raw bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Digest::of(self.0.as_bytes()).hex())
    }

    /// Strict verification (`verify_strict`): canonical encodings only, no small-order points.
    /// Crate-private on purpose: documents are verified by [`crate::verify()`] alone.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ed25519_dalek::Signature::from_slice(signature).is_ok_and(|s| self.0.verify_strict(message, &s).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", BASE64.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id().short())
    }
}

impl FromStr for PublicKey {
    type Err = InvalidKey;
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let encoded = text.strip_prefix("ed25519:").ok_or(InvalidKey::Form)?;
        Self::from_bytes(&BASE64.decode(encoded).map_err(|_| InvalidKey::Form)?)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = InvalidKey;
    fn try_from(text: String) -> Result<Self, InvalidKey> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

/// Something that signs: a key file ([`SecretKey`]), a PKCS#11 token (in the command line), or a signature that an
/// air-gapped machine made ([`crate::Detached`]).
pub trait Signer {
    /// The key that will verify.
    fn public(&self) -> PublicKey;

    /// Signs `message` as it is (RFC 8032, Ed25519 without prehash).
    ///
    /// # Errors
    /// [`SignError`] when the device or person behind it does not sign.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}

/// Why nothing was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signing key {key} did not sign: {why}")]
pub struct SignError {
    /// Which key.
    pub key: String,
    /// Why.
    pub why: String,
}

/// A secret key in memory; wiped when dropped.
pub struct SecretKey(SigningKey);

/// Why a key file could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// The file is not what it should be.
    #[error("not an encrypted PKCS#8 key file in PEM: {0}")]
    Form(String),
    /// The passphrase does not open it.
    #[error("the passphrase does not open this key file")]
    Passphrase,
    /// The passphrase for a new file is too short.
    #[error("the passphrase is too short: at least {PASSPHRASE_CHARS_MIN} characters are needed")]
    PassphraseTooShort,
    /// The key inside is of another kind.
    #[error("the key file does not hold an Ed25519 key")]
    NotEd25519,
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

impl SecretKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`KeyFileError::Randomness`].
    pub fn generate() -> Result<Self, KeyFileError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(seed.as_mut()).map_err(|e| KeyFileError::Randomness(e.to_string()))?;
        Ok(Self::from_seed(&seed))
    }

    /// From a 32-byte seed (RFC 8032, section 5.1.5). For tests and test vectors.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// As encrypted PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyFileError::PassphraseTooShort`], or [`KeyFileError::Form`] if encoding fails.
    pub fn to_encrypted_pem(&self, passphrase: &str) -> Result<Zeroizing<String>, KeyFileError> {
        if passphrase.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(KeyFileError::PassphraseTooShort);
        }
        // Version 1 (without the public key): OpenSSL 3.0 does not read version 2.
        KeypairBytes { secret_key: self.0.to_bytes(), public_key: None }
            .to_pkcs8_encrypted_pem(passphrase, LineEnding::LF)
            .map_err(|e| KeyFileError::Form(e.to_string()))
    }

    /// From encrypted PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyFileError`] tells a wrong passphrase from a wrong file.
    pub fn from_encrypted_pem(pem: &str, passphrase: &str) -> Result<Self, KeyFileError> {
        let (label, document) = SecretDocument::from_pem(pem).map_err(|e| KeyFileError::Form(e.to_string()))?;
        if label != "ENCRYPTED PRIVATE KEY" {
            return Err(KeyFileError::Form(format!("its label is {label:?}, not \"ENCRYPTED PRIVATE KEY\"")));
        }
        let info =
            EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|e| KeyFileError::Form(e.to_string()))?;
        check_cost(&info.encryption_algorithm)?;
        let plain = info.decrypt(passphrase).map_err(|e| match e {
            // One wrong passphrase in 256 leaves well-formed padding around what is no key.
            pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_) => {
                KeyFileError::Passphrase
            }
            other => KeyFileError::Form(other.to_string()),
        })?;
        let inner = PrivateKeyInfoRef::try_from(plain.as_bytes()).map_err(|_| KeyFileError::Passphrase)?;
        if inner.algorithm.oid != ed25519_dalek::pkcs8::ALGORITHM_OID {
            return Err(KeyFileError::NotEd25519);
        }
        SigningKey::try_from(inner).map(Self).map_err(|e| KeyFileError::Form(e.to_string()))
    }

    /// As unencrypted PKCS#8 PEM, for the online keys of services, which start without a person.
    ///
    /// # Errors
    /// [`KeyFileError::Form`] if encoding fails.
    pub fn to_plain_pem(&self) -> Result<Zeroizing<String>, KeyFileError> {
        KeypairBytes { secret_key: self.0.to_bytes(), public_key: None }
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|e| KeyFileError::Form(e.to_string()))
    }

    /// From unencrypted PKCS#8 PEM.
    ///
    /// # Errors
    /// [`KeyFileError::Form`].
    pub fn from_plain_pem(pem: &str) -> Result<Self, KeyFileError> {
        SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|e| KeyFileError::Form(e.to_string()))
    }
}

/// A key file says how much work its passphrase costs; it must not be able to ask for all of the memory or for days.
fn check_cost(scheme: &EncryptionScheme) -> Result<(), KeyFileError> {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return Err(KeyFileError::Form("its encryption is the outdated PBES1; re-encrypt it with PBES2".to_owned()));
    };
    let too_costly = |what: String| Err(KeyFileError::Form(format!("its key derivation asks for {what}")));
    if let Some(scrypt) = parameters.kdf.scrypt() {
        // RFC 7914, section 2: 128 * N * r bytes, p times over.
        let bytes = scrypt.cost_parameter.saturating_mul(128).saturating_mul(u64::from(scrypt.block_size));
        if bytes > SCRYPT_BYTES_MAX || scrypt.parallelization > SCRYPT_PARALLEL_MAX {
            return too_costly(format!("scrypt with {bytes} bytes, {} times", scrypt.parallelization));
        }
    }
    match parameters.kdf.pbkdf2() {
        Some(pbkdf2) if pbkdf2.iteration_count > PBKDF2_ITERATIONS_MAX => {
            too_costly(format!("{} rounds of PBKDF2", pbkdf2.iteration_count))
        }
        _ => Ok(()),
    }
}

impl Signer for SecretKey {
    fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(ed25519_dalek::Signer::sign(&self.0, message).to_bytes())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(public {})", self.public().id().short())
    }
}
