//! A person's key: the encrypted file, the passphrase that opens it, and the public half beside it.

use std::path::{Path, PathBuf};

use wardround_signing::{KeyFileError, Role, SecretKey, Signer as _, TrustedKey};
use zeroize::Zeroizing;

use crate::{
    ask,
    failure::{Exit, Failure},
    profile::read_text,
};

/// Variable that may hold the passphrase.
pub(crate) const PASSPHRASE_VARIABLE: &str = "WARDROUND_PASSPHRASE";

/// An opened key with what is known of its holder.
pub(crate) struct Person {
    pub(crate) key: SecretKey,
    /// From the public file beside the key; the controller's trust anchor has the last word.
    pub(crate) public: Option<TrustedKey>,
}

impl Person {
    /// "Ann Lee (release)".
    pub(crate) fn name(&self) -> String {
        match &self.public {
            Some(public) => format!("{} ({})", public.holder, role_words(&public.roles)),
            None => format!("the holder of key {}", self.key.public().id().short()),
        }
    }
}

pub(crate) fn role_words<'a>(roles: impl IntoIterator<Item = &'a Role>) -> String {
    roles.into_iter().map(|role| role.word()).collect::<Vec<_>>().join(", ")
}

/// `ann.key` → `ann.pub.json`.
pub(crate) fn public_path(key: &Path) -> PathBuf {
    key.with_extension("pub.json")
}

/// From a file, the environment, or the person.
pub(crate) async fn passphrase(file: Option<&Path>, key: &Path) -> Result<Zeroizing<String>, Failure> {
    if let Some(file) = file {
        let text = Zeroizing::new(read_text(file)?);
        return Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    if let Ok(text) = std::env::var(PASSPHRASE_VARIABLE) {
        return Ok(Zeroizing::new(text));
    }
    match ask::passphrase(&format!("passphrase of {}: ", key.display())).await? {
        Some(text) => Ok(Zeroizing::new(text)),
        None => Err(Failure::usage(format!("{} needs its passphrase, and nobody is at a terminal", key.display()))
            .hint(format!("pass --passphrase-file FILE or set {PASSPHRASE_VARIABLE}"))),
    }
}

/// Opens a key file.
pub(crate) async fn open(path: &Path, passphrase: &Zeroizing<String>) -> Result<Person, Failure> {
    let pem = Zeroizing::new(read_text(path)?);
    let passphrase = passphrase.clone();
    // scrypt takes a good part of a second by design.
    let opened = tokio::task::spawn_blocking(move || SecretKey::from_encrypted_pem(&pem, &passphrase)).await;
    let key = match opened {
        Ok(Ok(key)) => key,
        Ok(Err(error)) => return Err(key_failure(path, &error)),
        Err(error) => return Err(Failure::new(format!("cannot open {}: {error}", path.display()))),
    };
    let public_path = public_path(path);
    let public = if public_path.exists() {
        let public = read_public(&public_path)?;
        if public.key != key.public() {
            return Err(Failure::new(format!(
                "{} is not the public half of {}",
                public_path.display(),
                path.display()
            ))
            .hint("move it away; it is only read for the holder's name"));
        }
        Some(public)
    } else {
        None
    };
    Ok(Person { key, public })
}

/// Says which file, and what would help.
pub(crate) fn key_failure(path: &Path, error: &KeyFileError) -> Failure {
    let (exit, hint) = match error {
        KeyFileError::Passphrase => {
            (Exit::Refused, "try again; a forgotten passphrase means a new key and a new trust anchor")
        }
        KeyFileError::PassphraseTooShort => (Exit::Refused, "four or more random words make a good one"),
        KeyFileError::Form(_) | KeyFileError::NotEd25519 => (Exit::Failure, "`wardround key create` makes one"),
        KeyFileError::Randomness(_) => (Exit::Failure, ""),
    };
    Failure::with(exit, format!("{}: {error}", path.display())).hint(hint)
}

/// Reads a public key file, as `wardround key create` writes it.
pub(crate) fn read_public(path: &Path) -> Result<TrustedKey, Failure> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|e| {
        Failure::new(format!("{} is no public key file: {e}", path.display()))
            .hint("it is the .pub.json file that `wardround key create` wrote")
    })
}
