//! The manifest from which a release manager imports a patch: a [`Patch`] whose payloads are still files.
//!
//! [`parse_patch_file`] reads it with the same care as a plan; the caller hashes the files that it names and hands the
//! payloads to [`PatchFile::into_patch`]. [`lint_patch`] checks a finished patch, whoever made it.

mod lint;
mod prerequisites;
mod read;
pub mod safe;

pub use lint::lint_patch;

use crate::{
    language::{Problem, reader::Reader, tree},
    model::{Installer, Patch, PatchId, Payload, Platform, Prerequisite, RebootNeed, Severity, Variant, VariantId},
};

/// A patch manifest as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchFile {
    /// Id, usually the KB number.
    pub id: PatchId,
    /// One line for people.
    pub title: String,
    /// CVE ids that it closes.
    pub cves: Vec<String>,
    /// How bad it is to go without.
    pub severity: Severity,
    /// What people should know before they sign.
    pub guidance: String,
    /// Patches that this one replaces.
    pub supersedes: Vec<PatchId>,
    /// Patches that must be there before it.
    pub requires: Vec<Prerequisite>,
    /// At least one.
    pub variants: Vec<VariantFile>,
}

/// A variant whose payload is a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariantFile {
    /// Unique within the patch.
    pub id: VariantId,
    /// CPE 2.3 patterns of the platforms it is for.
    pub platforms: Vec<Platform>,
    /// Path of the payload, relative to the manifest's folder and below it; parts are separated by `/`.
    pub file: String,
    /// Name on the device.
    pub file_name: String,
    /// How to install, detect and uninstall it.
    pub installer: Installer,
    /// Whether the device must reboot.
    pub reboot: RebootNeed,
}

/// Reads and checks a patch manifest. The payload files are not touched.
///
/// # Errors
/// All problems found, in order of lines.
pub fn parse_patch_file(yaml: &str, file_name: &str) -> Result<PatchFile, Vec<Problem>> {
    let root = tree::read(yaml, file_name).map_err(|problem| vec![problem])?;
    let mut reader = Reader::new(file_name);
    let patch = read::patch(&mut reader, &root);
    if let Some(patch) = &patch {
        read::check(&mut reader, patch);
    }
    let (_, problems) = reader.finish();
    patch.filter(|_| problems.is_empty()).ok_or(problems)
}

impl PatchFile {
    /// The patch, from one payload per variant in the order of [`PatchFile::variants`]. Each payload takes the file
    /// name of its variant.
    ///
    /// # Errors
    /// What [`lint_patch`] finds, or a number of payloads that does not fit.
    pub fn into_patch(self, payloads: Vec<Payload>) -> Result<Patch, Vec<String>> {
        if payloads.len() != self.variants.len() {
            return Err(vec![format!("{} payloads for {} variants", payloads.len(), self.variants.len())]);
        }
        let variants = self
            .variants
            .into_iter()
            .zip(payloads)
            .map(|(variant, payload)| Variant {
                id: variant.id,
                platforms: variant.platforms,
                payload: Payload { file_name: variant.file_name, ..payload },
                installer: variant.installer,
                reboot: variant.reboot,
            })
            .collect();
        let patch = Patch {
            id: self.id,
            title: self.title,
            cves: self.cves,
            severity: self.severity,
            guidance: self.guidance,
            supersedes: self.supersedes,
            requires: self.requires,
            variants,
        };
        let faults = lint_patch(&patch);
        if faults.is_empty() { Ok(patch) } else { Err(faults) }
    }
}
