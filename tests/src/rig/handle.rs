//! A device as a node comes to it: by what a site file says.

use std::path::Path;

use wardround_node::{config::parse_site_file, device::DeviceHandle};
use wardround_rollout_plans::model::{Detected, Variant};

/// How often a device is asked that could not start its own programs.
const ASKS_MAX: u32 = 10;

/// Asks as a node does, which goes by no answer that tells nothing.
pub trait Asks {
    /// What is detected. A busy machine's Wine sometimes can't start its own `reg.exe` (9009): then it is asked again.
    fn detected(&self, op: &str, variant: &Variant) -> impl Future<Output = Detected> + Send;
}

impl Asks for DeviceHandle {
    async fn detected(&self, op: &str, variant: &Variant) -> Detected {
        let mut found = self.detect(op, variant).await;
        for _ in 1..ASKS_MAX {
            if !matches!(&found, Detected::Unknown { why } if why.contains("ended with 9009")) {
                break;
            }
            found = self.detect(op, variant).await;
        }
        found
    }
}

/// A handle as a node makes it from a site file with this one device. `work` is the node's folder for it.
///
/// # Panics
/// When the site file is refused.
#[must_use]
pub fn handle(work: &Path, platform: &str, transport: &str) -> DeviceHandle {
    handle_with(work, platform, transport, "")
}

/// As [`handle`], with one more line for the device: "write_filter: { kind: ewf }".
///
/// # Panics
/// As [`handle`].
#[must_use]
pub fn handle_with(work: &Path, platform: &str, transport: &str, line: &str) -> DeviceHandle {
    let yaml = format!(
        "site: rx1\ndevices:\n  - name: dev\n    platform: \"{platform}\"\n    transport: {transport}\n    {line}\nsystems: []\n"
    );
    let site = parse_site_file(&yaml, "site.yaml").expect("the site file is good");
    let (id, config) = site.devices.first_key_value().expect("it names a device");
    DeviceHandle::new(id, config, work)
}
