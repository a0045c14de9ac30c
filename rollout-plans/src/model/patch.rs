//! What is released: a patch and, per platform, one variant.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Document};

use super::{Detection, Installer, NtVersion, PatchId, Platform, Sign, VariantId};

/// Chunk size of payloads, bytes. 64 to 256 KiB streamed fastest (reference, stores).
pub const CHUNK_BYTES: u64 = 256 * 1024;
/// Largest payload, bytes (DESIGN, "Scale to design for").
pub const PAYLOAD_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// A patch as people sign it. Immutable; identified by the SHA-256 of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// Id, usually the KB number.
    pub id: PatchId,
    /// One line for people.
    pub title: String,
    /// CVE ids that it closes.
    #[serde(default)]
    pub cves: Vec<String>,
    /// How bad it is to go without.
    pub severity: Severity,
    /// What people should know before they sign.
    #[serde(default)]
    pub guidance: String,
    /// Patches that this one replaces.
    #[serde(default)]
    pub supersedes: Vec<PatchId>,
    /// Patches that must be on a device before this one. Nodes look for themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<Prerequisite>,
    /// At least one; platforms must not overlap.
    pub variants: Vec<Variant>,
}

impl Document for Patch {
    const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.patch.v1+json";
    /// A 2 GiB payload lists 8192 chunks of 75 bytes each; room for a handful of such variants.
    const BYTES_MAX: usize = 8 * 1024 * 1024;
}

impl Patch {
    /// The patches that must be there before it.
    #[must_use]
    pub fn required(&self) -> Vec<PatchId> {
        self.requires.iter().map(|one| one.patch.clone()).collect()
    }

    /// The variant with this id.
    #[must_use]
    pub fn variant(&self, id: &VariantId) -> Option<&Variant> {
        self.variants.iter().find(|v| v.id == *id)
    }

    /// The first variant whose platform pattern matches, if any. Variants that overlap are refused at import, so that there is
    /// no other; a resolution asks [`Patch::also_fits`] besides.
    #[must_use]
    pub fn variant_for(&self, platform: &Platform) -> Option<&Variant> {
        self.variants_for(platform).next()
    }

    /// A second variant for the same platform: which one a device gets would be chance.
    #[must_use]
    pub fn also_fits(&self, platform: &Platform) -> Option<&Variant> {
        self.variants_for(platform).nth(1)
    }

    fn variants_for(&self, platform: &Platform) -> impl Iterator<Item = &Variant> {
        self.variants.iter().filter(|v| v.platforms.iter().any(|p| p.matches(platform)))
    }
}

/// A patch that must be on a device before another one, with what shows that it is: the node needs no other document, and a
/// controller can't say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prerequisite {
    /// Which.
    pub patch: PatchId,
    /// What shows that it is there.
    pub sign: Sign,
}

/// Severity, as CVSS 3.1 names it (section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// 0.1 to 3.9.
    Low,
    /// 4.0 to 6.9.
    Medium,
    /// 7.0 to 8.9.
    High,
    /// 9.0 to 10.0.
    Critical,
}

/// A patch's payload and handling for one set of platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Unique within the patch.
    pub id: VariantId,
    /// CPE 2.3 patterns of the platforms it is for.
    pub platforms: Vec<Platform>,
    /// The file to install.
    pub payload: Payload,
    /// How to install, detect and uninstall it.
    pub installer: Installer,
    /// What shows that it is there, beside the sign that the installer leaves.
    #[serde(default, skip_serializing_if = "Detection::is_empty")]
    pub detection: Detection,
    /// Whether the device must reboot.
    #[serde(default)]
    pub reboot: RebootNeed,
    /// The package that it replaces: taking back puts this one on again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Payload>,
    /// Why it is accepted that the package can't be uninstalled. Both roles sign it with the patch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub irreversible: Option<String>,
}

impl Variant {
    /// A variant that is shown by its installer's own sign, and reboots when it is asked to.
    #[must_use]
    pub fn new(id: VariantId, platforms: Vec<Platform>, payload: Payload, installer: Installer) -> Self {
        let (detection, reboot) = (Detection::default(), RebootNeed::default());
        Self { id, platforms, payload, installer, detection, reboot, previous: None, irreversible: None }
    }

    /// Everything that is fetched for it: its payload, and the package that it replaces.
    pub fn payloads(&self) -> impl Iterator<Item = &Payload> {
        std::iter::once(&self.payload).chain(&self.previous)
    }

    /// The NT versions of its platforms; empty where none of them is a Windows that the table knows.
    #[must_use]
    pub fn nt_versions(&self) -> BTreeSet<NtVersion> {
        self.platforms.iter().flat_map(NtVersion::of).collect()
    }
}

/// A payload, content-addressed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// File name on the device; no path separators.
    pub file_name: String,
    /// SHA-256 of the whole.
    pub digest: Digest,
    /// Bytes.
    pub length: u64,
    /// SHA-256 of each chunk of [`CHUNK_BYTES`], in order; the last may be shorter.
    pub chunks: Vec<Digest>,
}

/// Whether an install is followed by a reboot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RebootNeed {
    /// Only when the exit code or a pending-reboot key asks for it.
    #[default]
    WhenAsked,
    /// Always.
    Always,
}
