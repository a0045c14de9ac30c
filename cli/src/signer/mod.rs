//! A person's key: an encrypted file with the passphrase that opens it, or a token with its PIN; and the public half.

mod place;
#[cfg_attr(not(feature = "pkcs11"), path = "without_token.rs")]
mod token;
mod uri;

use std::path::{Path, PathBuf};

use wardround_signing::{KeyFileError, PublicKey, Role, SecretKey, SignError, Signer, TrustedKey};
use zeroize::Zeroizing;

pub(crate) use self::{place::KeyPlace, uri::TokenUri};
use crate::{
    ask,
    failure::{Exit, Failure},
    profile::read_text,
};

/// Variable that may hold the passphrase.
pub(crate) const PASSPHRASE_VARIABLE: &str = "WARDROUND_PASSPHRASE";
/// Variable that may hold a token's PIN. Not the one above: a passphrase that is tried as a PIN costs a try.
pub(crate) const PIN_VARIABLE: &str = "WARDROUND_PIN";

/// An opened key, wherever it is.
pub(crate) struct SigningKey(Box<dyn Signer + Send + Sync>);

impl Signer for SigningKey {
    fn public(&self) -> PublicKey {
        self.0.public()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        self.0.sign(message)
    }
}

/// An opened key with what is known of its holder.
pub(crate) struct Person {
    pub(crate) key: SigningKey,
    /// From the public file beside the key; the image repository has the last word.
    pub(crate) public: Option<TrustedKey>,
    /// What to call the key where no holder is known.
    called: String,
}

impl Person {
    /// "Ann Lee (release)".
    pub(crate) fn name(&self) -> String {
        match &self.public {
            Some(public) if public.roles.is_empty() => public.holder.clone(),
            Some(public) => format!("{} ({})", public.holder, role_words(&public.roles)),
            None => format!("the holder of {}", self.called),
        }
    }

    /// The holder's name, where it is known.
    pub(crate) fn holder(&self) -> &str {
        self.public.as_ref().map_or("", |public| &public.holder)
    }
}

pub(crate) fn role_words<'a>(roles: impl IntoIterator<Item = &'a Role>) -> String {
    roles.into_iter().map(|role| role.word()).collect::<Vec<_>>().join(", ")
}

/// `ann.key` → `ann.pub.json`.
pub(crate) fn public_path(key: &Path) -> PathBuf {
    key.with_extension("pub.json")
}

/// A token's PIN, and whether a person typed it just now.
#[cfg_attr(not(feature = "pkcs11"), expect(dead_code, reason = "only tokens read it"))]
pub(crate) struct Pin {
    pub(crate) text: Zeroizing<String>,
    pub(crate) typed: bool,
}

/// Opens the key at `place`, asking for what it needs.
pub(crate) async fn open_place(place: &KeyPlace, secret_file: Option<&Path>) -> Result<Person, Failure> {
    match place {
        KeyPlace::File(path) => {
            let passphrase = passphrase(secret_file, path).await?;
            open(path, &passphrase).await
        }
        KeyPlace::Token(uri) => {
            let pin = pin(uri, secret_file).await?;
            let called = uri.words();
            let key = with_token(uri, move |uri| token::open(uri, pin.as_ref())).await?;
            Ok(Person { key: SigningKey(Box::new(key)), public: None, called })
        }
    }
}

/// Makes a key on a token; gives its public half.
pub(crate) async fn create_on_token(uri: &TokenUri, secret_file: Option<&Path>) -> Result<PublicKey, Failure> {
    let pin = pin(uri, secret_file).await?;
    with_token(uri, move |uri| token::create(uri, pin.as_ref())).await
}

/// The public half of a key on a token, for which no PIN is needed.
pub(crate) async fn public_on_token(uri: &TokenUri) -> Result<PublicKey, Failure> {
    with_token(uri, token::public).await
}

/// Tokens take their time, and a PIN pad waits for a person.
async fn with_token<T: Send + 'static>(
    uri: &TokenUri,
    ask: impl FnOnce(&TokenUri) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let owned = uri.clone();
    match tokio::task::spawn_blocking(move || ask(&owned)).await {
        Ok(answer) => answer,
        Err(error) => Err(Failure::new(format!("cannot use {}: {error}", uri.token_words()))),
    }
}

/// From the file that is named, the URI's, the environment, or the person. Nothing where the token asks by itself.
async fn pin(uri: &TokenUri, file: Option<&Path>) -> Result<Option<Pin>, Failure> {
    if !with_token(uri, token::needs_pin).await? {
        return Ok(None);
    }
    if let Some(file) = file.or(uri.pin_file.as_deref()) {
        let text = Zeroizing::new(read_text(file)?);
        let text = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
        return Ok(Some(Pin { text, typed: false }));
    }
    if let Ok(text) = std::env::var(PIN_VARIABLE) {
        return Ok(Some(Pin { text: Zeroizing::new(text), typed: false }));
    }
    match ask::passphrase(&format!("PIN of {}: ", uri.token_words())).await? {
        Some(text) => Ok(Some(Pin { text: Zeroizing::new(text), typed: true })),
        None => Err(Failure::usage(format!("{} needs its PIN, and nobody is at a terminal", uri.token_words()))
            .hint(format!("pass --passphrase-file FILE with the PIN, or set {PIN_VARIABLE}"))),
    }
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
    let called = format!("key {}", key.public().id().short());
    Ok(Person { key: SigningKey(Box::new(key)), public, called })
}

/// Says which file, and what would help.
pub(crate) fn key_failure(path: &Path, error: &KeyFileError) -> Failure {
    let (exit, hint) = match error {
        KeyFileError::Passphrase => {
            (Exit::Refused, "try again; a forgotten passphrase means a new key, and new targets that name it")
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
