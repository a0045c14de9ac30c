//! A small hospital estate, and a patch for it.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part of this")]

use wardround_rollout_plans::{
    estate::Estate,
    language::{ParsedPlan, parse_plan},
    model::{Patch, SiteInventory},
};
use wardround_signing::Digest;

/// Windows XP, Server 2003 and a system that no variant is for.
pub(crate) const XP: &str = "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*";
pub(crate) const W2003: &str = "cpe:2.3:o:microsoft:windows_server_2003:-:sp2:*:*:*:*:x86:*";
pub(crate) const W10: &str = "cpe:2.3:o:microsoft:windows_10:1809:*:*:*:*:*:x64:*";

/// A site with `devices` (name, platform, model, ring) and one PACS that needs the first.
pub(crate) fn site(code: &str, region: &str, devices: &[(&str, &str, &str, &str)]) -> SiteInventory {
    let devices: Vec<_> = devices
        .iter()
        .map(|(name, platform, model, ring)| {
            let labels = if ring.is_empty() { serde_json::json!({}) } else { serde_json::json!({ "ring": ring }) };
            serde_json::json!({ "id": format!("{code}/{name}"), "platform": platform, "model": model, "labels": labels })
        })
        .collect();
    let needed: Vec<_> = devices.iter().take(1).map(|d| d["id"].clone()).collect();
    serde_json::from_value(serde_json::json!({
        "site": code,
        "region": region,
        "labels": { "trust": "north" },
        "devices": devices,
        "systems": [{ "id": format!("{code}/pacs"), "kind": "pacs", "devices": needed }],
    }))
    .unwrap()
}

pub(crate) fn estate(sites: impl IntoIterator<Item = SiteInventory>) -> Estate {
    let mut estate = Estate::default();
    sites.into_iter().for_each(|site| estate.put(site));
    estate
}

/// Three sites, seven devices.
pub(crate) fn three_sites() -> Estate {
    estate([
        site(
            "rx1",
            "north",
            &[("ct-01", XP, "ScanMaker CT", "canary"), ("ct-02", XP, "ScanMaker CT", ""), ("w10", W10, "Desk", "")],
        ),
        site("rx2", "north", &[("mr-01", XP, "ScanMaker CT", "canary"), ("lab-01", W2003, "Analyser 9", "")]),
        site("ry1", "south", &[("ct-01", XP, "ScanMaker CT", ""), ("db-01", W2003, "", "")]),
    ])
}

pub(crate) fn patch() -> Patch {
    let variant = |id: &str, product: &str| {
        serde_json::json!({
            "id": id,
            "platforms": [format!("cpe:2.3:o:microsoft:{product}:*:*:*:*:*:*:*:*")],
            "payload": { "file_name": format!("{id}.exe"), "digest": Digest::of(id.as_bytes()), "length": 12_000, "chunks": [Digest::of(id.as_bytes())] },
            "installer": { "technology": "hotfix", "kb": "KB4500331", "switches": [] },
        })
    };
    serde_json::from_value(serde_json::json!({
        "id": "KB4500331",
        "title": "Remote Desktop Services remote code execution",
        "cves": ["CVE-2019-0708"],
        "severity": "critical",
        "guidance": "Wormable. Restart needed.",
        "variants": [variant("xp", "windows_xp"), variant("w2003", "windows_server_2003")],
    }))
    .unwrap()
}

/// A plan from its waves.
pub(crate) fn plan(rest: &str) -> ParsedPlan {
    parse_plan(&format!("name: test\n{rest}"), "plan.yaml").unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>());
    })
}

pub(crate) fn standard() -> ParsedPlan {
    plan(
        "waves:\n  - { name: canary, select: { labels: { ring: canary } }, soak: 8h, gate: { evidence_min: 2, approvals: [clinical] } }\n  - { name: full, select: { remaining: true }, soak: 8h }\n",
    )
}
