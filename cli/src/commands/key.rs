//! `wardround key`: people's signing keys.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::Serialize;
use wardround_signing::{Envelope, HOLDER_BYTES_MAX, Role, SecretKey, Signer as _, TrustedKey, is_hidden, tuf::TufKey};
use zeroize::Zeroizing;

use crate::{
    ask,
    failure::{Exit, Failure},
    output, profile,
    session::Session,
    signer::{self, KeyPlace, TokenUri, key_failure, public_path, role_words},
};

/// Make and look at people's signing keys
#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Create(Box<Create>),
    Show(Show),
    Check(Check),
    Use(Use),
}

/// Make a key: an encrypted file that stays with you, and a public file for the root ceremony
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround key create --holder \"Ann Lee\" --role release --out ann.key

  wardround key create --holder \"Ann Lee\" --role release --pkcs11 \"pkcs11:token=ward;object=ann\" --out ann.pub.json

The first writes ann.key (encrypted PKCS#8, for you alone) and ann.pub.json (hand it to whoever runs `wardround init` or
`wardround root init`). The second makes the key on a token, which it can't leave, and writes the public file only.")]
struct Create {
    /// Your name, as it will stand in the record
    #[arg(long)]
    holder: String,
    /// What the key may sign: release, clinical or on-call; may be given several times; none for a key that only signs root ceremonies
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<Role>,
    /// Make it on this token, under the label that object= names
    #[arg(long, value_name = "URI")]
    pkcs11: Option<TokenUri>,
    /// Where the encrypted key goes; for a token, where the public file goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Show whose a key is; takes either file or a token's URI, and needs no passphrase
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wardround key show ann.pub.json\n  wardround key show \"pkcs11:token=ward;object=ann\""
)]
struct Show {
    /// The public file, the key file beside it, or a key on a token
    #[arg(value_name = "KEY")]
    key: KeyPlace,
}

/// Open a key with its passphrase or PIN and let it sign something worthless, to see that both still fit
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround key check ann.key")]
struct Check {
    /// The encrypted key file, or a key on a token
    #[arg(value_name = "KEY")]
    key: KeyPlace,
}

/// Name the key that your profile signs with, so that an order needs no --key
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround key use ~/keys/cy.key")]
struct Use {
    /// The encrypted key file, or a key on a token
    #[arg(value_name = "KEY")]
    key: KeyPlace,
}

#[derive(Serialize)]
struct Shown<'a> {
    holder: &'a str,
    roles: Vec<&'static str>,
    key_id: String,
    public_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_file: Option<String>,
}

impl Key {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            KeyCommand::Create(create) => create.run(session).await,
            KeyCommand::Show(show) => show.run(session).await,
            KeyCommand::Check(check) => check.run(session).await,
            KeyCommand::Use(r#use) => r#use.run(session),
        }
    }
}

impl Create {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.pkcs11 {
            None => self.in_file(session).await,
            Some(uri) => self.on_token(session, uri).await,
        }
    }

    async fn in_file(&self, session: &Session) -> Result<Exit, Failure> {
        let public_file = public_path(&self.out);
        must_be_new(&[&self.out, &public_file])?;
        let passphrase = new_passphrase(session, &self.out).await?;
        let public = create_key(&self.holder, &self.roles, &passphrase, &self.out).await?;
        let shown = Shown::new(&public, Some(self.out.display().to_string()), Some(&public_file));
        output::emit(session.format(), &shown, || {
            format!(
                "key of {}, id {}; in the root its id is {}\n  secret, encrypted: {}\n  public:            {}",
                shown.whose(),
                public.key.id().short(),
                TufKey::new(public.key, None).id().short(),
                self.out.display(),
                public_file.display()
            )
        })?;
        Ok(Exit::Ok)
    }

    async fn on_token(&self, session: &Session, uri: &TokenUri) -> Result<Exit, Failure> {
        let named = self.out.to_string_lossy().ends_with(".pub.json");
        let public_file = if named { self.out.clone() } else { public_path(&self.out) };
        must_be_new(&[&public_file])?;
        check_holder(&self.holder)?;
        let key = signer::create_on_token(uri, session.passphrase_file()).await?;
        let public = TrustedKey { key, holder: self.holder.clone(), roles: self.roles.iter().copied().collect() };
        write_public(&public, &public_file)?;
        let shown = Shown::new(&public, Some(uri.to_string()), Some(&public_file));
        output::emit(session.format(), &shown, || {
            format!(
                "key of {}, id {}; in the root its id is {}\n  secret, on the token: {uri}\n  public:               {}",
                shown.whose(),
                public.key.id().short(),
                TufKey::new(public.key, None).id().short(),
                public_file.display()
            )
        })?;
        Ok(Exit::Ok)
    }
}

impl Show {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let file = match &self.key {
            KeyPlace::File(file) => file,
            KeyPlace::Token(uri) => {
                let key = signer::public_on_token(uri).await?;
                let public = TrustedKey { key, holder: String::new(), roles: BTreeSet::new() };
                let shown = Shown::new(&public, Some(uri.to_string()), None);
                output::emit(session.format(), &shown, || {
                    format!(
                        "on token:   {}\nkey id:     {}\nid in root: {}\npublic key: {key}",
                        uri.words(),
                        key.id(),
                        TufKey::new(key, None).id().short()
                    )
                })?;
                return Ok(Exit::Ok);
            }
        };
        let is_public = file.to_string_lossy().ends_with(".pub.json");
        let path = if is_public { file.clone() } else { public_path(file) };
        let public = signer::read_public(&path)?;
        output::emit(session.format(), &Shown::new(&public, None, None), || {
            format!(
                "holder:     {}\nroles:      {}\nkey id:     {}\nid in root: {}\npublic key: {}",
                public.holder,
                role_words(&public.roles),
                public.key.id(),
                TufKey::new(public.key, None).id().short(),
                public.key
            )
        })?;
        Ok(Exit::Ok)
    }
}

