//! `wardround init`: a new controller and its first operator's profile.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use serde::Serialize;
use wardround_controller::{InitError, InitOptions, OperatorRole, OperatorRoles};

use crate::{
    failure::{Exit, Failure, chain},
    output,
    session::Session,
};

/// Set up a controller: its data, its own CA and online keys, and your profile
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround init --name controller.example.org
  wardround root init --help       # who may sign: the root ceremony, docs/ceremony.md
  wardround controller run")]
pub(crate) struct Init {
    /// Where the controller will listen for nodes and operators
    #[arg(long, default_value = "127.0.0.1:7443", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the console will be served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7480")]
    console: SocketAddr,
    /// Serve no console
    #[arg(long, conflicts_with = "console")]
    no_console: bool,
    /// A name or address under which nodes and operators reach it; may be given several times
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Whom the first operator's certificate is for
    #[arg(long, default_value = "operator", value_name = "NAME")]
    operator_name: String,
    /// A role of the first operator's certificate; may be given several times; all of them if not given
    #[arg(long = "operator-role", value_name = "ROLE")]
    operator_roles: Vec<OperatorRole>,
    /// The controller's data folder; HOME/controller if not given
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Serialize)]
struct Done {
    data: String,
    operator: String,
    operator_roles: Vec<String>,
    listen: SocketAddr,
    console: Option<SocketAddr>,
    /// For the root ceremony.
    online: String,
}

impl Init {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let home = session.home()?;
        let roles: OperatorRoles = match self.operator_roles.as_slice() {
            [] => OperatorRole::ALL.into(),
            given => given.iter().copied().collect(),
        };
        let options = InitOptions {
            data: self.data.clone().unwrap_or_else(|| home.join("controller")),
            operator: home.join("operator"),
            listen: self.listen,
            console: (!self.no_console).then_some(self.console),
            names: self.names.clone(),
            operator_name: self.operator_name.clone(),
            operator_roles: roles.clone(),
        };
        let done = Done {
            data: options.data.display().to_string(),
            operator: options.operator.display().to_string(),
            operator_roles: roles.iter().map(ToString::to_string).collect(),
            listen: options.listen,
            console: options.console,
            online: options.data.join("online.pub.json").display().to_string(),
        };
        init(options).await?;
        output::emit(session.format(), &done, || {
            format!(
                "controller data:    {}\noperator's profile: {}\noperator's roles:   {}\npublic online keys: {}",
                done.data,
                done.operator,
                done.operator_roles.join(", "),
                done.online
            )
        })?;
        if self.operator_roles.is_empty() {
            eprintln!(
                "this first operator may call everything; `wardround operator issue NAME --role ROLE` makes the next ones"
            );
        }
        eprintln!(
            "next: people say whose signatures count, in the root ceremony (`wardround root init --help`); then `wardround root import` \
             and `wardround controller run`"
        );
        Ok(Exit::Ok)
    }
}

/// Writes the controller's data and the operator's profile.
pub(crate) async fn init(options: InitOptions) -> Result<(), Failure> {
    let made = tokio::task::spawn_blocking(move || wardround_controller::init(&options)).await;
    match made {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error @ InitError::Exists { .. })) => {
            Err(Failure::refused(chain(&error)).hint("init never overwrites: choose another --home or --data"))
        }
        Ok(Err(error)) => {
            let exit = match error {
                InitError::OperatorName { .. } | InitError::NoRole | InitError::Certificate(_) => Exit::Usage,
                _ => Exit::Failure,
            };
            Err(Failure::with(exit, chain(&error)).hint(error.hint()))
        }
        Err(error) => Err(Failure::new(format!("init stopped: {error}"))),
    }
}
