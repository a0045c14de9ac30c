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
use wardround_signing::{Role, SecretKey, Signer as _, TrustedKey};
use zeroize::Zeroizing;

use crate::{
    ask,
    failure::{Exit, Failure},
    output, profile,
    session::Session,
    signer::{self, key_failure, public_path, role_words},
};

/// Make and look at people's signing keys
#[derive(Debug, Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Create(Create),
    Show(Show),
    Check(Check),
    Use(Use),
}

/// Make a key: an encrypted file that stays with you, and a public file for the trust anchor
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround key create --holder \"Ann Lee\" --role release --out ann.key

Writes ann.key (encrypted PKCS#8, for you alone) and ann.pub.json (hand it to whoever runs `wardround init`).")]
struct Create {
    /// Your name, as it will stand in the record
    #[arg(long)]
    holder: String,
    /// What the key may sign: release, clinical or on-call; may be given several times
    #[arg(long = "role", required = true, value_name = "ROLE")]
    roles: Vec<Role>,
    /// Where the encrypted key goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Show whose a key is; takes either file and needs no passphrase
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround key show ann.pub.json")]
struct Show {
    /// The public file, or the key file beside it
    file: PathBuf,
}

/// Open a key with its passphrase, to see that both still fit
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround key check ann.key")]
struct Check {
    /// The encrypted key file
    file: PathBuf,
}

/// Name the key that your profile signs with, so that an order needs no --key
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround key use ~/keys/cy.key")]
struct Use {
    /// The encrypted key file
    file: PathBuf,
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
            KeyCommand::Show(show) => show.run(session),
            KeyCommand::Check(check) => check.run(session).await,
            KeyCommand::Use(r#use) => r#use.run(session),
        }
    }
}

impl Create {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let public_file = public_path(&self.out);
        for path in [&self.out, &public_file] {
            if path.exists() {
                return Err(Failure::refused(format!("{} exists; a key is never overwritten", path.display()))
                    .hint("choose another name with --out"));
            }
        }
        let passphrase = new_passphrase(session, &self.out).await?;
        let public = create_key(&self.holder, &self.roles, &passphrase, &self.out).await?;
        let shown = Shown::new(&public, Some(&self.out), Some(&public_file));
        output::emit(session.format(), &shown, || {
            format!(
                "key of {} ({}), id {}\n  secret, encrypted: {}\n  public:            {}",
                public.holder,
                role_words(&public.roles),
                public.key.id().short(),
                self.out.display(),
                public_file.display()
            )
        })?;
        Ok(Exit::Ok)
    }
}

impl Show {
    fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let is_public = self.file.to_string_lossy().ends_with(".pub.json");
        let path = if is_public { self.file.clone() } else { public_path(&self.file) };
        let public = signer::read_public(&path)?;
        output::emit(session.format(), &Shown::new(&public, None, None), || {
            format!(
                "holder:     {}\nroles:      {}\nkey id:     {}\npublic key: {}",
                public.holder,
                role_words(&public.roles),
                public.key.id(),
                public.key
            )
        })?;
        Ok(Exit::Ok)
    }
}

impl Check {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let passphrase = signer::passphrase(session.global.passphrase_file.as_deref(), &self.file).await?;
        let person = signer::open(&self.file, &passphrase).await?;
        let public = person.public.clone().unwrap_or_else(|| TrustedKey {
            key: person.key.public(),
            holder: String::new(),
            roles: BTreeSet::new(),
        });
        output::emit(session.format(), &Shown::new(&public, Some(&self.file), None), || {
            format!("the passphrase opens the key of {}, id {}", person.name(), public.key.id().short())
        })?;
        Ok(Exit::Ok)
    }
}

impl Use {
    fn run(&self, session: &Session) -> Result<Exit, Failure> {
        if !self.file.exists() {
            return Err(Failure::with(Exit::NotFound, format!("no key file {}", self.file.display())));
        }
        let absolute = |path: &Path| std::path::absolute(path).map_err(|e| Failure::file("find", path, &e));
        let folder = session.operator_folder()?;
        let mut file = profile::load_file(&folder)?;
        file.key = Some(absolute(&self.file)?);
        file.passphrase_file = session.global.passphrase_file.as_deref().map(absolute).transpose()?;
        profile::save_file(&folder, &file)?;
        output::emit(session.format(), &file, || format!("orders are now signed with {}", self.file.display()))?;
        Ok(Exit::Ok)
    }
}

impl<'a> Shown<'a> {
    fn new(public: &'a TrustedKey, key_file: Option<&Path>, public_file: Option<&Path>) -> Self {
        let text = |path: &Path| path.display().to_string();
        Self {
            holder: &public.holder,
            roles: public.roles.iter().map(|r| r.word()).collect(),
            key_id: public.key.id().to_string(),
            public_key: public.key.to_string(),
            key_file: key_file.map(text),
            public_file: public_file.map(text),
        }
    }
}

/// For a new key the person types it twice; a file or the environment is taken as it is.
async fn new_passphrase(session: &Session, out: &Path) -> Result<Zeroizing<String>, Failure> {
    let file = session.global.passphrase_file.as_deref();
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
    let key = SecretKey::generate().map_err(|e| key_failure(out, &e))?;
    let public = TrustedKey { key: key.public(), holder: holder.to_owned(), roles: roles.iter().copied().collect() };
    if holder.trim().is_empty() || holder.chars().any(char::is_control) {
        return Err(Failure::usage("the holder's name is empty or holds control characters"));
    }
    let passphrase = passphrase.clone();
    // scrypt takes a good part of a second by design.
    let pem = tokio::task::spawn_blocking(move || key.to_encrypted_pem(&passphrase)).await;
    let pem =
        pem.map_err(|e| Failure::new(format!("cannot encrypt the key: {e}")))?.map_err(|e| key_failure(out, &e))?;
    let mut json =
        serde_json::to_string_pretty(&public).map_err(|e| Failure::new(format!("cannot write JSON: {e}")))?;
    json.push('\n');
    // 0600: the key is for its holder alone, encrypted or not.
    write_new(out, pem.as_bytes(), 0o600)?;
    write_new(&public_path(out), json.as_bytes(), 0o644)?;
    Ok(public)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| Failure::file("write", path, &e))
}
