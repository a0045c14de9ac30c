//! `wardround root import`: the controller gets the result of the ceremony.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use wardround_controller::InitError;

use crate::{
    failure::{Exit, Failure, chain},
    output,
    session::Session,
};

/// Give a controller the root and targets that people have signed; it publishes them when it starts
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround root import repository\n\nOn the controller's own machine.")]
pub(super) struct Import {
    /// The folder with 1.root.json and 1.targets.json
    folder: PathBuf,
    /// The controller's data folder; HOME/controller if not given
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Serialize)]
struct Done {
    data: String,
    root_pin: String,
}

impl Import {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let data = match &self.data {
            Some(data) => data.clone(),
            None => session.home()?.join("controller"),
        };
        let root_pin = import(&data, &self.folder).await?;
        let done = Done { data: data.display().to_string(), root_pin };
        output::emit(session.format(), &done, || {
            format!("controller data:        {}\nSHA-256 of 1.root.json: {}", done.data, done.root_pin)
        })?;
        eprintln!("compare the SHA-256 with the one on the ceremony's paper; then start the controller (again)");
        Ok(Exit::Ok)
    }
}

/// Imports and gives the pin that tokens carry.
pub(crate) async fn import(data: &Path, folder: &Path) -> Result<String, Failure> {
    let (data, folder) = (data.to_owned(), folder.to_owned());
    match tokio::task::spawn_blocking(move || wardround_controller::import_root(&data, &folder)).await {
        Ok(Ok(root)) => Ok(root.hex()),
        Ok(Err(error @ (InitError::Exists { .. } | InitError::Root { .. }))) => {
            let hint = match &error {
                InitError::Exists { .. } => {
                    "this controller has another root already; it is changed by signing a new version, never by importing"
                }
                other => other.hint(),
            };
            Err(Failure::refused(chain(&error)).hint(hint))
        }
        Ok(Err(error)) => Err(Failure::new(chain(&error)).hint(error.hint())),
        Err(error) => Err(Failure::new(format!("the import stopped: {error}"))),
    }
}
