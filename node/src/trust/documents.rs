//! Signed documents that the node has fetched, so that it can go on without the controller after a restart.
//!
//! What is read back is verified again: a file is a cache, not a proof.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use wardround_signing::{Digest, Document, Envelope, Policy, TrustAnchor, Verified, verify};

use crate::{
    NodeError,
    files::{self, PUBLIC},
};

/// Envelope overhead over the payload: base64 is a third larger, signatures and names are small.
const OVERHEAD: u64 = 64 * 1024;

/// The folder of documents, by the SHA-256 of their payload.
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

    /// A document signed by both roles, if it is here and still verifies.
    pub(crate) fn get<D: Document>(&self, digest: &Digest, anchor: &TrustAnchor) -> Option<Verified<D>> {
        let max = D::BYTES_MAX as u64 / 3 * 4 + OVERHEAD;
        let bytes = files::read(&self.path(digest), max).ok()?;
        let envelope: Envelope = serde_json::from_slice(&bytes).ok()?;
        check(&envelope, digest, anchor).ok()
    }

    /// Verifies a fetched document and keeps it. The sentence says why it is refused.
    pub(crate) fn admit<D: Document>(
        &self,
        envelope: &Envelope,
        digest: &Digest,
        anchor: &TrustAnchor,
    ) -> Result<Result<Verified<D>, String>, NodeError> {
        let verified = match check(envelope, digest, anchor) {
            Ok(verified) => verified,
            Err(why) => return Ok(Err(why)),
        };
        let json = serde_json::to_vec(envelope).map_err(|e| NodeError::File {
            path: self.path(digest),
            verb: "written",
            source: e.into(),
        })?;
        files::replace(&self.path(digest), &json, PUBLIC)?;
        Ok(Ok(verified))
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

fn check<D: Document>(envelope: &Envelope, digest: &Digest, anchor: &TrustAnchor) -> Result<Verified<D>, String> {
    let found = envelope.digest();
    if found != *digest {
        return Err(format!(
            "its hash is {}, but {} was asked for: its bytes were changed",
            found.short(),
            digest.short()
        ));
    }
    verify(envelope, &Policy::two_roles(anchor)).map_err(|e| e.to_string())
}
