//! `wardround root online`: new online keys for a controller.

use std::path::PathBuf;

use clap::Args;

use crate::{
    failure::{Exit, Failure, chain},
    output,
    session::Session,
};

/// Make new online keys for a controller, on its machine: for a ceremony, or because the old ones were stolen
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround root online

On the controller's own machine. The old keys go on signing until people have signed a root and targets that name the new ones.")]
pub(super) struct Online {
    /// The controller's data folder; HOME/controller if not given
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Online {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let data = match &self.data {
            Some(data) => data.clone(),
            None => session.home()?.join("controller"),
        };
        let file = data.join("online.pub.json");
        let made = tokio::task::spawn_blocking(move || wardround_controller::make_online_keys(&data)).await;
        let keys = match made {
            Ok(Ok(keys)) => keys,
            Ok(Err(error)) => return Err(Failure::new(chain(&error)).hint(error.hint())),
            Err(error) => return Err(Failure::new(format!("making the keys stopped: {error}"))),
        };
        output::emit(session.format(), &keys, || {
            format!(
                "snapshot:    {}\ntimestamp:   {}\ndirectives:  {}\nfile:        {}",
                keys.snapshot,
                keys.timestamp,
                keys.directives,
                file.display()
            )
        })?;
        eprintln!("next: have people sign a root and targets that name these keys");
        Ok(Exit::Ok)
    }
}
