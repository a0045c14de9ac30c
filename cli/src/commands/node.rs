//! `wardround node`: the agent of one site.

mod inventory;
mod probe;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use wardround_node::{
    Ended, EnrolOptions, RunOptions, Vouched,
    program::{SuperviseOptions, supervise},
};
use wardround_rollout_plans::model::DurationMs;
use wardround_signing::tuf::RoleName;

use crate::{
    commands::{adapter::Adapter, confirm::Confirm, doctor::Doctor, stop_signal},
    failure::{Exit, Failure, chain},
    output,
    session::Session,
};

/// Enrol and run a site node
#[derive(Debug, Args)]
pub(crate) struct Node {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    Enrol(Enrol),
    Run(Run),
    Supervise(Supervise),
    #[command(hide = true)]
    Selftest(Selftest),
    Probe(probe::Probe),
    Inventory(inventory::Inventory),
    Reanchor(Reanchor),
    Witness(Witness),
    Confirm(Confirm),
    Doctor(Doctor),
    Adapter(Adapter),
}

/// Turn a single-use token into this node's identity
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  WARDROUND_TOKEN=… wardround node enrol --controller https://controller:7443 --state /var/lib/wardround

The token comes from `wardround site token SITE`. It pins the controller's CA and the first root of the image repository.")]
struct Enrol {
    /// Address of the controller
    #[arg(long, value_name = "URL")]
    controller: String,
    /// The token
    #[arg(long, value_name = "TOKEN", env = "WARDROUND_TOKEN", hide_env_values = true)]
    token: String,
    /// Where this node keeps its state
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
}

// What a node runs with, also below its supervisor. No documentation comment: it would take the place of the commands' own.
#[derive(Debug, Args)]
struct With {
    /// Where this node keeps its state
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The site's devices and clinical systems
    #[arg(long, value_name = "FILE")]
    site: PathBuf,
    /// Check in this often, whatever the controller asks for
    #[arg(long, value_name = "DURATION", value_parser = DurationMs::parse)]
    check_in_every: Option<DurationMs>,
    /// Stop when standard input ends: for a parent that must not leave anything behind
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

/// Run an enrolled node, until Ctrl-C or SIGTERM
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround node run --state /var/lib/wardround --site /etc/wardround/site.yaml")]
struct Run {
    #[command(flatten)]
    with: With,
}

/// Keep a node running, and let it replace its own program; until Ctrl-C or SIGTERM
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround node supervise --state /var/lib/wardround --site /etc/wardround/site.yaml

It starts `node run` with the program that counts: this one, or the one that a signed patch has brought. A program on trial
that ends three times, or is not well in time, is left for the one from before (docs/self-update.md).")]
struct Supervise {
    #[command(flatten)]
    with: With,
}

/// Whether this program could run that node: asked by a node before it takes it
#[derive(Debug, Args)]
struct Selftest {
    /// Where the node keeps its state
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Its site file
    #[arg(long, value_name = "FILE")]
    site: PathBuf,
}

#[derive(Serialize)]
struct Tested {
    version: &'static str,
    site: String,
}

/// Let a node with a damaged trust store start again
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround node reanchor --state /var/lib/wardround
  wardround node reanchor --state /var/lib/wardround --counter 812 --version root=3 --version timestamp=20411

Stop the node first, and find out what damaged its disk. The metadata is set aside and fetched anew; what the node has
seen still holds. Only where that is lost too must you vouch for the counter and the versions: read them from another
node or from the audit log, not from the controller alone.")]
struct Reanchor {
    /// Where this node keeps its state
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The lowest directive counter to accept
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    counter: u64,
    /// The lowest metadata version of a role to accept
    #[arg(long = "version", value_name = "ROLE=NUMBER", value_parser = version)]
    versions: Vec<(RoleName, u64)>,
}

fn version(text: &str) -> Result<(RoleName, u64), String> {
    let (role, number) = text.split_once('=').ok_or("expected ROLE=NUMBER, such as timestamp=20411")?;
    let role = RoleName::from_word(role).filter(|role| RoleName::FILES.contains(role)).ok_or_else(|| {
        let words: Vec<&str> = RoleName::FILES.iter().map(|role| role.word()).collect();
        format!("{role:?} is not one of {}", words.join(", "))
    })?;
    Ok((role, number.parse().map_err(|_| format!("{number:?} is not a version"))?))
}

#[derive(Serialize)]
struct Anchored {
    set_aside: String,
    floors_kept: bool,
}

/// Show the controller's log as this node knows it; accept another one after a person has looked
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround node witness --state /var/lib/wardround
  wardround node witness --state /var/lib/wardround --accept

A node that was shown a log which does not continue the one it knows begins nothing new. --accept makes the refused log the
one that counts; do it only once you know why the log changed (docs/operations.md). The node must be stopped first.")]
struct Witness {
    /// Where this node keeps its state
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Accept the log that was refused
    #[arg(long)]
    accept: bool,
}

#[derive(Serialize)]
struct Witnessed {
    log: Option<String>,
    accepted_size: Option<u64>,
    accepted_root: Option<String>,
    refused_size: Option<u64>,
    refused_root: Option<String>,
    refused_why: Option<String>,
    damage: Option<String>,
}

#[derive(Serialize)]
struct Done {
    site: String,
    state: String,
}

impl Node {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            NodeCommand::Enrol(enrol) => enrol.run(session).await,
            NodeCommand::Run(run) => run.run().await,
            NodeCommand::Supervise(supervise) => supervise.run(session).await,
            NodeCommand::Selftest(selftest) => selftest.run(session),
            NodeCommand::Probe(probe) => probe.run(session).await,
            NodeCommand::Inventory(inventory) => inventory.run(session).await,
            NodeCommand::Reanchor(reanchor) => reanchor.run(session),
            NodeCommand::Witness(witness) => witness.run(session).await,
            NodeCommand::Confirm(confirm) => confirm.run(session),
            NodeCommand::Doctor(doctor) => doctor.run(session).await,
            NodeCommand::Adapter(adapter) => adapter.run(session).await,
        }
    }
}

