//! What every command has in hand: the global flags, and what they lead to.

use std::path::PathBuf;

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

    /// Opens the signing key: `--key`, `WARDROUND_KEY`, or the profile's own.
    pub(crate) async fn signer(&self) -> Result<Person, Failure> {
        let (mut key, mut passphrase_file) = (self.global.key.clone(), self.global.passphrase_file.clone());
        if key.is_none() {
            let folder = self.operator_folder()?;
            let profile = profile::load_file(&folder)?;
            key = profile.key.map(|place| place.below(&folder));
            passphrase_file = passphrase_file.or(profile.passphrase_file.map(|path| folder.join(path)));
        }
        let Some(key) = key else {
            return Err(Failure::usage("this needs your signing key, and none is named")
                .hint("pass --key KEY, set WARDROUND_KEY, or name it once with `wardround key use KEY`"));
        };
        signer::open_place(&key, passphrase_file.as_deref()).await
    }
}
