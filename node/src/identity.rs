//! Who a node is: one folder, made by enrolment. Only its certificate is ever replaced, by a fresh one for the same key.
//!
//! | file | holds |
//! |---|---|
//! | `identity.json` | site, controller address, log key, hash of the root |
//! | `cert.pem`, `key.pem` | client certificate and its key (0600) |
//! | `ca.pem` | the controller's CA |
//! | `report.key` | key that signs reports (0600) |
//! | `root.json` | the image repository's first root, byte for byte as pinned: all other trust is derived from it |

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{DurationMs, SiteId, Timestamp};
use wardround_signing::{Digest, PublicKey, SecretKey};

use crate::{
    NodeError,
    files::{self, PUBLIC, SECRET},
};

/// Largest file of an identity: a root with many keys is the largest.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A node's identity, read and checked.
pub(crate) struct Identity {
    /// Site.
    pub(crate) site: SiteId,
    /// "https://host:port".
    pub(crate) controller: String,
    /// Key under which checkpoints of the controller's log count; absent on a node that enrolled before there was a log.
    pub(crate) log_key: Option<PublicKey>,
    /// The first root of the image repository.
    pub(crate) root: Vec<u8>,
    /// Signs reports.
    pub(crate) report_key: SecretKey,
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
    pub(crate) ca_pem: String,
}

/// What enrolment brought.
pub(crate) struct NewIdentity<'a> {
    pub(crate) site: SiteId,
    pub(crate) controller: String,
    pub(crate) log_key: PublicKey,
    pub(crate) root_json: &'a [u8],
    pub(crate) report_key: &'a SecretKey,
    pub(crate) cert_pem: &'a str,
    pub(crate) key_pem: &'a str,
    pub(crate) ca_pem: &'a str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    version: u32,
    site: SiteId,
    controller: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    log_key: Option<PublicKey>,
    root: Digest,
}

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("identity")
}

/// The files that nobody but the node may read.
pub(crate) fn secret_files(state_dir: &Path) -> [PathBuf; 2] {
    ["key.pem", "report.key"].map(|name| folder(state_dir).join(name))
}

/// Refuses a state folder that is somebody already.
pub(crate) fn require_vacant(state_dir: &Path) -> Result<(), NodeError> {
    let path = folder(state_dir);
    if !path.exists() {
        return Ok(());
    }
    let site = Identity::read(state_dir).map_or_else(|_| "unknown".to_owned(), |i| i.site.to_string());
    Err(NodeError::Enrolled { path, site })
}

/// Refuses a state folder in which nothing can be written; makes it where it is missing.
pub(crate) fn require_writable(state_dir: &Path) -> Result<(), NodeError> {
    let fail = |source: io::Error| NodeError::File { path: state_dir.to_owned(), verb: "written", source };
    fs::create_dir_all(state_dir).map_err(fail)?;
    let temporary = tempfile::TempDir::with_prefix_in("identity.", state_dir).map_err(fail)?;
    files::replace(&temporary.path().join("try"), b"is there room?", SECRET)
}

/// Writes an identity: the folder appears whole or not at all.
pub(crate) fn create(state_dir: &Path, new: &NewIdentity<'_>) -> Result<(), NodeError> {
    let target = folder(state_dir);
    let fail = |source: io::Error| NodeError::File { path: target.clone(), verb: "written", source };
    let form = Form {
        version: 2,
        site: new.site.clone(),
        controller: new.controller.clone(),
        log_key: Some(new.log_key),
        root: Digest::of(new.root_json),
    };
    let json = serde_json::to_vec_pretty(&form).map_err(|e| fail(e.into()))?;
    let report =
        new.report_key.to_plain_pem().map_err(|e| NodeError::Crypto { what: "writing a key", why: e.to_string() })?;
    fs::create_dir_all(state_dir).map_err(fail)?;
    let temporary = tempfile::TempDir::with_prefix_in("identity.", state_dir).map_err(fail)?;
    for (name, bytes, mode) in [
        ("cert.pem", new.cert_pem.as_bytes(), PUBLIC),
        ("key.pem", new.key_pem.as_bytes(), SECRET),
        ("ca.pem", new.ca_pem.as_bytes(), PUBLIC),
        ("report.key", report.as_bytes(), SECRET),
        ("root.json", new.root_json, PUBLIC),
        ("identity.json", &json, PUBLIC),
    ] {
        files::replace(&temporary.path().join(name), bytes, mode)?;
    }
    fs::rename(temporary.path(), &target).map_err(fail)?;
    files::sync_folder(state_dir).map_err(fail)
}

