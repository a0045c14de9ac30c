//! `wardround node adapter`: programs that reach devices for a node.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum, builder::PossibleValuesParser};
use wardround_node::{
    config::RemoteShell,
    secret::Secret,
    transports::adapter::{CHECKS, Conformance, ConformanceOptions, Verdict, check_conformance},
};

use crate::{
    failure::{Exit, Failure},
    output,
    session::Session,
};

/// Programs that reach devices for this node
#[derive(Debug, Args)]
pub(crate) struct Adapter {
    #[command(subcommand)]
    command: AdapterCommand,
}

#[derive(Debug, Subcommand)]
enum AdapterCommand {
    Test(Test),
}

/// Call every verb of an adapter on a device, and say what of the protocol holds
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround node adapter test /usr/lib/wardround/adapters/wine --option prefix=/srv/dev/ct-01
  wardround node adapter test ./my-adapter --option address=10.1.2.3 --secret password=/etc/wardround/pw --reboot

It works in operations of its own, named wr-test-…, and removes them. With --reboot the device is restarted.
Exit code 0: nothing failed; 1: something did. docs/adapters.md has the protocol.")]
struct Test {
    /// The adapter, and arguments that come before the verb
    #[arg(required = true, value_name = "PROGRAM")]
    program: Vec<String>,
    /// An option of the device, as in the site file
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// A credential, and the file that it is kept in
    #[arg(long = "secret", value_name = "NAME=FILE", value_parser = pair)]
    secrets: Vec<(String, String)>,
    /// The device's shell, where the adapter knows both
    #[arg(long)]
    shell: Option<ShellWord>,
    /// wardround's directory as the device names it
    #[arg(long, value_name = "DIR")]
    device_dir: Option<String>,
    /// Restart the device, too
    #[arg(long)]
    reboot: bool,
    /// Make this check only; may be repeated
    #[arg(long, value_name = "CHECK", value_parser = PossibleValuesParser::new(CHECKS))]
    only: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShellWord {
    Sh,
    Cmd,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl Adapter {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            AdapterCommand::Test(test) => test.run(session).await,
        }
    }
}

impl Test {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let place = |(name, file): &(String, String)| (name.clone(), Secret::File(PathBuf::from(file)));
        let options = ConformanceOptions {
            program: self.program.clone(),
            shell: self.shell.map(|word| match word {
                ShellWord::Sh => RemoteShell::Sh,
                ShellWord::Cmd => RemoteShell::Cmd,
            }),
            device_dir: self.device_dir.clone(),
            options: self.options.iter().cloned().collect::<BTreeMap<_, _>>(),
            credentials: self.secrets.iter().map(place).collect(),
            reboot: self.reboot,
            only: self.only.clone(),
        };
        let found = Box::pin(check_conformance(&options)).await;
        output::emit(session.format(), &found, || shown(&found))?;
        Ok(if found.holds() { Exit::Ok } else { Exit::Failure })
    }
}

fn shown(found: &Conformance) -> String {
    let word = |verdict| match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::Skipped => "skipped",
    };
    let rows = found.checks.iter().map(|one| [one.check.to_owned(), word(one.verdict).to_owned(), one.detail.clone()]);
    let count = |verdict| found.count(verdict);
    format!(
        "{}\n\n{} passed, {} failed, {} skipped",
        output::table(["check", "result", "what was seen"], rows),
        count(Verdict::Passed),
        count(Verdict::Failed),
        count(Verdict::Skipped),
    )
}
