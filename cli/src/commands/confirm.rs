//! `wardround node confirm`: a person's word that nobody needs a device now.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use wardround_node::config::read_site_file;
use wardround_rollout_plans::model::DurationMs;

use crate::{
    failure::{Exit, Failure, chain},
    output,
    session::Session,
    when,
};

/// Say that nobody needs a device now, so that it may be patched
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround node confirm ct-01 --for 2h --state /var/lib/wardround --site /etc/wardround/site.yaml

For devices whose site file says `in_use: { confirm: true }`. Run it on the site's node, when you stand at the device or have
spoken to whoever works with it. It counts for the time given, at most 24h, and for nothing else that is looked at.")]
pub(super) struct Confirm {
    /// The device's name in the site file
    device: String,
    /// For how long
    #[arg(long = "for", value_name = "DURATION", default_value = "2h", value_parser = DurationMs::parse)]
    free_for: DurationMs,
    /// Where this node keeps its state
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The site's devices and clinical systems
    #[arg(long, value_name = "FILE")]
    site: PathBuf,
}

#[derive(Serialize)]
struct Shown {
    device: String,
    until_ms: i64,
}

impl Confirm {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let site = read_site_file(&self.site).map_err(|e| Failure::new(chain(&e)).hint(e.hint.clone()))?;
        let named = site.devices.iter().find(|(id, _)| id.name() == self.device);
        let Some((id, config)) = named else {
            let names: Vec<&str> = site.devices.keys().map(|id| id.name()).take(20).collect();
            return Err(Failure::with(Exit::NotFound, format!("the site file names no device {:?}", self.device))
                .hint(format!("it names {}", names.join(", "))));
        };
        if !config.in_use.as_ref().is_some_and(|in_use| in_use.confirm) {
            return Err(Failure::refused(format!("{id} waits for nobody's word"))
                .hint("only devices with `in_use: { confirm: true }` do"));
        }
        let word = wardround_node::confirm(&self.state, id, self.free_for)
            .map_err(|e| Failure::new(chain(&e)).hint(e.hint()))?;
        let shown = Shown { device: id.to_string(), until_ms: word.until.0 };
        output::emit(session.format(), &shown, || format!("{id} may be patched until {}", when::local(word.until.0)))?;
        Ok(Exit::Ok)
    }
}
