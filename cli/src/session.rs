//! What every command has in hand: the global flags, and what they lead to.

use std::path::{Path, PathBuf};

use crate::{
    args::Global,
    client::Controller,
    failure::Failure,
    output::Format,
    profile::{self, Profile},
    signer::{self, Person},
};

/// The global flags, resolved when asked.
pub(crate) struct Session {
    pub(crate) global: Global,
}

impl Session {
    pub(crate) fn format(&self) -> Format {
        self.global.output
    }

    /// `--home`, `WARDROUND_HOME`, or `~/.wardround`.
    pub(crate) fn home(&self) -> Result<PathBuf, Failure> {
        if let Some(home) = &self.global.home {
            return Ok(home.clone());
        }
        std::env::home_dir()
            .filter(|home| !home.as_os_str().is_empty())
            .map(|home| home.join(".wardround"))
            .ok_or_else(|| Failure::usage("no home directory is known").hint("pass --home DIR"))
    }

    pub(crate) fn operator_folder(&self) -> Result<PathBuf, Failure> {
        Ok(self.home()?.join("operator"))
    }

    /// Connects with the profile's identity.
    pub(crate) async fn connect(&self) -> Result<Controller, Failure> {
        Controller::connect(&Profile::load(&self.operator_folder()?)?).await
    }

    /// The first `--passphrase-file`, where only one key is at work.
    pub(crate) fn passphrase_file(&self) -> Option<&Path> {
        self.global.passphrase_file.first().map(PathBuf::as_path)
    }

    /// Opens the one signing key: `--key`, `WARDROUND_KEY`, or the profile's own.
    pub(crate) async fn signer(&self) -> Result<Person, Failure> {
        let mut people = self.signers().await?;
        match (people.pop(), people.is_empty()) {
            (Some(person), true) => Ok(person),
            _ => Err(Failure::usage("one key signs here, and several were named")
                .hint("run the command once for each person; only orders take two keys at once")),
        }
    }

    /// Opens the signing keys: each `--key`, else `WARDROUND_KEY`, else the profile's own. Never empty.
    pub(crate) async fn signers(&self) -> Result<Vec<Person>, Failure> {
        let (mut keys, mut passphrase_files) = (self.global.key.clone(), self.global.passphrase_file.clone());
        if keys.is_empty() {
            let folder = self.operator_folder()?;
            let profile = profile::load_file(&folder)?;
            keys.extend(profile.key.map(|place| place.below(&folder)));
            if passphrase_files.is_empty() {
                passphrase_files.extend(profile.passphrase_file.map(|path| folder.join(path)));
            }
        }
        if keys.is_empty() {
            return Err(Failure::usage("this needs your signing key, and none is named")
                .hint("pass --key KEY, set WARDROUND_KEY, or name it once with `wardround key use KEY`"));
        }
        let mut people = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            people.push(signer::open_place(key, passphrase_files.get(at).map(PathBuf::as_path)).await?);
        }
        Ok(people)
    }
}