impl Enrol {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let options = EnrolOptions {
            state_dir: self.state.clone(),
            controller: self.controller.clone(),
            token: self.token.clone(),
        };
        let enrolled = Box::pin(wardround_node::enrol(options)).await.map_err(|e| failure(&e))?;
        let done = Done { site: enrolled.site.to_string(), state: self.state.display().to_string() };
        output::emit(session.format(), &done, || format!("enrolled for site {}; state in {}", done.site, done.state))?;
        eprintln!("next: `wardround node run --state {} --site SITE.yaml`", done.state);
        Ok(Exit::Ok)
    }
}

impl Run {
    async fn run(&self) -> Result<Exit, Failure> {
        let options = RunOptions {
            state_dir: self.with.state.clone(),
            site_file: self.with.site.clone(),
            check_in_every: self.with.check_in_every.map(|d| Duration::from_millis(d.0)),
        };
        let stop = CancellationToken::new();
        tokio::spawn(stop_signal(stop.clone(), self.with.stop_with_stdin));
        Ok(match Box::pin(wardround_node::run(options, stop)).await.map_err(|e| failure(&e))? {
            Ended::Stopped => Exit::Ok,
            Ended::Restart => Exit::Restart,
        })
    }
}

impl Supervise {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let mut arguments: Vec<OsString> = ["node", "run", "--stop-with-stdin", "--state"].map(OsString::from).into();
        arguments.extend([self.with.state.clone().into(), "--site".into(), self.with.site.clone().into()]);
        if let Some(every) = self.with.check_in_every {
            arguments.extend(["--check-in-every".into(), format!("{}ms", every.0).into()]);
        }
        arguments.extend((0..session.global.verbose).map(|_| "--verbose".into()));
        let stop = CancellationToken::new();
        tokio::spawn(stop_signal(stop.clone(), self.with.stop_with_stdin));
        let options = SuperviseOptions { state_dir: self.with.state.clone(), arguments };
        supervise(options, stop).await.map_err(|e| failure(&e))?;
        Ok(Exit::Ok)
    }
}

