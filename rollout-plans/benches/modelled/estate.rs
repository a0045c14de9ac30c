//! What the modelled estate is made of.

use wardround_rollout_plans::model::{Patch, SiteInventory};
use wardround_signing::Digest;

/// A site's clinical systems, each with one probe and its answer.
pub(super) const PROBES: [(&str, &str, &str); 2] = [
    ("pacs", "dicom 10.4.0.17:104 C-ECHO", "status 0x0000 (success)"),
    ("viewer", "http 10.4.0.18:8080/health", "200 OK"),
];

/// Kinds of devices, with model and platform.
const KINDS: [(&str, &str, &str); 6] = [
    ("ct", "ScanMaker CT 64", "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*"),
    ("mr", "Magnet 1.5T", "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*"),
    ("us", "SonoLine 4", "cpe:2.3:o:microsoft:windows_xp:-:sp2:*:*:professional:*:x86:*"),
    ("lab", "Analyser 9", "cpe:2.3:o:microsoft:windows_server_2003:-:sp2:*:*:*:*:x86:*"),
    ("view", "", "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*"),
    ("pump", "Infusor 200", "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*"),
];

/// Site number `n` with so many devices, of which two stand in for each other.
pub(super) fn inventory(n: usize, devices: usize) -> SiteInventory {
    let code = format!("rx{n:05}");
    let list: Vec<serde_json::Value> = (0..devices)
        .map(|d| {
            let (kind, model, platform) = KINDS[d % KINDS.len()];
            let mut device = serde_json::json!({
                "id": format!("{code}/{kind}-{d:02}"), "platform": platform, "model": model,
                "labels": { "ward": format!("w{}", d % 4) },
            });
            if d < 2 {
                device["group"] = "imaging".into();
            }
            device
        })
        .collect();
    let needed: Vec<_> = list.iter().take(2).map(|d| d["id"].clone()).collect();
    let systems: Vec<_> = PROBES
        .iter()
        .map(|(name, ..)| serde_json::json!({ "id": format!("{code}/{name}"), "kind": name, "devices": needed }))
        .collect();
    serde_json::from_value(serde_json::json!({
        "site": code,
        "display_name": format!("Hospital {n}"),
        "region": format!("region-{}", n % 42),
        "labels": { "trust": format!("trust-{}", n % 200) },
        "groups": { "imaging": 1 },
        "devices": list,
        "systems": systems,
    }))
    .unwrap()
}

/// A patch with a variant for each platform of the estate.
pub(super) fn patch() -> Patch {
    let variant = |id: &str, product: &str| {
        serde_json::json!({
            "id": id,
            "platforms": [format!("cpe:2.3:o:microsoft:{product}:*:*:*:*:*:*:*:*")],
            "payload": {
                "file_name": format!("{id}.exe"), "digest": Digest::of(id.as_bytes()), "length": 12_000,
                "chunks": [Digest::of(id.as_bytes())],
            },
            "installer": { "technology": "hotfix", "kb": "KB4500331", "switches": [] },
        })
    };
    serde_json::from_value(serde_json::json!({
        "id": "KB4500331",
        "title": "Remote Desktop Services remote code execution",
        "severity": "critical",
        "variants": [variant("xp-x86", "windows_xp"), variant("w2003-x86", "windows_server_2003")],
    }))
    .unwrap()
}
