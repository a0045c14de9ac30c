//! A patch for a simulation, when its payloads are not at hand, or when there is none yet.

use wardround_signing::Digest;

use crate::{
    model::{
        Installer, Interpreter, Patch, PatchId, Payload, Plan, Platform, RebootNeed, Severity, Variant, VariantId,
    },
    patch_file::{PatchFile, VariantFile},
};

/// Platforms where neither a patch nor the plan names any.
const PLATFORMS: [&str; 2] =
    ["cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*", "cpe:2.3:o:microsoft:windows_server_2003:*:*:*:*:*:*:*:*"];

fn payload(file_name: &str, length: u64) -> Payload {
    Payload { file_name: file_name.to_owned(), digest: Digest::of(b""), length, chunks: Vec::new(), sizes: Vec::new() }
}

/// The patch of a manifest with payloads of these lengths, 0 where a file is not there; nothing is hashed. Never to be
/// imported: its digests are none.
#[must_use]
pub fn patch_of_manifest(file: PatchFile, lengths: &[u64]) -> Patch {
    let variant = |(at, v): (usize, VariantFile)| Variant {
        id: v.id,
        platforms: v.platforms,
        payload: payload(&v.file_name, lengths.get(at).copied().unwrap_or(0)),
        installer: v.installer,
        reboot: v.reboot,
    };
    Patch {
        id: file.id,
        title: file.title,
        cves: file.cves,
        severity: file.severity,
        guidance: file.guidance,
        supersedes: file.supersedes,
        requires: file.requires,
        variants: file.variants.into_iter().enumerate().map(variant).collect(),
    }
}

/// Some patch that the plan could be for: a variant for each platform that the plan admits, and a restart.
///
/// # Errors
/// A sentence when a platform makes no variant.
pub fn some_patch(plan: &Plan) -> Result<Patch, String> {
    let mut platforms = plan.eligible.platforms.clone();
    if platforms.is_empty() {
        for text in PLATFORMS {
            platforms.push(Platform::new(text).map_err(|e| e.to_string())?);
        }
    }
    let variant = |(at, platform): (usize, Platform)| {
        Ok(Variant {
            id: VariantId::new(&format!("v{at}")).map_err(|e| e.to_string())?,
            platforms: vec![platform],
            payload: payload("modelled", 0),
            installer: Installer::Script { interpreter: Interpreter::Cmd },
            reboot: RebootNeed::Always,
        })
    };
    let variants = platforms.into_iter().enumerate().map(variant).collect::<Result<Vec<_>, String>>()?;
    let id = plan.patch.clone().map_or_else(|| PatchId::new("modelled").map_err(|e| e.to_string()), Ok)?;
    Ok(Patch {
        id,
        title: "a modelled patch".to_owned(),
        cves: Vec::new(),
        severity: Severity::High,
        guidance: String::new(),
        supersedes: Vec::new(),
        requires: Vec::new(),
        variants,
    })
}