impl Selftest {
    fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let tested = wardround_node::selftest(&self.state, &self.site).map_err(|e| failure(&e))?;
        let tested = Tested { version: tested.version, site: tested.site };
        output::emit(session.format(), &tested, || format!("{} can run the node of {}", tested.version, tested.site))?;
        Ok(Exit::Ok)
    }
}

impl Reanchor {
    fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let vouched =
            Vouched { counter: self.counter, versions: self.versions.iter().copied().collect(), ..Vouched::default() };
        let done = wardround_node::reanchor(&self.state, &vouched).map_err(|e| failure(&e))?;
        let anchored = Anchored { set_aside: done.set_aside.display().to_string(), floors_kept: done.floors_kept };
        output::emit(session.format(), &anchored, || {
            let floors =
                if done.floors_kept { "what it has seen still holds" } else { "only what you vouched for holds" };
            format!("the damaged files are in {}; {floors}", anchored.set_aside)
        })?;
        Ok(Exit::Ok)
    }
}

impl Witness {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let before = wardround_node::witness_view(&self.state).map_err(|e| failure(&e))?;
        let view = if self.accept {
            if before.refused.is_none() && before.damage.is_none() {
                return Err(Failure::refused("this node has refused no log: there is nothing to accept"));
            }
            let state = self.state.clone();
            tokio::task::spawn_blocking(move || wardround_node::accept_log(&state))
                .await
                .map_err(|e| Failure::new(e.to_string()))?
                .map_err(|e| failure(&e))?
        } else {
            before
        };
        let shown = Witnessed {
            log: view.log.clone(),
            accepted_size: view.accepted.as_ref().map(wardround_signing::log::SignedCheckpoint::size),
            accepted_root: view.accepted.as_ref().map(|c| c.root().to_string()),
            refused_size: view.refused.as_ref().map(|(c, _)| c.size()),
            refused_root: view.refused.as_ref().map(|(c, _)| c.root().to_string()),
            refused_why: view.refused.as_ref().map(|(_, why)| why.clone()),
            damage: view.damage.clone(),
        };
        output::emit(session.format(), &shown, || {
            let mut lines = vec![match &shown.log {
                Some(key) => format!("log       {key}"),
                None => "this node enrolled before there was a log and witnesses none: enrol it anew".to_owned(),
            }];
            let checkpoint = |size: Option<u64>, root: &Option<String>| match (size, root) {
                (Some(size), Some(root)) => format!("{size} entries with root {root}"),
                _ => "none yet".to_owned(),
            };
            lines.push(format!("accepted  {}", checkpoint(shown.accepted_size, &shown.accepted_root)));
            if let Some(why) = &shown.refused_why {
                lines.push(format!("refused   {}", checkpoint(shown.refused_size, &shown.refused_root)));
                lines.push(format!("          {why}"));
            }
            lines.extend(shown.damage.iter().map(|why| format!("damaged   {why}")));
            lines.join("\n")
        })?;
        // A script that watches nodes sees it by the code.
        let refused = shown.refused_why.is_some() || shown.damage.is_some();
        Ok(if refused { Exit::Refused } else { Exit::Ok })
    }
}

fn failure(error: &wardround_node::NodeError) -> Failure {
    use wardround_node::NodeError as E;
    if let E::Refused { status, .. } = error {
        // The controller's own words, with its own way out.
        return Failure::from((**status).clone());
    }
    let exit = match error {
        E::Enrolled { .. } | E::CertificateExpired { .. } | E::Pin(_) => Exit::Refused,
        E::Unreachable { .. } => Exit::Unreachable,
        _ => Exit::Failure,
    };
    Failure::with(exit, chain(error)).hint(error.hint())
}
