//! One file per command: its arguments, its example, its `run`.

pub(crate) mod adapter;
pub(crate) mod alarms;
pub(crate) mod audit;
pub(crate) mod completions;
mod confirm;
pub(crate) mod controller;
pub(crate) mod device;
mod doctor;
pub(crate) mod exit_codes;
pub(crate) mod init;
mod inventory;
pub(crate) mod key;
pub(crate) mod node;
pub(crate) mod operator;
pub(crate) mod patch;
pub(crate) mod plan;
pub(crate) mod risk;
pub(crate) mod rollout;
pub(crate) mod root;
pub(crate) mod sign;
pub(crate) mod site;

use crate::{
    args::{Cli, Command, SiteCli, SiteCommand},
    failure::{Exit, Failure},
    quickstart,
    session::Session,
};

/// Does what the command line says.
pub(crate) async fn run(cli: Cli) -> Result<Exit, Failure> {
    let session = Session { global: cli.global };
    let session = &session;
    match cli.command {
        Command::Init(init) => init.run(session).await,
        Command::Controller(controller) => controller.run(session).await,
        Command::Node(node) => node.run(session).await,
        Command::Key(key) => key.run(session).await,
        Command::Patch(patch) => Box::pin(patch.run(session)).await,
        Command::Plan(plan) => plan.run(session).await,
        Command::Rollout(rollout) => Box::pin(rollout.run(session)).await,
        Command::Site(site) => site.run(session).await,
        Command::Device(device) => device.run(session).await,
        Command::Operator(operator) => operator.run(session).await,
        Command::Sign(sign) => Box::pin(sign.run(session)).await,
        Command::Root(root) => Box::pin(root.run(session)).await,
        Command::Audit(audit) => audit.run(session).await,
        Command::Alarms(alarms) => alarms.run(session).await,
        Command::Quickstart(quickstart) => Box::pin(quickstart.run(session)).await,
        Command::QuickstartViewer(viewer) => quickstart::serve_viewer(viewer).await,
        Command::Completions(completions) => completions.run(),
        Command::ExitCodes(codes) => codes.run(session),
    }
}

/// As [`run`], for the program of a site's machine.
pub(crate) async fn run_on_site(cli: SiteCli) -> Result<Exit, Failure> {
    let session = Session { global: cli.global };
    match cli.command {
        SiteCommand::Node(node) => node.run(&session).await,
        SiteCommand::ExitCodes(codes) => codes.run(&session),
    }
}

/// Cancels `stop` on Ctrl-C, on SIGTERM and, where a parent asks for it, when standard input ends.
pub(crate) async fn stop_signal(stop: tokio_util::sync::CancellationToken, with_stdin: bool) {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(error) => {
                tracing::warn!(%error, "SIGTERM can't be waited for");
                std::future::pending().await
            }
        }
    };
    let stdin_ended = async {
        if !with_stdin {
            std::future::pending::<()>().await;
        }
        // A thread of its own: it may hang in the read for as long as the process lives.
        drop(tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await);
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
        () = stdin_ended => {}
    }
    stop.cancel();
}
