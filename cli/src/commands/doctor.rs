//! `wardround node doctor`: what is wrong, and how to mend it.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use wardround_node::{Finding, Standing, examine};

use crate::{
    failure::{Exit, Failure},
    output,
    session::Session,
};

/// Say what is wrong with this node and its site, and how to mend it
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround node doctor --state /var/lib/wardround --site /etc/wardround/site.yaml

Run it on the node's machine, as the node's account. It looks only: a node that runs is not disturbed. Clinical systems are
tried by `wardround node probe`. Ends with 0 when nothing is bad, and with 1 when something is.")]
pub(super) struct Doctor {
    /// Where this node keeps its state
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The site's devices and clinical systems
    #[arg(long, value_name = "FILE")]
    site: PathBuf,
    /// Leave the devices alone
    #[arg(long)]
    no_devices: bool,
}

#[derive(Serialize)]
struct Shown {
    healthy: bool,
    findings: Vec<ShownFinding>,
}

#[derive(Serialize)]
struct ShownFinding {
    about: String,
    standing: &'static str,
    text: String,
    hint: String,
}

impl Doctor {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let found = Box::pin(examine(&self.state, &self.site, !self.no_devices)).await;
        let healthy = found.iter().all(|finding| finding.standing != Standing::Bad);
        let shown = Shown { healthy, findings: found.into_iter().map(ShownFinding::of).collect() };
        output::emit(session.format(), &shown, || people(&shown))?;
        Ok(if healthy { Exit::Ok } else { Exit::Failure })
    }
}

impl ShownFinding {
    fn of(finding: Finding) -> Self {
        let standing = match finding.standing {
            Standing::Good => "good",
            Standing::Notice => "notice",
            Standing::Bad => "bad",
        };
        Self { about: finding.about, standing, text: finding.text, hint: finding.hint }
    }
}

fn people(shown: &Shown) -> String {
    let mut lines = Vec::new();
    for finding in &shown.findings {
        lines.push(format!("{:<7} {}: {}", finding.standing, finding.about, finding.text));
        if !finding.hint.is_empty() {
            lines.push(format!("        -> {}", finding.hint));
        }
    }
    lines.join("\n")
}
