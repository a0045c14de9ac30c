//! The manifest from which a release manager imports a patch: a [`Patch`] whose payloads are still files.
//!
//! [`parse_patch_file`] reads it with the same care as a plan; the caller hashes the files that it names and hands the
//! payloads to [`PatchFile::into_patch`]. [`lint_patch`] checks a finished patch, whoever made it.

mod lint;
mod prerequisites;
mod read;
mod rules;
pub mod safe;
mod technology;

pub use lint::lint_patch;
pub use rules::uninstalls;

use crate::{
    language::{Problem, reader::Reader, tree},
    model::{
        Detection, Installer, Patch, PatchId, Payload, Platform, Prerequisite, RebootNeed, Severity, Variant, VariantId,
    },
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
    /// What is installed.
    pub payload: PayloadFile,
    /// How to install, detect and uninstall it.
    pub installer: Installer,
    /// What shows that it is there, beside the sign that the installer leaves.
    pub detection: Detection,
    /// Whether the device must reboot.
    pub reboot: RebootNeed,
    /// The package that it replaces.
    pub previous: Option<PayloadFile>,
    /// Why it is accepted that it can't be uninstalled.
    pub irreversible: Option<String>,
}

/// A payload that is still a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayloadFile {
    /// Path, relative to the manifest's folder and below it; parts are separated by `/`.
    pub file: String,
    /// Name on the device.
    pub name: String,
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
    /// The files that it names, in the order in which [`PatchFile::into_patch`] wants their payloads.
    #[must_use]
    pub fn files(&self) -> Vec<&PayloadFile> {
        self.variants.iter().flat_map(|variant| std::iter::once(&variant.payload).chain(&variant.previous)).collect()
    }

    /// The patch, from one payload per file in the order of [`PatchFile::files`]. Each payload takes the name of its file.
    ///
    /// # Errors
    /// What [`lint_patch`] finds, or a number of payloads that does not fit.
    pub fn into_patch(self, payloads: Vec<Payload>) -> Result<Patch, Vec<String>> {
        let wanted = self.files().len();
        if payloads.len() != wanted {
            return Err(vec![format!("{} payloads for {wanted} files", payloads.len())]);
        }
        let patch = self.with(payloads);
        let faults = lint_patch(&patch);
        if faults.is_empty() { Ok(patch) } else { Err(faults) }
    }

    /// As [`PatchFile::into_patch`], unchecked: variants without a payload are left out.
    pub(crate) fn with(self, payloads: Vec<Payload>) -> Patch {
        let mut payloads = payloads.into_iter();
        let mut named = |file: PayloadFile| payloads.next().map(|payload| Payload { file_name: file.name, ..payload });
        let variants = self.variants.into_iter().filter_map(|variant| {
            Some(Variant {
                id: variant.id,
                platforms: variant.platforms,
                payload: named(variant.payload)?,
                installer: variant.installer,
                detection: variant.detection,
                reboot: variant.reboot,
                previous: variant.previous.and_then(&mut named),
                irreversible: variant.irreversible,
            })
        });
        let variants = variants.collect();
        Patch {
            id: self.id,
            title: self.title,
            cves: self.cves,
            severity: self.severity,
            guidance: self.guidance,
            supersedes: self.supersedes,
            requires: self.requires,
            variants,
        }
    }
}