impl Identity {
    /// Reads and checks the identity of a state folder.
    ///
    /// # Errors
    /// [`NodeError::Identity`] names what is missing or does not fit together.
    pub(crate) fn read(state_dir: &Path) -> Result<Self, NodeError> {
        let path = folder(state_dir);
        let bad = |why: String| NodeError::Identity { path: path.clone(), why };
        if !path.exists() {
            return Err(bad("it has not been enrolled yet".into()));
        }
        let bytes = |name: &str| files::read(&path.join(name), FILE_BYTES_MAX);
        let text =
            |name: &str| bytes(name).and_then(|b| String::from_utf8(b).map_err(|_| bad(format!("{name} is not text"))));
        let form: Form =
            serde_json::from_slice(&bytes("identity.json")?).map_err(|e| bad(format!("identity.json: {e}")))?;
        if form.version != 2 {
            return Err(bad(format!("identity.json has version {}, not 2", form.version)));
        }
        let root = bytes("root.json")?;
        if Digest::of(&root) != form.root {
            return Err(bad("root.json is not the root that was pinned at enrolment".into()));
        }
        let report_key =
            SecretKey::from_plain_pem(&text("report.key")?).map_err(|e| bad(format!("report.key: {e}")))?;
        Ok(Self {
            site: form.site,
            controller: form.controller,
            log_key: form.log_key,
            root,
            report_key,
            cert_pem: text("cert.pem")?,
            key_pem: text("key.pem")?,
            ca_pem: text("ca.pem")?,
        })
    }

    /// Refuses a client certificate whose time is over.
    ///
    /// # Errors
    /// [`NodeError::CertificateExpired`] with the date.
    pub(crate) fn require_valid(&self, now: Timestamp) -> Result<(), NodeError> {
        let life = Life::of(&self.cert_pem)?;
        if now <= life.not_after {
            return Ok(());
        }
        let on = jiff::Timestamp::from_millisecond(life.not_after.0)
            .map_or_else(|_| format!("{} ms", life.not_after.0), |t| t.to_string());
        Err(NodeError::CertificateExpired { on })
    }
}

/// When a certificate counts, and for which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    /// From.
    pub(crate) not_before: Timestamp,
    /// To.
    pub(crate) not_after: Timestamp,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) key: Digest,
}

impl Life {
    /// Reads a certificate in PEM.
    ///
    /// # Errors
    /// [`NodeError::Crypto`] when it is none.
    pub(crate) fn of(certificate_pem: &str) -> Result<Self, NodeError> {
        let unreadable = |why: String| NodeError::Crypto { what: "reading a certificate", why };
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()).map_err(|e| unreadable(e.to_string()))?;
        let certificate = pem.parse_x509().map_err(|e| unreadable(e.to_string()))?;
        let at = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
        Ok(Self {
            not_before: at(certificate.validity().not_before.timestamp()),
            not_after: at(certificate.validity().not_after.timestamp()),
            key: Digest::of(certificate.public_key().raw),
        })
    }

    /// When a third of its life is left: time to renew it.
    pub(crate) fn renew_at(&self) -> Timestamp {
        let life = self.not_after.since(self.not_before);
        self.not_before.after(DurationMs(life.0 / 3 * 2))
    }
}

/// Replaces the certificate of an identity: the one file of it that changes.
pub(crate) fn replace_certificate(state_dir: &Path, certificate_pem: &str) -> Result<(), NodeError> {
    files::replace(&folder(state_dir).join("cert.pem"), certificate_pem.as_bytes(), PUBLIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_that_can_not_be_filled_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let vacant = dir.path().join("a/b");
        require_writable(&vacant).unwrap();
        assert_eq!(fs::read_dir(&vacant).unwrap().count(), 0, "nothing stays behind");
        // A file where the folder should be: root may write into a folder that forbids it.
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = require_writable(&file.join("node")).unwrap_err();
        assert!(matches!(error, NodeError::File { .. }) && !error.hint().is_empty(), "{error}");
    }
}
