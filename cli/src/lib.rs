//! `wardround`: the operators' commands; it also starts a controller, a site node, or the quickstart.
//!
//! - `args` names the commands; each has a file under `commands` with its arguments, its example and its `run`;
//! - `failure` is the one form in which anything goes wrong: an exit code, one line, and a way out;
//! - `request` carries what is to be signed to a machine without a network, and `ceremony` makes and changes the root;
//! - `client` speaks gRPC with the identity of an operator's profile; `signer` opens a person's key, in a file or on a token;
//! - `quickstart` shows the whole thing on one machine, with real processes.
//!
//! **Invariant:** standard output carries data only; talk goes to standard error.
//! **Invariant:** commands only talk to the API; none opens a controller's or a node's files.

mod args;
mod ask;
mod ceremony;
mod client;
mod commands;
mod failure;
mod output;
mod pin;
mod profile;
mod quickstart;
mod repository;
mod request;
mod session;
mod signed;
mod signer;
mod when;

use std::process::ExitCode;

use failure::{Exit, Failure};

/// What every binary of the program takes as its allocator, so that tests run what hospitals run: the controller folds and
/// reads small pieces (docs/decisions/2026-11-replay.md has what it brings).
pub use mimalloc::MiMalloc as Allocator;

/// Parses the command line, does what it says, and answers with the exit code that `wardround help exit-codes` lists.
#[must_use]
pub fn main() -> ExitCode {
    match args::parse::<args::Cli>() {
        Ok(cli) => carry_out(cli.global.verbose, commands::run(cli)),
        Err(code) => code,
    }
}

/// As [`main`], for the machine of a site: it knows `wardround node` alone, and carries nothing of the controller.
#[must_use]
pub fn site_main() -> ExitCode {
    match args::parse::<args::SiteCli>() {
        Ok(cli) => carry_out(cli.global.verbose, commands::run_on_site(cli)),
        Err(code) => code,
    }
}

fn carry_out(verbose: u8, work: impl Future<Output = Result<Exit, Failure>>) -> ExitCode {
    start_logging(verbose);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::new(format!("no threads could be started: {error}")).report(),
    };
    let result = runtime.block_on(Box::pin(work));
    // A blocked read of a terminal must not keep the process alive.
    runtime.shutdown_background();
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

/// Logs go to standard error: warnings, more with `-v`; `RUST_LOG` wins.
fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}
