//! Inventories: what nodes tell of their devices, and what people read of it. Information only, nothing is decided by it.

use prost::Message as _;
use tonic::{Code, Status};
use wardround_journal::JournalError;
use wardround_proto::v1;
use wardround_rollout_plans::model::{DeviceId, SiteId};

use super::{Api, blocking, estate, id, page, status};
use crate::inventory::{DRIFT_MAX, INVENTORY_BYTES_MAX};

fn stored(error: &JournalError) -> Status {
    match error {
        JournalError::Full { .. } => status::make(
            Code::ResourceExhausted,
            "DISK_FULL",
            "the controller's disk is too full to keep inventories",
            "make room on the controller's disk",
        ),
        other => Status::internal(other.to_string()),
    }
}

impl Api {
    /// Takes in what the node of `site` tells. True when the facts are wanted too.
    pub(super) async fn take_inventory(
        &self,
        site: &SiteId,
        told: Option<v1::DeviceInventory>,
    ) -> Result<bool, Status> {
        let told = told.ok_or_else(|| status::invalid("inventory", "an inventory is needed"))?;
        let device: DeviceId = id("inventory.device", &told.device)?;
        if device.site() != *site {
            let text = format!("device {device} does not belong to site {site}");
            return Err(Status::permission_denied(text));
        }
        if told.encoded_len() > INVENTORY_BYTES_MAX || told.drift.len() > DRIFT_MAX {
            let text =
                format!("at most {INVENTORY_BYTES_MAX} bytes and {DRIFT_MAX} differences are taken of one device");
            return Err(status::invalid("inventory", text));
        }
        if told.facts_digest.len() > 32 {
            return Err(status::invalid("inventory.facts_digest", "a digest has 32 bytes"));
        }
        // A node that makes things up must not fill the disk.
        if !self.core.read(|facts| estate::declared(facts, &device).is_some()) {
            return Err(status::not_found("device", device.as_str(), "its site's node has not reported it yet"));
        }
        let inventories = self.inventories.clone();
        blocking(move || inventories.put(&device, told)).await?.map_err(|e| stored(&e))
    }

    /// The newest inventory of a device.
    pub(super) async fn inventory(&self, device: &DeviceId) -> Result<Option<v1::DeviceInventory>, Status> {
        let (inventories, device) = (self.inventories.clone(), device.clone());
        blocking(move || inventories.get(&device)).await?.map_err(|e| stored(&e))
    }

    /// A page of devices with a drift.
    pub(super) async fn drifting(&self, asked: v1::ListDriftRequest) -> Result<v1::ListDriftResponse, Status> {
        let size = page::size(asked.page_size, 100, 1000);
        let after = page::after(&asked.page_token)?.unwrap_or_default();
        let only: Option<SiteId> = (!asked.site.is_empty()).then(|| id("site", &asked.site)).transpose()?;
        let (inventories, core) = (self.inventories.clone(), self.core.clone());
        let found = blocking(move || {
            inventories.drifting(&after, size + 1, &|device| {
                only.as_ref().is_none_or(|only| device.site() == *only)
                    && core.read(|facts| estate::declared(facts, device).is_some())
            })
        });
        let found = found.await?.map_err(|e| stored(&e))?;
        let (devices, next_page_token) = page::cut(found, size, |d: &v1::DeviceInventory| d.device.clone());
        Ok(v1::ListDriftResponse { devices, next_page_token })
    }
}
