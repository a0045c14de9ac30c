//! `wardround node inventory`: ask the site's devices now, on the node's machine.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use wardround_node::{InventoryAsk, config::read_site_file, inventory};
use wardround_rollout_plans::model::DeviceId;

use crate::{
    commands::inventory::{Shown, people},
    failure::{Exit, Failure},
    output,
    session::Session,
};

/// Ask devices what they are made of, now
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround node inventory --state /var/lib/wardround --site /etc/wardround/site.yaml ct-01
  wardround node inventory --state /var/lib/wardround --site /etc/wardround/site.yaml ct-01 --accept

Where the node runs it looks itself, as soon as nothing is at work on the device; a node that does not run is not needed. --accept
says that what is there now is right: it differs from nothing any more. Ends with 1 when a device did not answer.")]
pub(super) struct Inventory {
    /// Where this node keeps its state
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The site's devices and clinical systems
    #[arg(long, value_name = "FILE")]
    site: PathBuf,
    /// One device of it only
    #[arg(value_name = "DEVICE", required_if_eq("accept", "true"))]
    device: Option<String>,
    /// Accept what is there now
    #[arg(long)]
    accept: bool,
}

#[derive(Serialize)]
struct Answer {
    device: String,
    inventory: Option<Shown>,
    why_not: Option<String>,
}

impl Inventory {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let devices = self.devices()?;
        let (state_dir, site_file) = (self.state.clone(), self.site.clone());
        let found = Box::pin(inventory(InventoryAsk { state_dir, site_file, devices, accept: self.accept })).await;
        let found = found.map_err(|error| super::failure(&error))?;
        let answers: Vec<Answer> = found
            .iter()
            .map(|(device, told)| Answer {
                device: device.to_string(),
                inventory: told.as_ref().ok().map(Shown::new),
                why_not: told.as_ref().err().cloned(),
            })
            .collect();
        output::emit(session.format(), &answers, || {
            let one = |(device, told): &(DeviceId, Result<_, String>)| match told {
                Ok(told) => format!("device {device}\n{}", people(told)),
                Err(why) => format!("device {device}\nno answer       {why}"),
            };
            found.iter().map(one).collect::<Vec<_>>().join("\n\n")
        })?;
        Ok(if found.iter().all(|(_, told)| told.is_ok()) { Exit::Ok } else { Exit::Failure })
    }

    fn devices(&self) -> Result<Vec<DeviceId>, Failure> {
        let Some(wanted) = &self.device else { return Ok(Vec::new()) };
        let site = read_site_file(&self.site).map_err(|error| Failure::new(error.to_string()).hint(error.hint))?;
        let found = site.devices.keys().find(|id| id.as_str() == wanted || id.name() == wanted);
        let found = found.ok_or_else(|| {
            let names: Vec<&str> = site.devices.keys().map(DeviceId::name).take(20).collect();
            Failure::with(Exit::NotFound, format!("the site file has no device {wanted:?}"))
                .hint(format!("it has {}", names.join(", ")))
        })?;
        Ok(vec![found.clone()])
    }
}
