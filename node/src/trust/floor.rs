//! The trust floor: the highest directive counter, the latest time, and the highest metadata versions that the node has seen.
//!
//! It is kept twice, each copy with a checksum, apart from the journal: a torn or damaged copy is told from a missing one,
//! and a node that has lost both refuses to go on instead of beginning at zero (DESIGN "Trust", 4: fail closed).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::Timestamp;
use wardround_signing::{
    Digest,
    tuf::{Floors, Images},
};

use super::store::Vouched;
use crate::{
    NodeError,
    files::{self, PUBLIC},
};

const COPIES: [&str; 2] = ["floor-a.json", "floor-b.json"];
/// Present from the first floor on: it tells a new node from one whose floors were removed.
const MARK: &str = "floor-made";
/// Six roles with the ids of their keys, of which there may be a thousand.
const FLOOR_BYTES_MAX: u64 = 1_000_000;

/// The values of directives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// Highest directive counter accepted.
    pub counter: u64,
    /// Latest `issued_at` of an accepted directive: the clock is never believed to be earlier.
    pub attested: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    /// Rises with every write: of two whole copies the later one counts, since a role's floor may rightly fall.
    #[serde(default)]
    serial: u64,
    floor: Floor,
    /// Since version 2.
    #[serde(default)]
    roles: Floors,
    check: Digest,
}

impl Form {
    fn seal(&self) -> Option<Digest> {
        let Floor { counter, attested } = self.floor;
        match self.version {
            1 => Some(format!("wardround floor v1\n{counter}\n{}\n", attested.0)),
            2 => {
                let roles = serde_json::to_string(&self.roles).ok()?;
                Some(format!("wardround floor v2\n{}\n{counter}\n{}\n{roles}\n", self.serial, attested.0))
            }
            _ => None,
        }
        .map(|text| Digest::of(text.as_bytes()))
    }
}

/// The two files.
#[derive(Debug)]
pub(crate) struct FloorFile {
    folder: PathBuf,
    serial: u64,
    floor: Floor,
    roles: Floors,
}

impl FloorFile {
    /// Reads both copies; the later intact one counts. A new node begins at zero.
    pub(crate) fn open(folder: &Path) -> Result<Self, NodeError> {
        std::fs::create_dir_all(folder).map_err(|source| NodeError::File {
            path: folder.to_owned(),
            verb: "written",
            source,
        })?;
        // Without the mark, but with a copy: the mark was lost, not the floor.
        let new = !folder.join(MARK).exists() && COPIES.iter().all(|name| !folder.join(name).exists());
        if new {
            let mut file =
                Self { folder: folder.to_owned(), serial: 0, floor: Floor::default(), roles: Floors::default() };
            file.write(Floor::default(), Floors::default())?;
            files::replace(&folder.join(MARK), b"", PUBLIC)?;
            return Ok(file);
        }
        let copies = COPIES.map(|name| read(&folder.join(name)));
        let whole = copies.iter().filter_map(|copy| copy.as_ref().ok());
        let Some(form) = whole.max_by_key(|form| (form.serial, form.floor.counter, form.floor.attested)) else {
            return Err(NodeError::Floor {
                path: folder.to_owned(),
                why: copies.iter().filter_map(|c| c.as_ref().err().cloned()).collect::<Vec<_>>().join("; "),
            });
        };
        let (floor, roles) = (form.floor, form.roles.clone());
        let mut file = Self { folder: folder.to_owned(), serial: form.serial, floor, roles: roles.clone() };
        // Heals the copy that was torn, and the mark.
        file.write(floor, roles)?;
        files::replace(&folder.join(MARK), b"", PUBLIC)?;
        Ok(file)
    }

    /// The present floor of directives.
    pub(crate) fn get(&self) -> Floor {
        self.floor
    }

    /// The present floors of metadata.
    pub(crate) fn roles(&self) -> &Floors {
        &self.roles
    }

    /// Raises the floor of directives, durably; never lowers it. One copy is written after the other, so one is always
    /// whole.
    pub(crate) fn raise(&mut self, to: Floor) -> Result<(), NodeError> {
        let floor =
            Floor { counter: self.floor.counter.max(to.counter), attested: self.floor.attested.max(to.attested) };
        if floor == self.floor { Ok(()) } else { self.write(floor, self.roles.clone()) }
    }

    /// Raises the floors of metadata to a verified view, durably.
    pub(crate) fn raise_roles(&mut self, images: &Images) -> Result<(), NodeError> {
        let roles = images.raise(&self.roles);
        if roles == self.roles { Ok(()) } else { self.write(self.floor, roles) }
    }

    /// Raises all of them to what a person vouches for.
    pub(crate) fn vouch(&mut self, vouched: &Vouched) -> Result<(), NodeError> {
        let mut roles = self.roles.clone();
        for (role, version) in &vouched.versions {
            roles.vouch(*role, *version);
        }
        let floor = Floor {
            counter: self.floor.counter.max(vouched.counter),
            attested: self.floor.attested.max(vouched.attested),
        };
        self.write(floor, roles)
    }

    fn write(&mut self, floor: Floor, roles: Floors) -> Result<(), NodeError> {
        let fail = |why: String| NodeError::Floor { path: self.folder.clone(), why };
        let mut form = Form { version: 2, serial: self.serial + 1, floor, roles, check: Digest::of(b"") };
        form.check = form.seal().ok_or_else(|| fail("it can't be sealed".to_owned()))?;
        let json = serde_json::to_vec(&form).map_err(|e| fail(e.to_string()))?;
        for name in COPIES {
            files::replace(&self.folder.join(name), &json, PUBLIC)?;
        }
        (self.serial, self.floor, self.roles) = (form.serial, form.floor, form.roles);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Form, String> {
    let named = |why: String| format!("{}: {why}", path.file_name().and_then(|n| n.to_str()).unwrap_or_default());
    let bytes = files::read(path, FLOOR_BYTES_MAX).map_err(|e| named(crate::enrol::causes(&e)))?;
    let form: Form = serde_json::from_slice(&bytes).map_err(|e| named(e.to_string()))?;
    if form.seal() == Some(form.check) { Ok(form) } else { Err(named("its checksum does not fit".into())) }
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

    /// What nodes wrote before there were roles.
    #[test]
    fn a_floor_of_version_1_is_still_read() {
        let folder = tempfile::tempdir().unwrap();
        let check = Digest::of(b"wardround floor v1\n9\n5\n");
        let json = format!("{{\"version\":1,\"floor\":{{\"counter\":9,\"attested\":5}},\"check\":\"{check}\"}}");
        for name in COPIES {
            std::fs::write(folder.path().join(name), &json).unwrap();
        }
        std::fs::write(folder.path().join(MARK), "").unwrap();
        let file = FloorFile::open(folder.path()).unwrap();
        assert_eq!((file.get(), file.roles()), (HIGH, &Floors::default()));
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
