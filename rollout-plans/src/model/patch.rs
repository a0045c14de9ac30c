//! What is released: a patch and, per platform, one variant.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Document};

use super::{Detection, Installer, NtVersion, PatchId, Platform, Sign, VariantId};

/// Chunk size of payloads that do not say how long each chunk is, bytes.
pub const CHUNK_BYTES: u64 = 256 * 1024;
/// Largest chunk, bytes: what one message may carry.
pub const CHUNK_BYTES_MAX: u32 = 1024 * 1024;
/// Most chunks of one payload: with digest and length each takes some 85 bytes of the signed document, so that the longest
/// (some 33,000) fit in, and one that is cut unusually small still does.
pub const CHUNKS_MAX: usize = 65_536;
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
    /// A 2 GiB payload lists some 33,000 chunks of 85 bytes each; room for three such variants.
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
    /// SHA-256 of each chunk's plain bytes, in order.
    pub chunks: Vec<Digest>,
    /// Bytes of each chunk, in order. None given: each has [`CHUNK_BYTES`], the last what is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<u32>,
}

/// One chunk in its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// SHA-256 of its plain bytes.
    pub digest: Digest,
    /// Where it begins, bytes.
    pub offset: u64,
    /// Its plain bytes.
    pub bytes: u32,
}

impl Payload {
    /// Its chunks, each with its place: they cover the payload without gap or overlap.
    ///
    /// # Errors
    /// One sentence when length, chunks and sizes do not fit each other, or are over the limits.
    pub fn spans(&self) -> Result<Vec<Span>, String> {
        if self.length == 0 {
            return Err("the payload is empty".to_owned());
        }
        if self.length > PAYLOAD_BYTES_MAX {
            return Err(format!("the payload has {} bytes; at most {PAYLOAD_BYTES_MAX} are allowed", self.length));
        }
        let listed = self.chunks.len();
        if listed > CHUNKS_MAX {
            return Err(format!("{listed} chunks are listed; at most {CHUNKS_MAX} are allowed"));
        }
        let fixed = self.length.div_ceil(CHUNK_BYTES);
        if self.sizes.is_empty() && listed as u64 != fixed {
            return Err(format!("{listed} chunks are listed; {} bytes make {fixed} of {CHUNK_BYTES}", self.length));
        }
        if !self.sizes.is_empty() && self.sizes.len() != listed {
            return Err(format!("{listed} chunks are listed, with {} sizes", self.sizes.len()));
        }
        if let Some(size) = self.sizes.iter().find(|size| !(1..=CHUNK_BYTES_MAX).contains(*size)) {
            return Err(format!("a chunk has {size} bytes; 1 to {CHUNK_BYTES_MAX} are allowed"));
        }
        let mut offset = 0_u64;
        let mut spans = Vec::with_capacity(listed);
        for (index, digest) in self.chunks.iter().enumerate() {
            let left = self.length.saturating_sub(offset);
            let fixed = u32::try_from(left.min(CHUNK_BYTES)).unwrap_or(CHUNK_BYTES_MAX);
            let bytes = self.sizes.get(index).copied().unwrap_or(fixed);
            spans.push(Span { digest: *digest, offset, bytes });
            offset += u64::from(bytes);
        }
        if offset != self.length {
            return Err(format!("the chunks have {offset} bytes; the payload has {}", self.length));
        }
        if let [only] = spans.as_slice()
            && only.digest != self.digest
        {
            return Err("the only chunk has another digest than the payload that it is".to_owned());
        }
        Ok(spans)
    }
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
