//! Files that carry a question to a machine without a network and the answer back.
//!
//! A request holds the exact bytes that are to be signed and everything that those bytes are explained by, so that the other
//! machine derives the plain words itself, verifies the image repository from its first root on, and checks digests and
//! Merkle roots; see [`Reading`]. An [`Answer`] holds the
//! signatures. Both are JSON with a version and a kind: a new kind of thing to sign is one more variant of [`Request`].
//!
//! **Invariant:** nothing is signed but what a [`Reading`] was made of.

mod answer;
mod listing;
mod metadata;
mod reading;

use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wardround_rollout_plans::model::Member;
use wardround_signing::Envelope;

pub(crate) use self::{
    answer::{Answer, SignedPart},
    listing::{Listing, signing_role},
    metadata::{MetadataFile, MetadataRequest, Reviewed, review},
    reading::{Reading, check_rollout},
};
use crate::{failure::Failure, profile::read_text_max};

/// Version of both formats that this program writes and reads.
const VERSION: u32 = 1;
const REQUEST: &str = "wardround-request";
const ANSWER: &str = "wardround-answer";
/// Largest request, bytes: 150,000 members of at most 200 bytes each, and two documents of 8 MiB in base64.
const REQUEST_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Largest answer, bytes: the largest listing, and a few signatures.
const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What is to be signed, with what explains it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// A patch document.
    Patch {
        /// Its text, exactly.
        document: String,
        /// What is signed for it.
        listing: Listing,
    },
    /// A rollout document.
    Rollout {
        /// Its text, exactly.
        document: String,
        /// That of its patch.
        patch: String,
        /// Of all waves, in the order of the Merkle leaves.
        members: Vec<Member>,
        /// What is signed for it.
        listing: Listing,
    },
    /// An order about a rollout.
    Order {
        /// The bytes to sign, with the first signature where the order waits for a second.
        document: Envelope,
        /// The text of the rollout that it names.
        rollout: String,
        /// The text of the patch of that.
        patch: String,
        /// Of all waves, in the order of the Merkle leaves.
        members: Vec<Member>,
        /// Says whose orders count.
        listing: Listing,
    },
    /// New versions of TUF metadata: the root ceremony.
    Metadata(MetadataRequest),
}

/// The beginning of every file, by which one that is not ours, or of another version, is told.
#[derive(Deserialize)]
struct Opening {
    format: Option<String>,
    version: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<T> {
    format: String,
    version: u32,
    /// For people; nothing rests on it.
    written_at: String,
    content: T,
}

impl Request {
    /// Reads a request file. What it says is checked by [`Reading::new`].
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        load(path, REQUEST, "request", REQUEST_BYTES_MAX, "`wardround sign export` or `wardround root init` writes one")
    }

    /// Writes a new request file.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        save(path, REQUEST, self)
    }
}

fn load<T: DeserializeOwned>(path: &Path, format: &str, what: &str, max: u64, hint: &str) -> Result<T, Failure> {
    let text = read_text_max(path, max)?;
    let wrong = |why: String| Failure::new(format!("{} is no {what} file: {why}", path.display())).hint(hint);
    let opening: Opening = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    if opening.format.as_deref() != Some(format) {
        return Err(wrong(format!("its format is not {format:?}")));
    }
    if opening.version != Some(VERSION) {
        let version = opening.version.map_or("none".to_owned(), |v| v.to_string());
        return Err(wrong(format!("its version is {version}; this program reads version {VERSION}"))
            .hint("use the same version of wardround on both machines"));
    }
    let file: File<T> = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    Ok(file.content)
}

fn save<T: Serialize>(path: &Path, format: &str, content: &T) -> Result<(), Failure> {
    let written_at = crate::when::rfc3339(crate::when::now_ms()).unwrap_or_default();
    let file = File { format: format.to_owned(), version: VERSION, written_at, content };
    let mut json = serde_json::to_vec(&file).map_err(|e| Failure::new(format!("cannot write JSON: {e}")))?;
    json.push(b'\n');
    write_new(path, &json)
}

/// Writes a file that must not exist yet: a request or an answer is never overwritten unseen.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if path.exists() {
        return Err(Failure::refused(format!("{} exists and is not overwritten", path.display()))
            .hint("choose another name, or move it away"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let write = || {
        let mut temp = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut temp, bytes)?;
        temp.as_file().sync_all()?;
        temp.persist_noclobber(path).map_err(|e| e.error).map(drop)
    };
    write().map_err(|e| Failure::file("write", path, &e))
}

impl Request {
    /// Every device of a rollout, one a line; what [`Reading`] checks against the document's roots.
    pub(crate) fn devices(&self) -> Vec<String> {
        match self {
            Self::Rollout { members, .. } | Self::Order { members, .. } => {
                let head = [String::new(), "EVERY DEVICE".to_owned()];
                let line = |m: &Member| format!("  {} {} (variant {})", m.wave, m.device, m.variant);
                head.into_iter().chain(members.iter().map(line)).collect()
            }
            Self::Patch { .. } | Self::Metadata(_) => Vec::new(),
        }
    }
}