impl Check {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let person = signer::open_place(&self.key, session.passphrase_file()).await?;
        let public = person.public.clone().unwrap_or_else(|| TrustedKey {
            key: person.key.public(),
            holder: String::new(),
            roles: BTreeSet::new(),
        });
        // A type that no document has: the signature says nothing, and is verified before it is taken.
        let payload_type = "application/vnd.wardround.key-check".to_owned();
        let mut nothing = Envelope { payload_type, payload: Vec::new(), signatures: Vec::new() };
        nothing.sign(&person.key).map_err(|e| Failure::new(e.to_string()))?;
        output::emit(session.format(), &Shown::new(&public, Some(self.key.to_string()), None), || match &self.key {
            KeyPlace::File(_) => {
                format!("the passphrase opens the key of {}, id {}", person.name(), public.key.id().short())
            }
            KeyPlace::Token(uri) => format!("{} signs, id {}", uri.words(), public.key.id().short()),
        })?;
        Ok(Exit::Ok)
    }
}

impl Use {
    fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let absolute = |path: &Path| std::path::absolute(path).map_err(|e| Failure::file("find", path, &e));
        let place = match &self.key {
            KeyPlace::File(path) if !path.exists() => {
                return Err(Failure::with(Exit::NotFound, format!("no key file {}", path.display())));
            }
            KeyPlace::File(path) => KeyPlace::File(absolute(path)?),
            token @ KeyPlace::Token(_) => token.clone(),
        };
        let folder = session.operator_folder()?;
        let mut file = profile::load_file(&folder)?;
        file.key = Some(place);
        file.passphrase_file = session.passphrase_file().map(absolute).transpose()?;
        profile::save_file(&folder, &file)?;
        output::emit(session.format(), &file, || format!("orders are now signed with {}", self.key))?;
        Ok(Exit::Ok)
    }
}

impl<'a> Shown<'a> {
    fn new(public: &'a TrustedKey, key_file: Option<String>, public_file: Option<&Path>) -> Self {
        Self {
            holder: &public.holder,
            roles: public.roles.iter().map(|r| r.word()).collect(),
            key_id: public.key.id().to_string(),
            public_key: public.key.to_string(),
            key_file,
            public_file: public_file.map(|path| path.display().to_string()),
        }
    }

    /// "Ann Lee (release)".
    fn whose(&self) -> String {
        if self.roles.is_empty() {
            self.holder.to_owned()
        } else {
            format!("{} ({})", self.holder, self.roles.join(", "))
        }
    }
}

fn must_be_new(paths: &[&PathBuf]) -> Result<(), Failure> {
    match paths.iter().find(|path| path.exists()) {
        None => Ok(()),
        Some(path) => Err(Failure::refused(format!("{} exists; a key is never overwritten", path.display()))
            .hint("choose another name with --out")),
    }
}

fn check_holder(holder: &str) -> Result<(), Failure> {
    if holder.trim().is_empty() || holder.len() > HOLDER_BYTES_MAX || holder.chars().any(is_hidden) {
        return Err(Failure::usage("the holder's name is empty, too long, or holds control or invisible characters"));
    }
    Ok(())
}

/// For a new key the person types it twice; a file or the environment is taken as it is.
async fn new_passphrase(session: &Session, out: &Path) -> Result<Zeroizing<String>, Failure> {
    let file = session.passphrase_file();
    let first = signer::passphrase(file, out).await?;
    if file.is_none() && std::env::var_os(signer::PASSPHRASE_VARIABLE).is_none() {
        let again = ask::passphrase("the same again: ").await?.map(Zeroizing::new);
        if again.as_ref() != Some(&first) {
            return Err(Failure::with(Exit::Declined, "the two passphrases differ; no key was made"));
        }
    }
    Ok(first)
}

/// Makes a key and writes both files; neither may exist.
pub(crate) async fn create_key(
    holder: &str,
    roles: &[Role],
    passphrase: &Zeroizing<String>,
    out: &Path,
) -> Result<TrustedKey, Failure> {
    check_holder(holder)?;
    let key = SecretKey::generate().map_err(|e| key_failure(out, &e))?;
    let public = TrustedKey { key: key.public(), holder: holder.to_owned(), roles: roles.iter().copied().collect() };
    let passphrase = passphrase.clone();
    // scrypt takes a good part of a second by design.
    let pem = tokio::task::spawn_blocking(move || key.to_encrypted_pem(&passphrase)).await;
    let pem =
        pem.map_err(|e| Failure::new(format!("cannot encrypt the key: {e}")))?.map_err(|e| key_failure(out, &e))?;
    // 0600: the key is for its holder alone, encrypted or not.
    write_new(out, pem.as_bytes(), 0o600)?;
    write_public(&public, &public_path(out))?;
    Ok(public)
}

fn write_public(public: &TrustedKey, path: &Path) -> Result<(), Failure> {
    let mut json = serde_json::to_string_pretty(public).map_err(|e| Failure::new(format!("cannot write JSON: {e}")))?;
    json.push('\n');
    write_new(path, json.as_bytes(), 0o644)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Failure::file("write", path, &e))
}
