//! A folder of signed metadata, named as the repository names it: `1.root.json`, `2.root.json`, `1.targets.json`, …

use std::path::Path;

use wardround_signing::{
    Digest,
    tuf::{Moment, RoleName, Signed, Standing, Targets, TufError},
};

use crate::{
    failure::{Exit, Failure},
    profile::read_text_max,
    request::write_new,
};

/// Most versions that are looked for: a rotation a day for more than two years.
const VERSIONS_MAX: u64 = 1000;

/// The chain of roots from the first, and the targets under the last, with every signature verified.
pub(crate) struct Verified {
    pub(crate) standing: Standing,
    /// SHA-256 of the file of the first root: what enrolment tokens pin.
    pub(crate) pin: Digest,
    pub(crate) root_bytes: Vec<u8>,
    pub(crate) targets_bytes: Vec<u8>,
    /// Each step, in words.
    pub(crate) steps: Vec<String>,
}

impl Verified {
    pub(crate) fn targets(&self) -> Result<&Signed<Targets>, Failure> {
        self.standing.listing(RoleName::Targets).ok_or_else(|| Failure::new("the folder holds no targets metadata"))
    }
}

/// Reads a folder. Expiry is not judged here: what has expired must still be readable to be renewed.
pub(crate) fn load(folder: &Path) -> Result<Verified, Failure> {
    let refused = |name: &str, error: &TufError| {
        Failure::refused(format!("{}: {error}", folder.join(name).display())).hint(error.hint())
    };
    let first = RoleName::Root.versioned(1);
    let Some(mut root_bytes) = read(folder, RoleName::Root, 1)? else {
        return Err(Failure::with(Exit::NotFound, format!("there is no {first} in {}", folder.display()))
            .hint("name the folder that `wardround root assemble` wrote"));
    };
    let pin = Digest::of(&root_bytes);
    let mut standing = Standing::begin(&root_bytes).map_err(|e| refused(&first, &e))?;
    let mut steps = vec![format!("{first}: signed by enough of its own people")];
    for version in 2..=VERSIONS_MAX {
        let Some(bytes) = read(folder, RoleName::Root, version)? else { break };
        let name = RoleName::Root.versioned(version);
        standing.accept(RoleName::Root, &bytes, Moment::EARLIEST).map_err(|e| refused(&name, &e))?;
        steps.push(format!("{name}: signed by enough of the people before and after it"));
        root_bytes = bytes;
    }
    let mut newest = None;
    for version in 1..=VERSIONS_MAX {
        match read(folder, RoleName::Targets, version)? {
            Some(bytes) => newest = Some((version, bytes)),
            None if newest.is_some() => break,
            None => {}
        }
    }
    let Some((version, targets_bytes)) = newest else {
        return Err(Failure::with(Exit::NotFound, format!("there is no targets metadata in {}", folder.display()))
            .hint("copy the whole folder: N.root.json and N.targets.json belong together"));
    };
    let name = RoleName::Targets.versioned(version);
    standing.accept(RoleName::Targets, &targets_bytes, Moment::EARLIEST).map_err(|e| refused(&name, &e))?;
    steps.push(format!("{name}: signed by enough of the people whom the root names"));
    Ok(Verified { standing, pin, root_bytes, targets_bytes, steps })
}

fn read(folder: &Path, role: RoleName, version: u64) -> Result<Option<Vec<u8>>, Failure> {
    let path = folder.join(role.versioned(version));
    if !path.exists() {
        return Ok(None);
    }
    read_text_max(&path, role.bytes_max()).map(|text| Some(text.into_bytes()))
}

/// Writes one file; the same file may be there already.
pub(crate) fn write(folder: &Path, role: RoleName, version: u64, bytes: &[u8]) -> Result<String, Failure> {
    std::fs::create_dir_all(folder).map_err(|e| Failure::file("make", folder, &e))?;
    let path = folder.join(role.versioned(version));
    if read(folder, role, version)?.as_deref() != Some(bytes) {
        write_new(&path, bytes)?;
    }
    Ok(path.display().to_string())
}
