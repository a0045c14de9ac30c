//! `wardround sign`: what is signed on a machine without a network, and how it goes there and back.

mod document;
mod export;
mod import;

pub(crate) use document::ToSign;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use wardround_signing::Digest;

use crate::{
    ask,
    failure::{Exit, Failure},
    output::{self, Format},
    pin,
    request::{Answer, Reading, Request},
    session::Session,
    signer::{self, Person},
    when,
};

/// Sign on a machine without a network: export a request, read and sign it there, import the answer
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Example:
  wardround sign export rollout winter-1 --out winter-1.request.json     at the controller
  wardround sign winter-1.request.json --key ann.key                     on the machine without a network
  wardround sign import winter-1.answer.json                             at the controller again")]
pub(crate) struct Sign {
    #[command(subcommand)]
    command: Option<SignCommand>,
    #[command(flatten)]
    here: Here,
}

/// Reads, asks, signs.
#[derive(Debug, Args)]
struct Here {
    /// The request file
    #[arg(value_name = "REQUEST")]
    request: Option<PathBuf>,
    /// Where the answer goes; beside the request if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Sign without being asked: for scripts, whose authors have read it
    #[arg(long)]
    yes: bool,
    /// List every device, not only the first of each wave
    #[arg(long)]
    devices: bool,
    #[command(flatten)]
    trust: Trust,
}

/// What everything rests on.
#[derive(Debug, Args)]
struct Trust {
    /// SHA-256 of 1.root.json, from the ceremony's paper; else what this machine has held on to since the first use
    #[arg(long, value_name = "SHA-256", value_parser = crate::pin::parse)]
    root: Option<Digest>,
}

impl Trust {
    /// Refuses a request that rests on another root than the known one.
    fn check(&self, session: &Session, reading: &Reading) -> Result<(), Failure> {
        let Some(root) = reading.root() else { return Ok(()) };
        match (self.root, session.operator_folder()) {
            (Some(known), _) if known == root => Ok(()),
            (Some(_), _) => Err(Failure::refused(format!(
                "this request must not be signed: it rests on the root with SHA-256 {}",
                root.hex()
            ))
            .hint("that is not the root that --root names: compare with the ceremony's paper, and tell who sent it")),
            (None, Ok(profile)) => pin::compare(&profile, &root).map(drop),
            (None, Err(_)) => Ok(()),
        }
    }
}

#[derive(Debug, Subcommand)]
enum SignCommand {
    Export(export::Export),
    Show(Show),
    Import(import::Import),
}

/// Read in plain words what a request asks to be signed, with everything checked that can be checked
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround sign show winter-1.request.json")]
struct Show {
    /// The request file
    request: PathBuf,
    /// List every device, not only the first of each wave
    #[arg(long)]
    devices: bool,
    #[command(flatten)]
    trust: Trust,
}

#[derive(Serialize)]
struct Read<'a> {
    subject: String,
    root: Option<String>,
    digests: Vec<Named>,
    text: &'a [String],
}

#[derive(Serialize)]
struct Named {
    what: String,
    sha256: String,
}

#[derive(Serialize)]
struct Signed {
    subject: String,
    signer: String,
    key_id: String,
    answer: String,
}

impl Sign {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            Some(SignCommand::Export(export)) => export.run(session).await,
            Some(SignCommand::Show(show)) => show.run(session),
            Some(SignCommand::Import(import)) => import.run(session).await,
            None => self.here.run(session).await,
        }
    }
}

impl Show {
    fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let reading = read(&self.request, self.devices)?;
        self.trust.check(session, &reading)?;
        let shown = Read {
            subject: reading.subject.to_string(),
            root: reading.root().map(|root| root.hex()),
            digests: reading
                .digests
                .iter()
                .map(|(what, digest)| Named { what: what.clone(), sha256: digest.hex() })
                .collect(),
            text: &reading.lines,
        };
        output::emit(session.format(), &shown, || reading.text())?;
        Ok(Exit::Ok)
    }
}

impl Here {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let request = self.request.as_ref().ok_or_else(|| {
            Failure::usage("which request? name the file").hint("`wardround sign --help` shows the three steps")
        })?;
        let out = self.out.clone().unwrap_or_else(|| answer_path(request));
        let reading = read(request, self.devices)?;
        self.trust.check(session, &reading)?;
        // JSON has standard output to itself; a person still reads what is signed.
        match session.format() {
            Format::Human => output::text(&reading.text())?,
            Format::Json => eprintln!("{}", output::harmless(&reading.text())),
        }
        // A machine without a network has no profile, so the key is named here.
        let place = session.global.key.first().ok_or_else(|| {
            Failure::usage("this needs your signing key, and none is named").hint("pass --key KEY or set WARDROUND_KEY")
        })?;
        let person = signer::open_place(place, session.passphrase_file()).await?;
        let answer = sign(&reading, &person, self.yes).await?;
        answer.save(&out)?;
        if let (Some(root), Ok(profile)) = (reading.root(), session.operator_folder()) {
            pin::hold(&profile, &root)?;
        }
        let shown = Signed {
            subject: answer.subject.clone(),
            signer: answer.holder.clone(),
            key_id: answer.key.id().to_string(),
            answer: out.display().to_string(),
        };
        output::emit(session.format(), &shown, || {
            format!("signed: {} by {}\nanswer: {}", answer.subject, answer.signer(), shown.answer)
        })?;
        Ok(Exit::Ok)
    }
}

/// Asks, and signs.
pub(super) async fn sign(reading: &Reading, person: &Person, yes: bool) -> Result<Answer, Failure> {
    ask::confirm(&format!("sign {} as {}", reading.subject, person.name()), yes).await?;
    reading.sign(person)
}

fn read(path: &Path, devices: bool) -> Result<Reading, Failure> {
    let request = Request::load(path)?;
    let list = devices.then(|| request.devices());
    let mut reading = Reading::new(request, when::now_ms())?;
    // After the check: only devices that stand under the document's own Merkle roots are listed.
    reading.lines.extend(list.into_iter().flatten());
    Ok(reading)
}

/// `winter-1.request.json` → `winter-1.answer.json`.
fn answer_path(request: &Path) -> PathBuf {
    let name = request.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".request.json").or_else(|| name.strip_suffix(".json")).unwrap_or(&name);
    request.with_file_name(format!("{stem}.answer.json"))
}
