//! The quickstart's estate: six sites with sandbox devices, and beside each site's devices a viewer that uses them.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use wardround_rollout_plans::model::SiteId;

use super::{
    render::{Function, Settings},
    viewer::SETTINGS,
};
use crate::failure::Failure;

pub(super) const XP: &str = "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*";
pub(super) const SERVER_2003: &str = "cpe:2.3:o:microsoft:windows_server_2003:r2:sp2:*:*:*:*:x86:*";
pub(super) const SEVEN: &str = "cpe:2.3:o:microsoft:windows_7:-:sp1:*:*:professional:*:x64:*";

/// A site of the quickstart.
pub(super) struct SitePlan {
    pub(super) id: &'static str,
    display_name: &'static str,
    region: &'static str,
    devices: &'static [DevicePlan],
}

/// A device of the quickstart.
struct DevicePlan {
    name: &'static str,
    platform: &'static str,
    model: &'static str,
    /// Label `ring`; empty means none, so that the last wave takes it.
    ring: &'static str,
}

const fn device(name: &'static str, platform: &'static str, model: &'static str, ring: &'static str) -> DevicePlan {
    DevicePlan { name, platform, model, ring }
}

/// The canaries are an XP and a 7; Server 2003 first appears in the pilot. That is the gap through which the second
/// patch slips, and the preview says so.
pub(super) const SITES: [SitePlan; 6] = [
    SitePlan {
        id: "rx1",
        display_name: "St Anne's",
        region: "north",
        devices: &[
            device("ct-console", XP, "Axiom CT 16", "canary"),
            device("reading-1", SEVEN, "Lightbox 5", ""),
            device("reading-2", SEVEN, "Lightbox 5", ""),
        ],
    },
    SitePlan {
        id: "rx2",
        display_name: "Riverside",
        region: "north",
        devices: &[
            device("reading-1", SEVEN, "Lightbox 5", "canary"),
            device("archive", SERVER_2003, "Vault 3", "pilot"),
        ],
    },
    SitePlan {
        id: "ry1",
        display_name: "Moorfield",
        region: "east",
        devices: &[device("us-cart", XP, "Sonara U2", "pilot"), device("reading-1", SEVEN, "Lightbox 5", "pilot")],
    },
    SitePlan {
        id: "ry2",
        display_name: "Harbour",
        region: "east",
        devices: &[device("archive", SERVER_2003, "Vault 3", "pilot"), device("ct-console", XP, "Axiom CT 16", "")],
    },
    SitePlan {
        id: "rz1",
        display_name: "Castle Hill",
        region: "south",
        devices: &[
            device("xray-1", XP, "Rontgen X1", ""),
            device("xray-2", XP, "Rontgen X1", ""),
            device("reading-1", SEVEN, "Lightbox 5", ""),
        ],
    },
    SitePlan {
        id: "rz2",
        display_name: "Abbey",
        region: "south",
        devices: &[device("mammo", SEVEN, "Clara M", ""), device("archive", SERVER_2003, "Vault 3", "")],
    },
];

/// What the devices come with.
pub(super) fn factory() -> Settings {
    Settings::new("2.0", Function::Linear, 2048, 4096)
}

/// A site as it stands on disk.
pub(super) struct Site {
    pub(super) id: SiteId,
    pub(super) state: PathBuf,
    pub(super) file: PathBuf,
    /// Where its viewer listens.
    pub(super) viewer: SocketAddr,
    /// Names and roots.
    pub(super) devices: Vec<(String, PathBuf)>,
}

/// Makes the folders and files of every site.
pub(super) fn build(home: &Path, viewers: &[SocketAddr]) -> Result<Vec<Site>, Failure> {
    SITES.iter().zip(viewers).map(|(plan, viewer)| plan.build(&home.join("sites").join(plan.id), *viewer)).collect()
}

impl SitePlan {
    fn build(&self, folder: &Path, viewer: SocketAddr) -> Result<Site, Failure> {
        let id = SiteId::new(self.id).map_err(|e| Failure::new(e.to_string()))?;
        let mut devices = Vec::new();
        for device in self.devices {
            let root = folder.join("devices").join(device.name);
            write(&root.join(SETTINGS), &factory().to_string())?;
            // The node asks a sandbox what it is, as it asks a real machine.
            write(&root.join("platform"), &format!("{}\n", device.platform))?;
            devices.push((device.name.to_owned(), root));
        }
        let file = folder.join("site.yaml");
        write(&file, &self.yaml(viewer, &devices))?;
        Ok(Site { id, state: folder.join("node"), file, viewer, devices })
    }

    fn yaml(&self, viewer: SocketAddr, devices: &[(String, PathBuf)]) -> String {
        let mut text = format!(
            "# What the node of this site knows: its devices, and the clinical systems that need them.\n\
             site: {}\ndisplay_name: {:?}\nregion: {}\ntime_zone: Europe/London\ndevices:\n",
            self.id, self.display_name, self.region
        );
        for (plan, (name, root)) in self.devices.iter().zip(devices) {
            let labels = if plan.ring.is_empty() { "{}".to_owned() } else { format!("{{ ring: {} }}", plan.ring) };
            // Writing to a String can't fail.
            let _ = write!(
                text,
                "  - name: {name}\n    platform: {:?}\n    model: {:?}\n    labels: {labels}\n    \
                 transport: {{ kind: local, root: {:?}, shell: sh }}\n",
                plan.platform,
                plan.model,
                root.display().to_string()
            );
        }
        let names: Vec<&str> = devices.iter().map(|(name, _)| name.as_str()).collect();
        let _ = write!(
            text,
            "systems:\n  - name: viewer\n    kind: viewer\n    devices: [{}]\n    probes:\n      \
             - {{ kind: http, url: \"http://{viewer}/health\", status: 200, timeout: 2s }}\n",
            names.join(", ")
        );
        text
    }
}

/// Writes a file and the folders above it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).map_err(|e| Failure::file("make", folder, &e))?;
    fs::write(path, text).map_err(|e| Failure::file("write", path, &e))
}
