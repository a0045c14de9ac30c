//! `wardround device`: the machines of the estate, as their sites declare them and as they say themselves.

use clap::{Args, Subcommand};
use serde::Serialize;
use wardround_proto::v1;

use crate::{
    client::{Controller, PAGE, all_pages, call, incomplete},
    commands::{inventory, site::ShownDevice},
    failure::{Exit, Failure},
    output::{self, Format},
    session::Session,
};

/// Look at devices: what they are made of, and whether somebody changed them by hand
#[derive(Debug, Args)]
pub(crate) struct Device {
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    List(List),
    Show(Show),
}

/// List devices, all of them or those that are not as they were
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround device list --site rx1\n  wardround device list --drift")]
struct List {
    /// Only of this site
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Only devices that are not as they were, each with what differs
    #[arg(long)]
    drift: bool,
}

/// Show what a device said of itself, and how it differs from what is known of it
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround device show rx1/ct-01

What the device does not say is unknown; nothing is guessed. docs/inventory.md names each field and its source.")]
struct Show {
    /// Device id: SITE/DEVICE
    device: String,
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    declared: ShownDevice,
    /// `null` before the first look of its node.
    inventory: Option<inventory::Shown>,
}

#[derive(Serialize)]
struct Drifting {
    id: String,
    drift: Vec<inventory::Drift>,
}

impl Device {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        match &self.command {
            DeviceCommand::List(list) if list.drift => list.drifting(session, &controller).await,
            DeviceCommand::List(list) => list.run(session, &controller).await,
            DeviceCommand::Show(show) => show.run(session, &controller).await,
        }
    }
}

impl List {
    async fn run(&self, session: &Session, controller: &Controller) -> Result<Exit, Failure> {
        let site = self.site.clone().unwrap_or_default();
        let devices = all_pages(async |page_token| {
            let request = v1::ListDevicesRequest { site: site.clone(), page_size: PAGE, page_token };
            let page = controller.estate().list_devices(call(request)).await?.into_inner();
            Ok((page.devices, page.next_page_token))
        })
        .await?;
        output::list(session.format(), &devices, ShownDevice::new, "no devices", |devices| {
            let rows = devices
                .iter()
                .map(|d| [d.id.clone(), d.platform.clone(), d.model.clone(), d.installed_patches.join(", ")]);
            output::table(["device", "platform", "model", "patches"], rows)
        })
    }

    async fn drifting(&self, session: &Session, controller: &Controller) -> Result<Exit, Failure> {
        let site = self.site.clone().unwrap_or_default();
        let devices = all_pages(async |page_token| {
            let request = v1::ListDriftRequest { site: site.clone(), page_size: PAGE, page_token };
            let page = controller.estate().list_drift(call(request)).await?.into_inner();
            Ok((page.devices, page.next_page_token))
        })
        .await?;
        let shown =
            |told: &v1::DeviceInventory| Drifting { id: told.device.clone(), drift: inventory::Shown::new(told).drift };
        output::list(session.format(), &devices, shown, "every device is as it was", |devices| {
            inventory::drift_table(devices.iter().flat_map(|told| told.drift.iter().map(|d| (told.device.as_str(), d))))
        })
    }
}

impl Show {
    async fn run(&self, session: &Session, controller: &Controller) -> Result<Exit, Failure> {
        let answer = controller.estate().get_device(call(v1::GetDeviceRequest { id: self.device.clone() })).await?;
        let answer = answer.into_inner();
        let device = answer.device.as_ref().ok_or_else(|| incomplete("device"))?;
        if session.format() == Format::Json {
            let inventory = answer.inventory.as_ref().map(inventory::Shown::new);
            output::json(&Whole { declared: ShownDevice::new(device), inventory })?;
            return Ok(Exit::Ok);
        }
        let told = match &answer.inventory {
            None => "its node has not looked at it yet".to_owned(),
            Some(told) => inventory::people(told),
        };
        let patches =
            if device.installed_patches.is_empty() { "none".to_owned() } else { device.installed_patches.join(", ") };
        let head = format!(
            "device {} · {}\ndeclared as     {}\npatches         {patches}",
            device.id, device.model, device.platform
        );
        output::text(&format!("{head}\n{told}"))?;
        Ok(Exit::Ok)
    }
}
