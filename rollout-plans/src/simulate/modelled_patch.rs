//! A patch for a simulation, when its payloads are not at hand, or when there is none yet.

use wardround_signing::Digest;

use crate::{
    model::{
        Installer, Interpreter, Patch, PatchId, Payload, Plan, Platform, RebootNeed, Severity, Variant, VariantId,
    },
    patch_file::PatchFile,
};

/// Platforms where neither a patch nor the plan names any.
const PLATFORMS: [&str; 2] =
    ["cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*", "cpe:2.3:o:microsoft:windows_server_2003:*:*:*:*:*:*:*:*"];

fn payload(file_name: &str, length: u64) -> Payload {
    Payload { file_name: file_name.to_owned(), digest: Digest::of(b""), length, chunks: Vec::new(), sizes: Vec::new() }
}

/// The patch of a manifest with payloads of these lengths in the order of [`PatchFile::files`], 0 where a file is not there;
/// nothing is hashed. Never to be imported: its digests are none.
#[must_use]
pub fn patch_of_manifest(file: PatchFile, lengths: &[u64]) -> Patch {
    let files = file.files().len();
    file.with((0..files).map(|at| payload("modelled", lengths.get(at).copied().unwrap_or(0))).collect())
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
            reboot: RebootNeed::Always,
            ..Variant::new(
                VariantId::new(&format!("v{at}")).map_err(|e| e.to_string())?,
                vec![platform],
                payload("modelled", 0),
                Installer::Script { interpreter: Interpreter::Cmd },
            )
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
