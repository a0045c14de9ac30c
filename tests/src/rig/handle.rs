//! A device as a node comes to it: by what a site file says.

use std::path::Path;

use wardround_node::{config::parse_site_file, device::DeviceHandle};

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
