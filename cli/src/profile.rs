//! An operator's profile: where the controller is and who we are to it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    failure::{Exit, Failure},
    signer::KeyPlace,
};

/// Largest file that is read from a profile, bytes. A certificate chain takes a few kilobytes.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// `profile.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProfileFile {
    /// "https://127.0.0.1:7443".
    pub(crate) endpoint: String,
    /// The person's signing key, for commands without `--key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<KeyPlace>,
    /// Where its passphrase stands, if it stands in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// A whole profile.
pub(crate) struct Profile {
    pub(crate) file: ProfileFile,
    pub(crate) ca_pem: String,
    pub(crate) cert_pem: String,
    pub(crate) key_pem: Zeroizing<String>,
}

impl Profile {
    /// Reads the folder that `wardround init` wrote.
    pub(crate) fn load(folder: &Path) -> Result<Self, Failure> {
        let file = load_file(folder)?;
        let read = |name: &str| read_text(&folder.join(name));
        Ok(Self {
            file,
            ca_pem: read("ca.pem")?,
            cert_pem: read("cert.pem")?,
            key_pem: Zeroizing::new(read("key.pem")?),
        })
    }
}

/// Reads `profile.json` alone.
pub(crate) fn load_file(folder: &Path) -> Result<ProfileFile, Failure> {
    let path = folder.join("profile.json");
    if !path.exists() {
        return Err(Failure::with(Exit::NotFound, format!("no operator profile in {}", folder.display()))
            .hint("run `wardround init` on the controller's machine, or name the right folder with --home"));
    }
    let text = read_text(&path)?;
    serde_json::from_str(&text).map_err(|e| {
        Failure::new(format!("{} is no operator profile: {e}", path.display()))
            .hint(r#"it should say {"endpoint": "https://HOST:7443"}"#)
    })
}

/// Replaces `profile.json` as a whole.
pub(crate) fn save_file(folder: &Path, profile: &ProfileFile) -> Result<(), Failure> {
    let path = folder.join("profile.json");
    let mut text =
        serde_json::to_string_pretty(profile).map_err(|e| Failure::new(format!("cannot write JSON: {e}")))?;
    text.push('\n');
    let write = || {
        let mut temp = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut temp, text.as_bytes())?;
        temp.as_file().sync_all()?;
        temp.persist(&path).map_err(|e| e.error).map(drop)
    };
    write().map_err(|e| Failure::file("write", &path, &e))
}

/// Reads a small text file.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    read_text_max(path, FILE_BYTES_MAX)
}

/// Reads a text file of at most `max` bytes.
pub(crate) fn read_text_max(path: &Path, max: u64) -> Result<String, Failure> {
    use std::io::Read as _;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| Failure::file("read", path, &e))?;
    // One byte more tells a file that is too large from one that just fits.
    file.take(max + 1).read_to_string(&mut text).map_err(|e| Failure::file("read", path, &e))?;
    if text.len() as u64 > max {
        return Err(Failure::new(format!("{} is larger than {max} bytes", path.display())));
    }
    Ok(text)
}
