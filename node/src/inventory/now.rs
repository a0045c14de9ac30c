//! A person on the node's machine asks: the node that runs looks for them, and where none runs they look themselves.

use std::{path::PathBuf, time::Duration};

use tokio::time::Instant;
use wardround_proto::v1::DeviceInventory;
use wardround_rollout_plans::model::DeviceId;

use super::{LOOK_MAX, ask::ask, shelf::Shelf};
use crate::{
    NodeError,
    config::{TransportConfig, read_site_file},
    device::DeviceHandle,
    executor::{idle, now},
    identity::Identity,
};

/// Between two looks at what the node has written.
const POLL: Duration = Duration::from_millis(200);
/// How long the node may take: it may be at another device, and looks at one at a time.
const WAIT_MAX: Duration = Duration::from_secs(3 * LOOK_MAX.as_secs());

/// What is asked.
#[derive(Debug, Clone)]
pub struct InventoryAsk {
    /// The node's state directory.
    pub state_dir: PathBuf,
    /// The site file.
    pub site_file: PathBuf,
    /// These devices only; none means all.
    pub devices: Vec<DeviceId>,
    /// What is there now is accepted: it is no difference any more.
    pub accept: bool,
}

/// Looks at devices now, and gives what was found; `Err` of a device says why nothing was.
///
/// # Errors
/// [`NodeError`]: no node, a site file with mistakes, or a state that can't be written.
pub async fn inventory(asked: InventoryAsk) -> Result<Vec<(DeviceId, Result<DeviceInventory, String>)>, NodeError> {
    let identity = Identity::read(&asked.state_dir)?;
    let site = read_site_file(&asked.site_file)?;
    if site.inventory.site != identity.site {
        let (found, expected) = (site.inventory.site.to_string(), identity.site.to_string());
        return Err(NodeError::OtherSite { found, expected });
    }
    let all =
        if asked.devices.is_empty() { site.devices_to_look_at().cloned().collect() } else { asked.devices.clone() };
    let shelf = Shelf::new(&asked.state_dir);
    let mut found = Vec::new();
    // A node that runs knows what is at work on each device, and looks itself.
    let alone = match idle(&asked.state_dir, &identity.site) {
        Ok(idle) => Some(idle),
        Err(NodeError::Journal { source: wardround_journal::JournalError::Locked { .. }, .. }) => None,
        Err(error) => return Err(error),
    };
    for device in all {
        let Some(config) = site.devices.get(&device) else {
            found.push((device, Err("the site file does not name it".to_owned())));
            continue;
        };
        let told = match &alone {
            _ if config.transport == TransportConfig::Node => {
                Err("it is the node's own program: `wardround node doctor` tells of it".to_owned())
            }
            None => by_node(&shelf, &device, asked.accept).await?,
            Some(_) if asked.accept => Err("only a node that runs can accept what is there".to_owned()),
            Some(idle) if !idle.may_look(&device) => Err("a rollout is at work on it".to_owned()),
            Some(_) => {
                let handle = DeviceHandle::new(&device, config, &asked.state_dir.join("devices"));
                alone_at(&handle, &shelf).await?
            }
        };
        found.push((device, told));
    }
    Ok(found)
}

async fn by_node(shelf: &Shelf, device: &DeviceId, accept: bool) -> Result<Result<DeviceInventory, String>, NodeError> {
    shelf.ask(device, accept)?;
    let begun = Instant::now();
    while shelf.asked(device).is_some() {
        if begun.elapsed() >= WAIT_MAX {
            shelf.answered(device);
            return Ok(Err("the node has not looked at it: is it at work on it?".to_owned()));
        }
        tokio::time::sleep(POLL).await;
    }
    let kept = shelf.read(device)?;
    let moment = kept.moment();
    if moment.missed_at_ms > 0 {
        return Ok(Err(moment.missed_why));
    }
    Ok(Ok(kept.message(device, true)))
}

/// Nothing of it is kept: what it differs from is the node's to judge.
async fn alone_at(handle: &DeviceHandle, shelf: &Shelf) -> Result<Result<DeviceInventory, String>, NodeError> {
    let found = match tokio::time::timeout(LOOK_MAX, ask(handle, now())).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Ok(Err(error.to_string())),
        Err(_) => return Ok(Err(format!("the look took longer than {}s", LOOK_MAX.as_secs()))),
    };
    let _ = handle.cleanup(super::ask::OP).await;
    let mut kept = shelf.read(handle.id())?;
    kept.set_facts(&found.facts);
    kept.set_moment(&found.moment);
    Ok(Ok(kept.message(handle.id(), true)))
}
