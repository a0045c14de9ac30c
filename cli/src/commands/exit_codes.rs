//! `wardround exit-codes`, which is also `wardround help exit-codes`.

use clap::Args;
use serde::Serialize;

use crate::{
    failure::{Exit, Failure},
    output,
    session::Session,
};

/// Say what the exit codes mean
#[derive(Debug, Args)]
#[command(after_help = table())]
pub(crate) struct ExitCodes {}

#[derive(Serialize)]
struct Row {
    code: u8,
    meaning: &'static str,
}

impl ExitCodes {
    #[expect(clippy::unused_self, reason = "every command runs alike")]
    pub(crate) fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let rows: Vec<Row> = Exit::ALL.iter().map(|e| Row { code: e.code(), meaning: e.meaning() }).collect();
        output::emit(session.format(), &rows, table)?;
        Ok(Exit::Ok)
    }
}

fn table() -> String {
    output::table(["code", "meaning"], Exit::ALL.map(|e| [e.code().to_string(), e.meaning().to_owned()]))
}
