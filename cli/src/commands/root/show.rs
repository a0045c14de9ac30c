//! `wardround root show` and `wardround root verify`.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use wardround_signing::tuf::{Moment, RoleName};

use crate::{
    ceremony::{holdings, load, unusual},
    failure::{Exit, Failure},
    output,
    session::Session,
    when,
};

/// Say in plain words who holds which key, how many must sign, and until when
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround root show repository")]
pub(super) struct Show {
    /// The folder with N.root.json and N.targets.json
    repository: PathBuf,
}

/// Check every version's signatures from the first root on, the policy and the expiry
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround root verify repository --pin 5f1c…")]
pub(super) struct Verify {
    /// The folder with N.root.json and N.targets.json
    repository: PathBuf,
    /// SHA-256 of 1.root.json, as it stands on paper
    #[arg(long, value_name = "SHA-256")]
    pin: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    root_version: u64,
    root_expires: String,
    targets_version: u64,
    targets_expires: String,
    root_pin: String,
    unusual: Vec<String>,
    holdings: Vec<String>,
    steps: Vec<String>,
}

impl Show {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let shown = shown(&self.repository)?;
        output::emit(session.format(), &shown, || {
            let mut lines: Vec<String> = shown.unusual.iter().map(|line| format!("! {line}")).collect();
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.extend(shown.holdings.iter().cloned());
            lines.push(format!("1.root.json has SHA-256 {}", shown.root_pin));
            lines.join("\n")
        })?;
        Ok(Exit::Ok)
    }
}

impl Verify {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let shown = shown(&self.repository)?;
        let pin = self.pin.as_deref().map(|pin| pin.trim().trim_start_matches("sha256:").to_ascii_lowercase());
        if pin.as_deref().is_some_and(|pin| pin != shown.root_pin) {
            return Err(Failure::refused(format!("1.root.json is another one: its SHA-256 is {}", shown.root_pin))
                .hint(
                    "compare it with your paper, digit by digit; if that is right, this folder is not to be trusted",
                ));
        }
        let now = Moment::from_ms(when::now_ms());
        for (role, expires) in [(RoleName::Root, &shown.root_expires), (RoleName::Targets, &shown.targets_expires)] {
            if expires.parse::<Moment>().is_ok_and(|expires| expires <= now) {
                return Err(Failure::refused(format!("{role} expired at {expires}"))
                    .hint("renew it: `wardround root rotate` without any change"));
            }
        }
        output::emit(session.format(), &shown, || {
            let mut lines = shown.steps.clone();
            lines.push(match &self.pin {
                Some(_) => "1.root.json is the one on your paper".to_owned(),
                None => format!("1.root.json has SHA-256 {}: compare it with your paper", shown.root_pin),
            });
            lines.push(format!("good: valid until {} and {}", shown.root_expires, shown.targets_expires));
            lines.join("\n")
        })?;
        Ok(Exit::Ok)
    }
}

fn shown(folder: &std::path::Path) -> Result<Shown, Failure> {
    let verified = load(folder)?;
    let root = verified.standing.root();
    let targets = verified.targets()?;
    Ok(Shown {
        root_version: root.version(),
        root_expires: root.expires().to_string(),
        targets_version: targets.version(),
        targets_expires: targets.expires().to_string(),
        root_pin: verified.pin.hex(),
        unusual: unusual(root.metadata(), targets.metadata(), Moment::from_ms(when::now_ms())),
        holdings: holdings(root.metadata(), targets.metadata()),
        steps: verified.steps.clone(),
    })
}
