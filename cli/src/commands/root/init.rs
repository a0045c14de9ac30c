//! `wardround root init`.

use std::path::PathBuf;

use clap::Args;
use wardround_rollout_plans::model::DurationMs;
use wardround_signing::tuf::{RoleName, Signed, TufError};

use super::{OnlineKeys, Signing, add_all, carry_out, expiry, request_of, threshold};
use crate::{
    ask,
    ceremony::{Online, People, first},
    failure::{Exit, Failure},
    session::Session,
};

/// Make the first root: who may change the keys, who releases, who countersigns, who gives orders
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround root init --root ann.pub.json ben.pub.json eve.pub.json --targets ann.pub.json ben.pub.json eve.pub.json \\
      --release ann-release.pub.json --clinical ben-clinical.pub.json --on-call cy.pub.json --controller online.pub.json

What is not named is asked for, where somebody is at the terminal. Each person then signs the request with `wardround sign`,
on a machine of their own if they like, and `wardround root assemble` checks policy and thresholds. --sign-with does all of
it here.")]
pub(super) struct Init {
    /// Public key files of those who may change all keys; two must sign
    #[arg(long, value_name = "FILE", num_args = 1..)]
    root: Vec<PathBuf>,
    /// Of those who may say who releases, countersigns and gives orders; two must sign
    #[arg(long, value_name = "FILE", num_args = 1..)]
    targets: Vec<PathBuf>,
    /// Of the release managers
    #[arg(long, value_name = "FILE", num_args = 1..)]
    release: Vec<PathBuf>,
    /// Of the clinical safety officers; none of them may be a release manager
    #[arg(long, value_name = "FILE", num_args = 1..)]
    clinical: Vec<PathBuf>,
    /// Of those who may give orders
    #[arg(long, value_name = "FILE", num_args = 1..)]
    on_call: Vec<PathBuf>,
    #[command(flatten)]
    online: OnlineKeys,
    /// How many of a role must sign; root and targets need 2 at least
    #[arg(long, value_name = "ROLE=N", value_parser = threshold)]
    threshold: Vec<(RoleName, u64)>,
    /// For how long root and targets are valid
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = DurationMs::parse)]
    expires: DurationMs,
    #[command(flatten)]
    signing: Signing,
}

impl Init {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let (people, online) = self.everyone().await?;
        let (root, targets) = first(&people, &online, expiry(self.expires)?)?;
        let refuse = |e: TufError| Failure::refused(e.to_string()).hint(e.hint());
        let root = Signed::new(root).map_err(refuse)?.to_bytes();
        let targets = Signed::new(targets).map_err(refuse)?.to_bytes();
        let request = request_of(vec![(RoleName::Root, root), (RoleName::Targets, targets)], Vec::new())?;
        carry_out(session, request, &self.signing).await
    }

    /// From the command line, and by asking for what is not there.
    async fn everyone(&self) -> Result<(People, Online), Failure> {
        let mut people = People { thresholds: self.threshold.iter().copied().collect(), ..People::default() };
        let questions = [
            (
                RoleName::Root,
                &self.root,
                "may change all keys later (two must sign; three people, so that one key may be lost)",
            ),
            (RoleName::Targets, &self.targets, "may say who releases and countersigns (two must sign)"),
            (RoleName::Release, &self.release, "release patches"),
            (RoleName::Clinical, &self.clinical, "countersign for patient safety (none of the release managers)"),
            (RoleName::OnCall, &self.on_call, "may give orders"),
        ];
        for (role, files, who) in questions {
            if !files.is_empty() {
                add_all(&mut people, role, files)?;
                continue;
            }
            let question = format!("{role}: public key files of those who {who}, separated by blanks: ");
            let Some(line) = ask::line(&question).await? else {
                let flag = role.word();
                return Err(Failure::usage(format!("nobody is named for the role {role}"))
                    .hint(format!("pass --{flag} with the public key files of those who hold it")));
            };
            let files: Vec<PathBuf> = line.split_whitespace().map(PathBuf::from).collect();
            add_all(&mut people, role, &files)?;
        }
        let mut online = self.online.read()?;
        if online.controller.is_none()
            && let Some(line) = ask::line("controller: the file online.pub.json of its data folder: ").await?
        {
            online =
                Online::read(Some(line.trim()), self.online.snapshot.as_deref(), self.online.timestamp.as_deref())?;
        }
        Ok((people, online))
    }
}
