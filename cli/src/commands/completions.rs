//! `wardround completions`.

use clap::{Args, CommandFactory as _};

use crate::{
    args::Cli,
    failure::{Exit, Failure},
    output,
};

/// Write a completion script for your shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround completions bash > /etc/bash_completion.d/wardround")]
pub(crate) struct Completions {
    /// Which shell
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "wardround", &mut script);
        output::text(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Ok)
    }
}
