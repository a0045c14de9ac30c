//! The trust floor: the highest directive counter and the latest time that the node has seen attested.
//!
//! It is kept twice, each copy with a checksum, apart from the journal: a torn or damaged copy is told from a missing one,
//! and a node that has lost both refuses to go on instead of beginning at zero (DESIGN "Trust", 4: fail closed).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::Timestamp;
use wardround_signing::Digest;

use crate::{
    NodeError,
    files::{self, PUBLIC},
};

const COPIES: [&str; 2] = ["floor-a.json", "floor-b.json"];
/// Present from the first floor on: it tells a new node from one whose floors were removed.
const MARK: &str = "floor-made";
const FLOOR_BYTES_MAX: u64 = 4096;

/// The values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Floor {
    /// Highest directive counter accepted.
    pub(crate) counter: u64,
    /// Latest `issued_at` of an accepted directive: the clock is never believed to be earlier.
    pub(crate) attested: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    floor: Floor,
    check: Digest,
}

/// The two files.
#[derive(Debug)]
pub(crate) struct FloorFile {
    folder: PathBuf,
    floor: Floor,
}

fn check(floor: &Floor) -> Digest {
    Digest::of(format!("wardround floor v1\n{}\n{}\n", floor.counter, floor.attested.0).as_bytes())
}

impl FloorFile {
    /// Reads both copies; the higher intact one counts. A new node begins at zero.
    pub(crate) fn open(folder: &Path) -> Result<Self, NodeError> {
        std::fs::create_dir_all(folder).map_err(|source| NodeError::File {
            path: folder.to_owned(),
            verb: "written",
            source,
        })?;
        // Without the mark, but with a copy: the mark was lost, not the floor.
        let new = !folder.join(MARK).exists() && COPIES.iter().all(|name| !folder.join(name).exists());
        if new {
            let mut file = Self { folder: folder.to_owned(), floor: Floor::default() };
            file.write(Floor::default())?;
            files::replace(&folder.join(MARK), b"", PUBLIC)?;
            return Ok(file);
        }
        let copies = COPIES.map(|name| read(&folder.join(name)));
        let floor = copies
            .iter()
            .filter_map(|c| c.as_ref().ok())
            .max_by_key(|floor| (floor.counter, floor.attested))
            .copied()
            .ok_or_else(|| NodeError::Floor {
                path: folder.to_owned(),
                why: copies.iter().filter_map(|c| c.as_ref().err().cloned()).collect::<Vec<_>>().join("; "),
            })?;
        let mut file = Self { folder: folder.to_owned(), floor };
        // Heals the copy that was torn, and the mark.
        file.write(floor)?;
        files::replace(&folder.join(MARK), b"", PUBLIC)?;
        Ok(file)
    }

    /// The present floor.
    pub(crate) fn get(&self) -> Floor {
        self.floor
    }

    /// Raises the floor, durably; never lowers it. One copy is written after the other, so one is always whole.
    pub(crate) fn raise(&mut self, to: Floor) -> Result<(), NodeError> {
        let floor =
            Floor { counter: self.floor.counter.max(to.counter), attested: self.floor.attested.max(to.attested) };
        if floor == self.floor { Ok(()) } else { self.write(floor) }
    }

    fn write(&mut self, floor: Floor) -> Result<(), NodeError> {
        let form = Form { version: 1, floor, check: check(&floor) };
        let json = serde_json::to_vec(&form)
            .map_err(|e| NodeError::Floor { path: self.folder.clone(), why: e.to_string() })?;
        for name in COPIES {
            files::replace(&self.folder.join(name), &json, PUBLIC)?;
        }
        self.floor = floor;
        Ok(())
    }
}

fn read(path: &Path) -> Result<Floor, String> {
    let named = |why: String| format!("{}: {why}", path.file_name().and_then(|n| n.to_str()).unwrap_or_default());
    let bytes = files::read(path, FLOOR_BYTES_MAX).map_err(|e| named(crate::enrol::causes(&e)))?;
    let form: Form = serde_json::from_slice(&bytes).map_err(|e| named(e.to_string()))?;
    if form.version != 1 || form.check != check(&form.floor) {
        return Err(named("its checksum does not fit".into()));
    }
    Ok(form.floor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIGH: Floor = Floor { counter: 9, attested: Timestamp(5) };

    #[test]
    fn it_never_goes_down_and_survives_one_torn_copy() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = FloorFile::open(folder.path()).unwrap();
        file.raise(HIGH).unwrap();
        file.raise(Floor { counter: 3, attested: Timestamp(7) }).unwrap();
        let risen = Floor { counter: 9, attested: Timestamp(7) };
        assert_eq!(file.get(), risen);
        for name in COPIES {
            let path = folder.path().join(name);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &whole[..20]).unwrap();
            assert_eq!(FloorFile::open(folder.path()).unwrap().get(), risen, "{name} torn");
        }
    }

    #[test]
    fn a_lost_mark_does_not_make_an_old_node_new() {
        let folder = tempfile::tempdir().unwrap();
        FloorFile::open(folder.path()).unwrap().raise(HIGH).unwrap();
        std::fs::remove_file(folder.path().join(MARK)).unwrap();
        assert_eq!(FloorFile::open(folder.path()).unwrap().get(), HIGH);
        assert!(folder.path().join(MARK).exists(), "it is there again");
        std::fs::remove_file(folder.path().join(MARK)).unwrap();
        for name in COPIES {
            std::fs::write(folder.path().join(name), b"{").unwrap();
        }
        assert!(matches!(FloorFile::open(folder.path()), Err(NodeError::Floor { .. })));
    }

    #[test]
    fn both_copies_damaged_or_gone_is_a_refusal_not_a_zero() {
        let folder = tempfile::tempdir().unwrap();
        FloorFile::open(folder.path()).unwrap().raise(HIGH).unwrap();
        for name in COPIES {
            let path = folder.path().join(name);
            let text = std::fs::read_to_string(&path).unwrap().replace("\"counter\":9", "\"counter\":1");
            std::fs::write(&path, text).unwrap();
        }
        let error = FloorFile::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("checksum"), "{error}");
        for name in COPIES {
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        assert!(matches!(FloorFile::open(folder.path()), Err(NodeError::Floor { .. })));
    }
}
