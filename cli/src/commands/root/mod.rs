//! `wardround root`: the ceremony in which people say whose keys count, and everything that later changes it.

mod assemble;
mod import;
mod init;
mod online;
mod publish;
mod renew;
mod rotate;
mod show;

pub(crate) use import::import;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use wardround_signing::{
    Digest,
    tuf::{Moment, RoleName},
};

use crate::{
    ask,
    ceremony::{Online, People, write},
    failure::{Exit, Failure},
    output::{self, Format},
    request::{MetadataFile, MetadataRequest, Reading, Request, Reviewed, review},
    session::Session,
    signer::{self, KeyPlace},
    when,
};

/// Say whose keys count: the first root, its changes, and what stands
#[derive(Debug, Args)]
#[command(after_help = "docs/ceremony.md says who must be in the room and what goes on paper.")]
pub(crate) struct Root {
    #[command(subcommand)]
    command: RootCommand,
}

#[derive(Debug, Subcommand)]
enum RootCommand {
    Init(init::Init),
    Rotate(rotate::Rotate),
    Assemble(assemble::Assemble),
    Import(import::Import),
    Online(online::Online),
    Publish(publish::Publish),
    Renew(renew::Renew),
    Show(show::Show),
    Verify(show::Verify),
}

impl Root {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            RootCommand::Init(init) => init.run(session).await,
            RootCommand::Rotate(rotate) => rotate.run(session).await,
            RootCommand::Assemble(assemble) => assemble.run(session),
            RootCommand::Import(import) => import.run(session).await,
            RootCommand::Online(online) => online.run(session).await,
            RootCommand::Publish(publish) => publish.run(session).await,
            RootCommand::Renew(renew) => renew.run(session).await,
            RootCommand::Show(show) => show.run(session),
            RootCommand::Verify(verify) => verify.run(session),
        }
    }
}

/// Where the request goes and who signs it here.
#[derive(Debug, Args)]
struct Signing {
    /// The request file, for people who sign on other machines
    #[arg(long, value_name = "FILE", default_value = "root.request.json")]
    request: PathBuf,
    /// Sign here with this key; may be given several times. With enough of them the result is written at once
    #[arg(long = "sign-with", value_name = "KEY")]
    sign_with: Vec<KeyPlace>,
    /// The folder for N.root.json and N.targets.json
    #[arg(long, value_name = "DIR", default_value = "repository")]
    out: PathBuf,
    /// Sign without being asked: for scripts, whose authors have read it
    #[arg(long)]
    yes: bool,
}

/// The controller's public keys: "ed25519:…", or a file that holds it.
#[derive(Debug, Args)]
struct OnlineKeys {
    /// online.pub.json of the controller's data folder; or one key for directives, and for snapshot and timestamp where no other is named
    #[arg(long, value_name = "FILE")]
    controller: Option<String>,
    /// The controller's key for snapshots
    #[arg(long, value_name = "PUBLIC-KEY")]
    snapshot: Option<String>,
    /// The controller's key for timestamps
    #[arg(long, value_name = "PUBLIC-KEY")]
    timestamp: Option<String>,
}

impl OnlineKeys {
    fn read(&self) -> Result<Online, Failure> {
        Online::read(self.controller.as_deref(), self.snapshot.as_deref(), self.timestamp.as_deref())
    }
}

#[derive(Serialize)]
struct Outcome {
    subject: String,
    /// Where the request is, while signatures are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    signed_by: Vec<String>,
    files: Vec<String>,
    /// SHA-256 of 1.root.json: what enrolment tokens pin. Only of a first ceremony.
    #[serde(skip_serializing_if = "Option::is_none")]
    root_pin: Option<String>,
}

