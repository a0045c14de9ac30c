//! What is known of each device: a file of the node's state for each, so that nothing of it is held in memory.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;
use serde::{Deserialize, Serialize};
use wardround_proto::v1::{DeviceInventory, Drift, InventoryFacts, InventoryMoment};
use wardround_rollout_plans::model::DeviceId;
use wardround_signing::Digest;

use super::drift::{Baseline, Finding, Known};
use crate::{
    NodeError,
    files::{self, SECRET},
};

/// Longest file, bytes: lists of every kind at their limits take up half of it.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Form of the file.
const VERSION: u32 = 1;

/// All that is known of one device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Kept {
    v: u32,
    /// Encoded messages in base64.
    facts: String,
    moment: String,
    /// Patches that are followed.
    pub(super) baselines: Vec<Baseline>,
    pub(super) known: Known,
    pub(super) findings: Vec<Finding>,
    #[serde(default)]
    pub(super) findings_left_out: usize,
    /// What had been done on the device when the lists were learnt.
    pub(super) work: String,
}

impl Kept {
    pub(super) fn facts(&self) -> Option<InventoryFacts> {
        (!self.facts.is_empty()).then(|| decoded(&self.facts)).flatten()
    }

    pub(super) fn moment(&self) -> InventoryMoment {
        decoded(&self.moment).unwrap_or_default()
    }

    pub(super) fn set_facts(&mut self, facts: &InventoryFacts) {
        self.facts = STANDARD.encode(facts.encode_to_vec());
    }

    pub(super) fn set_moment(&mut self, moment: &InventoryMoment) {
        self.moment = STANDARD.encode(moment.encode_to_vec());
    }

    /// As it is told, with or without the facts.
    pub(super) fn message(&self, device: &DeviceId, with_facts: bool) -> DeviceInventory {
        let facts = STANDARD.decode(&self.facts).unwrap_or_default();
        let digest = if facts.is_empty() { Vec::new() } else { Digest::of(&facts).as_bytes().to_vec() };
        let drift = |finding: &Finding| Drift {
            kind: finding.kind.word().to_owned(),
            subject: finding.subject.clone(),
            text: finding.text.clone(),
            since_ms: finding.since.0,
        };
        DeviceInventory {
            device: device.to_string(),
            moment: Some(self.moment()),
            facts: if with_facts { self.facts() } else { None },
            facts_digest: digest,
            drift: self.findings.iter().map(drift).collect(),
            drift_left_out: u32::try_from(self.findings_left_out).unwrap_or(u32::MAX),
        }
    }
}

fn make(folder: &Path) -> Result<(), NodeError> {
    fs::create_dir_all(folder).map_err(|source| NodeError::File { path: folder.to_owned(), verb: "written", source })
}

fn decoded<M: Message + Default>(text: &str) -> Option<M> {
    STANDARD.decode(text).ok().and_then(|bytes| M::decode(bytes.as_slice()).ok())
}

/// Where the files are.
#[derive(Debug, Clone)]
pub(super) struct Shelf(PathBuf);

impl Shelf {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("inventory"))
    }

    fn path(&self, device: &DeviceId) -> PathBuf {
        self.0.join(format!("{}.json", device.name()))
    }

    fn asked_folder(&self) -> PathBuf {
        self.0.join("asked")
    }

    fn asked_path(&self, device: &DeviceId) -> PathBuf {
        self.asked_folder().join(device.name())
    }

    /// What is known; nothing of a device that was never looked at.
    ///
    /// # Errors
    /// [`NodeError`] when the file is there and can't be read, or not understood: then nothing may be written over it.
    pub(super) fn read(&self, device: &DeviceId) -> Result<Kept, NodeError> {
        let path = self.path(device);
        if !path.exists() {
            return Ok(Kept::default());
        }
        let bytes = files::read(&path, FILE_BYTES_MAX)?;
        let wrong = |why: String| NodeError::File {
            path: path.clone(),
            verb: "understood",
            source: std::io::Error::other(why),
        };
        let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if kept.v != VERSION {
            return Err(wrong(format!("form {} is unknown; this program reads {VERSION}", kept.v)));
        }
        Ok(kept)
    }

    /// Writes it so that it survives a power cut.
    pub(super) fn write(&self, device: &DeviceId, kept: &Kept) -> Result<(), NodeError> {
        let path = self.path(device);
        make(&self.0)?;
        let bytes = serde_json::to_vec(&Kept { v: VERSION, ..kept.clone() }).map_err(|error| NodeError::File {
            path: path.clone(),
            verb: "written",
            source: error.into(),
        })?;
        files::replace(&path, &bytes, SECRET)
    }

    /// A file that could not be understood is put aside as evidence; the device is learnt anew.
    pub(super) fn set_aside(&self, device: &DeviceId) {
        let path = self.path(device);
        if let Err(error) = fs::rename(&path, path.with_extension("damaged")) {
            tracing::warn!(%error, path = %path.display(), "it could not be put aside");
        }
    }

    /// A person asks for a look.
    pub(super) fn ask(&self, device: &DeviceId, accept: bool) -> Result<(), NodeError> {
        make(&self.asked_folder())?;
        files::replace(&self.asked_path(device), if accept { b"accept" } else { b"look" }, SECRET)
    }

    /// Names of devices for which a person asks. Nearly always none: one look into an empty folder.
    pub(super) fn all_asked(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.asked_folder()).into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
    }

    /// Whether a person asks for a look, and accepts what is there.
    pub(super) fn asked(&self, device: &DeviceId) -> Option<bool> {
        fs::read(self.asked_path(device)).ok().map(|word| word == b"accept")
    }

    /// The look was made.
    pub(super) fn answered(&self, device: &DeviceId) {
        let _ = fs::remove_file(self.asked_path(device));
    }
}

#[cfg(test)]
mod tests {
    use wardround_rollout_plans::model::Timestamp;

    use super::{super::drift::Kind, *};

    #[test]
    fn what_is_known_outlives_the_node_and_damage_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let (shelf, device) = (Shelf::new(dir.path()), DeviceId::new("rx1/ct-01").unwrap());
        assert!(shelf.read(&device).unwrap().facts().is_none());
        let mut kept = Kept::default();
        kept.set_facts(&InventoryFacts { caption: "Windows XP".to_owned(), ..Default::default() });
        kept.set_moment(&InventoryMoment { collected_at_ms: 5, ..Default::default() });
        let (kind, since) = (Kind::UpdateGone, Timestamp(7));
        kept.findings.push(Finding { kind, subject: "KB1".to_owned(), text: "gone".to_owned(), since });
        shelf.write(&device, &kept).unwrap();
        let read = shelf.read(&device).unwrap();
        assert_eq!(read.facts().unwrap().caption, "Windows XP");
        assert_eq!((read.moment().collected_at_ms, &read.findings), (5, &kept.findings));
        let told = read.message(&device, false);
        assert!(told.facts.is_none() && told.facts_digest.len() == 32 && told.drift[0].since_ms == 7);
        shelf.ask(&device, true).unwrap();
        assert_eq!(shelf.asked(&device), Some(true));
        assert_eq!(shelf.all_asked(), BTreeSet::from(["ct-01".to_owned()]));
        shelf.answered(&device);
        assert_eq!(shelf.asked(&device), None);
        fs::write(shelf.path(&device), "{").unwrap();
        assert!(shelf.read(&device).is_err());
        shelf.set_aside(&device);
        assert!(shelf.read(&device).unwrap().findings.is_empty());
        assert!(dir.path().join("inventory/ct-01.damaged").is_file());
    }
}
