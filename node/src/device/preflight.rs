//! What is looked at before a device is touched. Nothing here changes the device, and whatever it does not say counts against
//! the install.

use wardround_rollout_plans::model::{Platform, Variant};

use super::{
    bounded,
    facts::{Facts, facts},
    filter,
    in_use::in_use,
};
use crate::{
    config::DeviceConfig,
    installers::platform_mismatch,
    transports::{Shell, Transport},
};

/// What was found. `None` in a field means that the device could not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// Whether the device answers; else why not.
    pub reachable: Result<(), String>,
    /// Whether it asks for a reboot.
    pub reboot_pending: Option<bool>,
    /// What asks for it, in the registry's words.
    pub pending: String,
    /// Free bytes on its system disk.
    pub free_bytes: Option<u64>,
    /// Why it must not be disturbed now; `None` means that it is free.
    pub in_use: Option<String>,
    /// A sentence when the device is not what it, or the variant, is declared to be.
    pub platform: Option<String>,
    /// A sentence when a write filter would throw the patch away, or can't be asked.
    pub write_filter: Option<String>,
}

pub(super) async fn preflight(
    config: &DeviceConfig,
    transport: &Transport,
    variant: &Variant,
    confirmed: bool,
) -> Preflight {
    let mut found = Preflight {
        reachable: transport.ping().await.map_err(|error| bounded(&error.to_string())),
        reboot_pending: None,
        pending: String::new(),
        free_bytes: None,
        in_use: None,
        platform: None,
        write_filter: None,
    };
    if found.reachable.is_err() {
        return found;
    }
    let facts = match facts(transport).await {
        Ok(facts) => facts,
        Err(error) => {
            found.reachable = Err(bounded(&error.to_string()));
            return found;
        }
    };
    found.reboot_pending = facts.pending.as_ref().map(|pending| !pending.is_empty());
    found.pending = facts.pending.iter().flatten().copied().collect::<Vec<_>>().join(", ");
    found.free_bytes = facts.free_bytes;
    found.platform = mismatch(&facts, config, variant);
    if transport.shell() == Shell::Cmd {
        found.write_filter = filter::objection(transport, config.write_filter, &facts.filters).await;
    }
    found.in_use = in_use(transport, config.in_use.as_ref(), confirmed).await;
    found
}

fn mismatch(facts: &Facts, config: &DeviceConfig, variant: &Variant) -> Option<String> {
    match (&facts.windows, &facts.claims) {
        (Some(windows), _) => {
            let declared = std::slice::from_ref(&config.platform);
            platform_mismatch(windows, declared, false, "the site file")
                .or_else(|| platform_mismatch(windows, &variant.platforms, true, "the variant"))
        }
        (None, Some(said)) => said_mismatch(said, config, variant),
        (None, None) => {
            tracing::info!("the device does not say which platform it is");
            None
        }
    }
}

/// A sandbox may say what it stands for, in a file `platform` with its CPE name.
fn said_mismatch(said: &str, config: &DeviceConfig, variant: &Variant) -> Option<String> {
    let said = match Platform::new(said) {
        Ok(said) => said,
        Err(error) => return Some(format!("the device's platform file is not understood: {error}")),
    };
    if config.platform.matches(&said) && variant.platforms.iter().any(|pattern| pattern.matches(&said)) {
        return None;
    }
    Some(format!("the device says it is {said}, which the site file or the variant does not name"))
}
