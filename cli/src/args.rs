//! The command line: the commands and the flags that all of them share.

use std::{path::PathBuf, process::ExitCode};

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::{commands, output::Format, quickstart, signer::KeyPlace};

const ABOUT: &str =
    "Brings signed patches to legacy clinical computers, a few at a time, and takes them back where it hurts";

const AFTER: &str = "\
Begin with:
  wardround quickstart                    six sites and two patches on this machine, for real
  wardround help exit-codes               what the exit codes mean
  wardround rollout halt ID --reason WHY  stops a rollout everywhere, at once";

/// wardround.
#[derive(Debug, Parser)]
#[command(name = "wardround", bin_name = "wardround", version, about = ABOUT, after_help = AFTER)]
#[command(arg_required_else_help = true, disable_help_subcommand = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the machine of a site needs: the same words as [`Cli`], as far as they are a node's.
#[derive(Debug, Parser)]
#[command(name = "wardround", bin_name = "wardround", version, about = "The site node of wardround")]
#[command(arg_required_else_help = true, disable_help_subcommand = false)]
pub(crate) struct SiteCli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: SiteCommand,
}

/// What can be done on the machine of a site.
#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    Node(commands::node::Node),
    ExitCodes(commands::exit_codes::ExitCodes),
}

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Where profile and data are; ~/.wardround if not given
    #[arg(long, global = true, value_name = "DIR", env = "WARDROUND_HOME", hide_env_values = true)]
    pub(crate) home: Option<PathBuf>,
    /// Tables for people, or JSON for programs
    #[arg(long, global = true, value_enum, default_value = "human", value_name = "FORM", hide_possible_values = false)]
    pub(crate) output: Format,
    /// Your signing key, where the command signs: a key file, or pkcs11:token=…;object=… for a token; twice where two people order together
    #[arg(long, global = true, value_name = "KEY", env = "WARDROUND_KEY", hide_env_values = true)]
    pub(crate) key: Vec<KeyPlace>,
    /// A file with the key's passphrase or PIN, one for each key; else WARDROUND_PASSPHRASE or WARDROUND_PIN, else you are asked
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) passphrase_file: Vec<PathBuf>,
    /// Log more to standard error; twice for more still
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(commands::init::Init),
    Root(commands::root::Root),
    Controller(commands::controller::Controller),
    Node(commands::node::Node),
    Key(commands::key::Key),
    Patch(commands::patch::Patch),
    Plan(commands::plan::Plan),
    Rollout(commands::rollout::Rollout),
    Site(commands::site::Site),
    Device(commands::device::Device),
    Operator(commands::operator::Operator),
    Sign(commands::sign::Sign),
    Audit(commands::audit::Audit),
    Alarms(commands::alarms::Alarms),
    Quickstart(quickstart::Quickstart),
    Completions(commands::completions::Completions),
    ExitCodes(commands::exit_codes::ExitCodes),
    #[command(hide = true)]
    QuickstartViewer(quickstart::Viewer),
}

/// How clap ends its words about a wrong command line, and how we do.
const CLAPS_END: &str = "For more information, try '--help'.";
const OUR_END: &str = "hint: the same command with --help says what it takes, with an example";

/// Parses, or prints clap's words (help, version, usage) and gives its exit code.
pub(crate) fn parse<P: Parser>() -> Result<P, ExitCode> {
    P::try_parse().map_err(|error| {
        // Help goes to standard output with 0, a wrong command line to standard error with 2.
        match error.render().to_string().trim_end().strip_suffix(CLAPS_END) {
            Some(words) => eprintln!("{}", hinted(words.trim_end())),
            None => drop(error.print()),
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    })
}

/// Clap's suggestion is the hint where it has one.
fn hinted(words: &str) -> String {
    if words.contains("\n  tip: ") { words.replace("\n  tip: ", "\nhint: ") } else { format!("{words}\n{OUR_END}") }
}
