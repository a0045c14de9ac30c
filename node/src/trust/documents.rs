//! Documents that people agree on, kept so that the node can go on without the controller after a restart.
//!
//! A document is kept only after the image repository agreed on it. What is read back is hashed again: a file is a cache, not
//! a proof. Whether it *still* counts for something new is asked of the present view each time ([`agreement`]).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use wardround_rollout_plans::model::{Patch, Rollout};
use wardround_signing::{
    Digest, Document, read_document,
    tuf::{Images, InvalidPath, patch_path, rollout_path},
};

use crate::{
    NodeError,
    files::{self, PUBLIC},
};

/// A document whose bytes have the digest by which signed metadata, or another such document, names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genuine<D> {
    document: D,
    digest: Digest,
    length: u64,
}

impl<D: Document> Genuine<D> {
    /// Reads bytes that were asked for by `digest`.
    ///
    /// # Errors
    /// The sentence says why they are not what was asked for.
    pub fn read(bytes: &[u8], digest: &Digest) -> Result<Self, String> {
        let found = Digest::of(bytes);
        if found != *digest {
            return Err(format!(
                "its hash is {}, but {} was asked for: its bytes were changed",
                found.short(),
                digest.short()
            ));
        }
        Ok(Self { document: read_document(bytes)?, digest: found, length: bytes.len() as u64 })
    }

    /// The document.
    pub fn document(&self) -> &D {
        &self.document
    }

    /// SHA-256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// A document that the image repository lists.
pub trait Listed: Document {
    /// Where.
    ///
    /// # Errors
    /// When its id makes no path.
    fn path(&self) -> Result<String, InvalidPath>;
}

impl Listed for Patch {
    fn path(&self) -> Result<String, InvalidPath> {
        patch_path(self.id.as_str())
    }
}

impl Listed for Rollout {
    fn path(&self) -> Result<String, InvalidPath> {
        rollout_path(self.id.as_str(), u64::from(self.version))
    }
}

/// Refuses a document for which `release` and `clinical` have not signed identically.
///
/// # Errors
/// A sentence.
pub fn agreement<D: Listed>(images: &Images, document: &Genuine<D>) -> Result<(), String> {
    let path = document.document.path().map_err(|e| e.to_string())?;
    let agreed = images.agreed(&path).map_err(|e| e.to_string())?;
    if agreed.sha256 != document.digest || agreed.length != document.length {
        return Err(format!(
            "{path}: release and clinical signed for another document ({}) than this one ({})",
            agreed.sha256.short(),
            document.digest.short()
        ));
    }
    Ok(())
}

/// A document that the controller has sent, if it is what was asked for and people agree on it now.
///
/// # Errors
/// A sentence.
pub fn admit<D: Listed>(bytes: &[u8], digest: &Digest, images: &Images) -> Result<Genuine<D>, String> {
    let document = Genuine::read(bytes, digest)?;
    agreement(images, &document)?;
    Ok(document)
}

/// The folder of documents, by their SHA-256.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    folder: PathBuf,
}

impl Documents {
    pub(crate) fn open(folder: &Path) -> Result<Self, NodeError> {
        std::fs::create_dir_all(folder).map_err(|source| NodeError::File {
            path: folder.to_owned(),
            verb: "written",
            source,
        })?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.json", digest.hex()))
    }

    /// A document that people agreed on once, if it is here and whole.
    pub(crate) fn get<D: Document>(&self, digest: &Digest) -> Option<Genuine<D>> {
        let bytes = files::read(&self.path(digest), D::BYTES_MAX as u64).ok()?;
        Genuine::read(&bytes, digest).ok()
    }

    /// Keeps one that people agree on, or that was kept before and got lost.
    pub(crate) fn keep(&self, bytes: &[u8]) -> Result<(), NodeError> {
        files::replace(&self.path(&Digest::of(bytes)), bytes, PUBLIC)
    }

    /// Removes all but these. What can't be removed stays, and costs only room.
    pub(crate) fn retain(&self, wanted: &BTreeSet<Digest>) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let kept: BTreeSet<PathBuf> = wanted.iter().map(|digest| self.path(digest)).collect();
        for path in entries.flatten().map(|e| e.path()).filter(|path| !kept.contains(path)) {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "an old document can't be removed");
            }
        }
    }
}
