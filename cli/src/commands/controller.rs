//! `wardround controller`: serves nodes, operators and the console.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use wardround_controller::Config;
use wardround_rollout_plans::model::DurationMs;

use crate::{
    commands::stop_signal,
    failure::{Exit, Failure, chain},
    session::Session,
};

/// Run a controller
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Controller {
    #[command(subcommand)]
    command: Option<ControllerCommand>,
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Subcommand)]
enum ControllerCommand {
    Run(Run),
}

/// Run the controller that `wardround init` set up, until Ctrl-C or SIGTERM
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround controller run --listen 0.0.0.0:7443")]
struct Run {
    /// Its data folder; HOME/controller if not given
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Listen here instead of where init said
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Serve the console here instead of where init said
    #[arg(long, value_name = "ADDRESS")]
    console: Option<SocketAddr>,
    /// Serve no console
    #[arg(long, conflicts_with = "console")]
    no_console: bool,
    /// After how long without a word a site counts as silent
    #[arg(long, value_name = "DURATION", value_parser = DurationMs::parse)]
    silence_after: Option<DurationMs>,
    /// How often nodes are asked to check in
    #[arg(long, value_name = "DURATION", value_parser = DurationMs::parse)]
    check_in_every: Option<DurationMs>,
    /// Stop when standard input ends: for a parent that must not leave anything behind
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

impl Controller {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let run = match &self.command {
            Some(ControllerCommand::Run(run)) => run,
            None => &self.run,
        };
        run.run(session).await
    }
}

impl Run {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let duration = |d: DurationMs| Duration::from_millis(d.0);
        let data = match &self.data {
            Some(data) => data.clone(),
            None => session.home()?.join("controller"),
        };
        let config = Config {
            data,
            listen: self.listen,
            console: if self.no_console { Some(None) } else { self.console.map(Some) },
            silence_after: self.silence_after.map(duration),
            check_in_every: self.check_in_every.map(duration),
        };
        let stop = CancellationToken::new();
        let (ready_sender, ready) = oneshot::channel();
        tokio::spawn(stop_signal(stop.clone(), self.stop_with_stdin));
        tokio::spawn(async move {
            if let Ok(ready) = ready.await {
                let ready: wardround_controller::Ready = ready;
                eprintln!("listening on {}", ready.listen);
                if let Some(console) = ready.console {
                    eprintln!("console on http://{console}/");
                }
            }
        });
        match Box::pin(wardround_controller::run(config, stop, ready_sender)).await {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err(Failure::new(chain(&error)).hint(error.hint())),
        }
    }
}
