//! Metadata as it is written, signed and read. Holding a [`Signed`] proves nothing; see [`super::Images`] and
//! [`super::Standing`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Moment, RoleName, TufError, TufKey, TufKeyId, canonical};
use crate::{Digest, Signer};

/// Specification that this metadata follows.
pub const SPEC_VERSION: &str = "1.0.34";
/// Most signatures on one file; verifying costs the verifier, not the sender.
pub const SIGNATURES_MAX: usize = 64;
/// Largest version: JSON readers of other languages keep integers exactly up to 2^53.
pub const VERSION_MAX: u64 = 1 << 53;

/// Members that this program does not know; they are kept, since a signature covers them.
pub type Unknown = BTreeMap<String, Value>;

/// What all four kinds of file have.
pub trait Metadata: Serialize + DeserializeOwned + Clone {
    /// The value of `_type`.
    const TYPE: &'static str;
    /// The common members.
    fn head(&self) -> &Head;
    /// The common members.
    fn head_mut(&mut self) -> &mut Head;
}

/// The common members of every file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Kind of file.
    #[serde(rename = "_type")]
    pub kind: String,
    /// The specification's version, 1.x.
    pub spec_version: String,
    /// Rises by one with every change.
    pub version: u64,
    /// It counts until then.
    pub expires: Moment,
}

impl Head {
    pub(super) fn first(kind: &str, expires: Moment) -> Self {
        Self { kind: kind.to_owned(), spec_version: SPEC_VERSION.to_owned(), version: 1, expires }
    }
}

/// Keys and threshold of a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleKeys {
    /// Ids in the `keys` beside it.
    pub keyids: Vec<TufKeyId>,
    /// How many of them must sign.
    pub threshold: u64,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `root.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Common members.
    #[serde(flatten)]
    pub head: Head,
    /// File names carry versions, so that a reader never sees half of a publication.
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// All keys.
    pub keys: BTreeMap<TufKeyId, TufKey>,
    /// Role by name.
    pub roles: BTreeMap<String, RoleKeys>,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A pinned file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Its version.
    pub version: u64,
    /// Its length, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Its hashes by algorithm, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hashes: Option<BTreeMap<String, String>>,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `snapshot.json`: pins every targets file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Common members.
    #[serde(flatten)]
    pub head: Head,
    /// Pins by file name.
    pub meta: BTreeMap<String, Pin>,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `timestamp.json`: pins the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// Common members.
    #[serde(flatten)]
    pub head: Head,
    /// Pins by file name.
    pub meta: BTreeMap<String, Pin>,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A target: a document that people signed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Bytes.
    pub length: u64,
    /// By algorithm, hex.
    pub hashes: BTreeMap<String, String>,
    /// `{"wardround": {"kind": "patch" | "rollout"}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<Value>,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// A delegation's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Name.
    pub name: String,
    /// Keys and threshold.
    #[serde(flatten)]
    pub keys: DelegationKeys,
    /// A search would end here.
    #[serde(default)]
    pub terminating: bool,
    /// Path patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// Keys and threshold of a delegation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationKeys {
    /// Ids in the `keys` beside it.
    pub keyids: Vec<TufKeyId>,
    /// How many of them must sign.
    pub threshold: u64,
}

/// The delegations of `targets.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// All keys.
    pub keys: BTreeMap<TufKeyId, TufKey>,
    /// In order.
    #[serde(default)]
    pub roles: Vec<Delegation>,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `targets.json`, `release.json`, `clinical.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Targets {
    /// Common members.
    #[serde(flatten)]
    pub head: Head,
    /// By path.
    pub targets: BTreeMap<String, Target>,
    /// Only in `targets.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

macro_rules! kinds {
    ($($name:ident $kind:literal),*) => {$(
        impl Metadata for $name {
            const TYPE: &'static str = $kind;
            fn head(&self) -> &Head {
                &self.head
            }
            fn head_mut(&mut self) -> &mut Head {
                &mut self.head
            }
        }
    )*};
}
kinds!(Root "root", Snapshot "snapshot", Timestamp "timestamp", Targets "targets");

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataSignature {
    /// Claimed key.
    pub keyid: TufKeyId,
    /// Hex.
    pub sig: String,
    /// Kept as it is.
    #[serde(flatten)]
    pub unknown: Unknown,
}

#[derive(Serialize, Deserialize)]
struct Form {
    signatures: Vec<MetadataSignature>,
    signed: Value,
}

/// Metadata with signatures over its canonical form, which is kept exactly as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed<M> {
    metadata: M,
    raw: Value,
    canonical: Vec<u8>,
    signatures: Vec<MetadataSignature>,
}

impl<M: Metadata> Signed<M> {
    /// Without signatures.
    ///
    /// # Errors
    /// [`TufError::Form`] when an unknown member holds a number that has no canonical form.
    pub fn new(metadata: M) -> Result<Self, TufError> {
        let raw = serde_json::to_value(&metadata).map_err(|e| form(M::TYPE, e))?;
        let canonical = canonical(&raw).map_err(|e| form(M::TYPE, e))?;
        Ok(Self { metadata, raw, canonical, signatures: Vec::new() })
    }