/// Shows, asks, signs with every key that is here; then writes either the result or the request.
async fn carry_out(session: &Session, request: MetadataRequest, signing: &Signing) -> Result<Exit, Failure> {
    let now = when::now_ms();
    let reading = Reading::new(Request::Metadata(request.clone()), now)?;
    match session.format() {
        Format::Human => output::text(&reading.text())?,
        Format::Json => eprintln!("{}", output::harmless(&reading.text())),
    }
    let mut reviewed = review(&request, now)?;
    let mut signed_by = Vec::new();
    for place in &signing.sign_with {
        let person = signer::open_place(place, session.passphrase_file()).await?;
        ask::confirm(&format!("sign {} as {}", reading.subject, person.name()), signing.yes).await?;
        let answer = reading.sign(&person)?;
        reviewed.attach(&answer)?;
        signed_by.push(answer.signer());
    }
    if !signing.sign_with.is_empty() {
        let files = publish(&reviewed, &signing.out, now)?;
        return finish(session, &reading, signed_by, files);
    }
    Request::Metadata(request).save(&signing.request)?;
    let shown = Outcome {
        subject: reading.subject.to_string(),
        request: Some(signing.request.display().to_string()),
        signed_by,
        files: Vec::new(),
        root_pin: None,
    };
    output::emit(session.format(), &shown, || {
        let file = signing.request.display();
        format!(
            "\nrequest: {file}\nnext: each person runs `wardround sign {file} --key KEY` and hands back the answer; then\n      `wardround root assemble {file} ANSWER… --out {}`",
            signing.out.display()
        )
    })?;
    Ok(Exit::Ok)
}

/// Written only when it is complete: half a root is no root.
fn publish(reviewed: &Reviewed, out: &Path, now: i64) -> Result<Vec<(RoleName, String, Digest)>, Failure> {
    let files = reviewed.complete(now)?;
    let mut written = Vec::new();
    for (role, version, bytes) in files {
        written.push((role, write(out, role, version, &bytes)?, Digest::of(&bytes)));
    }
    Ok(written)
}

fn finish(
    session: &Session,
    reading: &Reading,
    signed_by: Vec<String>,
    files: Vec<(RoleName, String, Digest)>,
) -> Result<Exit, Failure> {
    let first = files.iter().find(|(role, name, _)| *role == RoleName::Root && name.ends_with("/1.root.json"));
    let shown = Outcome {
        subject: reading.subject.to_string(),
        request: None,
        signed_by,
        root_pin: first.map(|(_, _, digest)| digest.hex()),
        files: files.iter().map(|(_, name, _)| name.clone()).collect(),
    };
    output::emit(session.format(), &shown, || {
        let mut lines = vec![format!("complete: {}, signed by {}", shown.subject, shown.signed_by.join("; "))];
        lines.extend(files.iter().map(|(_, name, digest)| format!("  {name}\n    SHA-256 {}", digest.hex())));
        if shown.root_pin.is_some() {
            lines.push("Write the SHA-256 of 1.root.json on paper: sites are enrolled by it.".to_owned());
        }
        lines.join("\n")
    })?;
    Ok(Exit::Ok)
}

/// A request out of new versions.
fn request_of(files: Vec<(RoleName, Vec<u8>)>, present: Vec<(RoleName, Vec<u8>)>) -> Result<MetadataRequest, Failure> {
    let all = |files: Vec<(RoleName, Vec<u8>)>| {
        files.iter().map(|(role, bytes)| MetadataFile::new(*role, bytes)).collect::<Result<Vec<_>, _>>()
    };
    Ok(MetadataRequest { files: all(files)?, present: all(present)? })
}

/// "root=2" as role and number.
fn threshold(text: &str) -> Result<(RoleName, u64), String> {
    let (role, number) = text.split_once('=').ok_or("expected ROLE=NUMBER, such as root=2")?;
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    Ok((role_of(role)?, number))
}

/// A role whose keys people hold.
fn role_of(word: &str) -> Result<RoleName, String> {
    RoleName::from_word(word)
        .filter(|role| !role.is_online())
        .ok_or_else(|| format!("{word:?} is not a role of people: root, targets, release, clinical or on-call"))
}

/// Now and `length` later.
fn expiry(length: wardround_rollout_plans::model::DurationMs) -> Result<Moment, Failure> {
    let seconds = u32::try_from(length.0 / 1000).map_err(|_| Failure::usage("the expiry is too far away"))?;
    if seconds == 0 {
        return Err(Failure::usage("the expiry must lie in the future"));
    }
    Ok(Moment::from_ms(when::now_ms()).plus_seconds(seconds))
}

/// Adds all files of a role.
fn add_all(people: &mut People, role: RoleName, files: &[PathBuf]) -> Result<(), Failure> {
    files.iter().try_for_each(|path| people.add(role, path))
}
