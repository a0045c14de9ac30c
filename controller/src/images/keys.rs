//! The controller's online keys: they sign snapshots, timestamps and directives, and nothing that people decide.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use wardround_signing::{
    PublicKey, SecretKey, Signer as _,
    tuf::{OnlineKeys, TufKey, TufKeyId},
};

use super::ImageError;
use crate::setup::{InitError, make_folder, write_new};

/// Folder of the keys in the data directory.
const FOLDER: &str = "online";
/// The public halves, for the ceremony.
const PUBLIC_FILE: &str = "online.pub.json";
/// Most key files that are read: keys are replaced rarely, and the old ones can be removed.
const KEYS_MAX: usize = 64;
/// Largest key file, bytes.
const KEY_BYTES_MAX: u64 = 4_096;

/// Every online key that this controller holds, whatever role it has.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyRing(BTreeMap<TufKeyId, Arc<SecretKey>>);

impl KeyRing {
    /// Reads the folder anew: keys may be added while the controller runs.
    pub(crate) fn load(data: &Path) -> Result<Self, ImageError> {
        let folder = data.join(FOLDER);
        let failed = |path: &Path, why: String| ImageError::Disk(format!("can't read {}: {why}", path.display()));
        let mut paths = Vec::new();
        match fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries {
                    let path = entry.map_err(|e| failed(&folder, e.to_string()))?.path();
                    if path.extension().is_some_and(|ending| ending == "key") {
                        paths.push(path);
                    }
                }
            }
            // A data directory of before the image repository.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&folder, error.to_string())),
        }
        if paths.len() > KEYS_MAX {
            return Err(failed(&folder, format!("it holds {} keys; at most {KEYS_MAX} are read", paths.len())));
        }
        let mut ring = BTreeMap::new();
        for path in paths {
            let bytes = fs::metadata(&path).map_err(|e| failed(&path, e.to_string()))?.len();
            if bytes > KEY_BYTES_MAX {
                return Err(failed(&path, format!("it has {bytes} bytes; a key has at most {KEY_BYTES_MAX}")));
            }
            let pem = fs::read_to_string(&path).map_err(|e| failed(&path, e.to_string()))?;
            let key = SecretKey::from_plain_pem(&pem).map_err(|e| failed(&path, e.to_string()))?;
            ring.insert(TufKey::new(key.public(), None).id(), Arc::new(key));
        }
        Ok(Self(ring))
    }

    /// The key with this id.
    pub(crate) fn get(&self, id: &TufKeyId) -> Option<&SecretKey> {
        self.0.get(id).map(AsRef::as_ref)
    }

    /// The secret half of a public key.
    pub(crate) fn of(&self, key: PublicKey) -> Option<Arc<SecretKey>> {
        self.0.get(&TufKey::new(key, None).id()).cloned()
    }
}

/// Makes a new set of online keys in a data directory and writes their public halves to `online.pub.json` there. Earlier
/// keys stay: they are needed until people have signed a root and targets that name the new ones.
///
/// # Errors
/// [`InitError`] when the directory can't be written to.
pub fn make_online_keys(data: &Path) -> Result<OnlineKeys, InitError> {
    let folder = data.join(FOLDER);
    make_folder(&folder)?;
    let make = |word: &str| -> Result<PublicKey, InitError> {
        let key = SecretKey::generate().map_err(|e| InitError::Certificate(e.to_string()))?;
        let pem = key.to_plain_pem().map_err(|e| InitError::Certificate(e.to_string()))?;
        // As metadata and messages name it.
        let id = TufKey::new(key.public(), None).id();
        write_new(&folder.join(format!("{word}-{}.key", id.short())), pem.as_bytes(), 0o600)?;
        Ok(key.public())
    };
    let keys =
        OnlineKeys { snapshot: make("snapshot")?, timestamp: make("timestamp")?, directives: make("directives")? };
    let mut json = serde_json::to_vec_pretty(&keys).map_err(|e| InitError::Certificate(e.to_string()))?;
    json.push(b'\n');
    let path = data.join(PUBLIC_FILE);
    super::files::replace(&path, &json).map_err(|source| InitError::Io { path, source })?;
    Ok(keys)
}
