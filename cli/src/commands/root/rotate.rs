//! `wardround root rotate`.

use std::path::PathBuf;

use clap::Args;
use wardround_rollout_plans::model::DurationMs;
use wardround_signing::tuf::{RoleName, Signed, TufError};

use super::{OnlineKeys, Signing, carry_out, expiry, request_of, role_of, threshold};
use crate::{
    ceremony::{Change, change, load},
    failure::{Exit, Failure},
    session::Session,
    signer::read_public,
};

/// Change keys, thresholds or expiry: the next version of root and targets, signed by enough of those before and after
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround root rotate repository --replace \"Ann Lee=ann-2.pub.json\"        her key was lost, in every role
  wardround root rotate repository --add clinical=dee.pub.json --remove \"clinical=Ben Ode\"
  wardround root rotate repository --controller online.pub.json             the controller was set up anew
  wardround root rotate repository                                          nothing but a new expiry")]
pub(super) struct Rotate {
    /// The folder with the root and targets that stand
    repository: PathBuf,
    /// Add a key to a role
    #[arg(long, value_name = "ROLE=FILE", value_parser = role_and_text)]
    add: Vec<(RoleName, String)>,
    /// Take a person's key out of a role; a person or a key id
    #[arg(long, value_name = "ROLE=WHO", value_parser = role_and_text)]
    remove: Vec<(RoleName, String)>,
    /// Put a new key in place of a person's old one, in every role that it stands in
    #[arg(long, value_name = "WHO=FILE", value_parser = who_and_file)]
    replace: Vec<(String, PathBuf)>,
    #[command(flatten)]
    online: OnlineKeys,
    /// How many of a role must sign from then on
    #[arg(long, value_name = "ROLE=N", value_parser = threshold)]
    threshold: Vec<(RoleName, u64)>,
    /// For how long the new versions are valid
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = DurationMs::parse)]
    expires: DurationMs,
    #[command(flatten)]
    signing: Signing,
}

impl Rotate {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let present = load(&self.repository)?;
        let mut wanted = Change { remove: self.remove.clone(), ..Change::default() };
        for (who, path) in &self.replace {
            wanted.replace.push((who.clone(), read_public(path)?));
        }
        for (role, path) in &self.add {
            wanted.people.add(*role, path.as_ref())?;
        }
        wanted.people.thresholds = self.threshold.iter().copied().collect();
        wanted.online = self.online.read()?;
        let refuse = |e: TufError| Failure::refused(e.to_string()).hint(e.hint());
        let old = (present.standing.root().metadata(), present.targets()?.metadata());
        let (root, targets) = change(old, &wanted, expiry(self.expires)?)?;
        let mut files = Vec::new();
        if let Some(root) = root {
            files.push((RoleName::Root, Signed::new(root).map_err(refuse)?.to_bytes()));
        }
        if let Some(targets) = targets {
            files.push((RoleName::Targets, Signed::new(targets).map_err(refuse)?.to_bytes()));
        }
        let standing = vec![(RoleName::Root, present.root_bytes), (RoleName::Targets, present.targets_bytes)];
        carry_out(session, request_of(files, standing)?, &self.signing).await
    }
}

fn role_and_text(text: &str) -> Result<(RoleName, String), String> {
    let (role, rest) = text.split_once('=').ok_or("expected ROLE=…, such as clinical=dee.pub.json")?;
    Ok((role_of(role)?, rest.to_owned()))
}

fn who_and_file(text: &str) -> Result<(String, PathBuf), String> {
    let (who, file) = text.split_once('=').ok_or("expected WHO=FILE, such as \"Ann Lee=ann-2.pub.json\"")?;
    Ok((who.to_owned(), file.into()))
}