    /// Reads the file of `role`. Nothing is verified.
    ///
    /// # Errors
    /// [`TufError::TooLarge`], [`TufError::Form`].
    pub fn parse(role: RoleName, bytes: &[u8]) -> Result<Self, TufError> {
        if bytes.len() as u64 > role.bytes_max() {
            return Err(TufError::TooLarge { what: role.file(), bytes: bytes.len() as u64, max: role.bytes_max() });
        }
        let fail = |why: String| TufError::Form { what: role.file(), why };
        // By way of `Value`, as the client reads it: of a member that stands twice both believe the last.
        let value: Value = serde_json::from_slice(bytes).map_err(|e| fail(e.to_string()))?;
        let Form { signatures, signed: raw } = Form::deserialize(value).map_err(|e| fail(e.to_string()))?;
        let metadata = M::deserialize(&raw).map_err(|e| fail(e.to_string()))?;
        let head = metadata.head();
        if head.kind != M::TYPE {
            return Err(fail(format!("its type is {:?}, not {:?}", head.kind, M::TYPE)));
        }
        if head.spec_version.split('.').next() != Some("1") {
            return Err(fail(format!("it follows TUF {:?}; this program reads 1.x", head.spec_version)));
        }
        if head.version == 0 || head.version > VERSION_MAX {
            return Err(fail(format!("its version is {}; 1 to {VERSION_MAX} are possible", head.version)));
        }
        if signatures.len() > SIGNATURES_MAX {
            return Err(fail(format!("it carries {} signatures; at most {SIGNATURES_MAX} are read", signatures.len())));
        }
        let canonical = canonical(&raw).map_err(|e| fail(e.to_string()))?;
        Ok(Self { metadata, raw, canonical, signatures })
    }

    /// The metadata.
    #[must_use]
    pub fn metadata(&self) -> &M {
        &self.metadata
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.metadata.head().version
    }

    /// Its expiry.
    #[must_use]
    pub fn expires(&self) -> Moment {
        self.metadata.head().expires
    }

    /// The bytes under the signatures: what an air-gapped machine signs.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// SHA-256 of [`Signed::canonical`]: the same whatever signatures it carries, for people to compare aloud.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical)
    }

    /// The signatures, unverified.
    #[must_use]
    pub fn signatures(&self) -> &[MetadataSignature] {
        &self.signatures
    }

    /// Adds a signature, replacing one of the same key.
    ///
    /// # Errors
    /// [`TufError::Sign`] when the signer does not sign, or signs something else.
    pub fn sign(&mut self, signer: &dyn Signer) -> Result<(), TufError> {
        let public = signer.public();
        let signature = signer.sign(&self.canonical)?;
        self.attach(&TufKey::new(public, None), &signature)
    }

    /// Adds a signature that another machine made over [`Signed::canonical`], replacing one of the same key.
    ///
    /// # Errors
    /// [`TufError::Sign`] when it is not the signature of `key` over this metadata.
    pub fn attach(&mut self, key: &TufKey, signature: &[u8]) -> Result<(), TufError> {
        let keyid = key.id();
        // A faulty device must be noticed here, not by every node; a wrong signature can also give the key away.
        if !key.public_key().is_ok_and(|public| public.verifies(&self.canonical, signature)) {
            return Err(TufError::Sign(crate::SignError {
                key: keyid.short().to_owned(),
                why: "what it returned is not its signature over this metadata".to_owned(),
            }));
        }
        self.signatures.retain(|s| s.keyid != keyid);
        self.signatures.push(MetadataSignature { keyid, sig: hex::encode(signature), unknown: Unknown::new() });
        Ok(())
    }

    /// Takes over the other copy's signatures, where both are of the same metadata.
    ///
    /// # Errors
    /// [`TufError::Form`] when the other copy says something else.
    pub fn merge(&mut self, other: &Self) -> Result<(), TufError> {
        if self.canonical != other.canonical {
            let why = "the two copies differ in more than their signatures".to_owned();
            return Err(TufError::Form { what: format!("{}.json", M::TYPE), why });
        }
        for signature in &other.signatures {
            if self.signatures.iter().all(|s| s.keyid != signature.keyid) {
                self.signatures.push(signature.clone());
            }
        }
        Ok(())
    }

    /// The file's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut signatures = self.signatures.clone();
        signatures.sort_by(|a, b| a.keyid.cmp(&b.keyid));
        // Writing strings and integers into memory can't fail.
        serde_json::to_vec(&Form { signatures, signed: self.raw.clone() }).unwrap_or_default()
    }
}

fn form(kind: &str, why: impl std::fmt::Display) -> TufError {
    TufError::Form { what: format!("{kind}.json"), why: why.to_string() }
}
