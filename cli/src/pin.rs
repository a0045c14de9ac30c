//! The first root that this machine has seen: trusted on first use, then held on to.

use std::path::Path;

use wardround_signing::Digest;

use crate::failure::Failure;

/// File of the profile that remembers the root by its hash.
const FILE: &str = "root.sha256";

/// Refuses another first root than the one that is held on to; true when none is yet.
pub(crate) fn compare(profile: &Path, root: &Digest) -> Result<bool, Failure> {
    let path = profile.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) if text.trim() == root.hex() => Ok(false),
        Ok(_) => Err(Failure::refused("the controller shows another first root than before: sign nothing").hint(
            format!("if it was set up anew on purpose, compare the hash on paper and remove {}", path.display()),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Failure::file("read", &path, &error)),
    }
}

/// As [`compare`], and holds on to it from now on.
pub(crate) fn hold(profile: &Path, root: &Digest) -> Result<(), Failure> {
    if !compare(profile, root)? {
        return Ok(());
    }
    keep(profile, root)?;
    eprintln!(
        "first use: this profile now holds on to the root with SHA-256 {}; compare it with the ceremony's paper",
        root.hex()
    );
    Ok(())
}

/// Holds on to a root from now on, whatever was held before.
pub(crate) fn keep(profile: &Path, root: &Digest) -> Result<(), Failure> {
    let path = profile.join(FILE);
    std::fs::create_dir_all(profile).map_err(|e| Failure::file("make", profile, &e))?;
    std::fs::write(&path, format!("{}\n", root.hex())).map_err(|e| Failure::file("write", &path, &e))
}

/// 64 hex digits, as on paper.
pub(crate) fn parse(text: &str) -> Result<Digest, String> {
    format!("sha256:{}", text.to_ascii_lowercase()).parse().map_err(|_| "expected 64 hex digits".to_owned())
}
