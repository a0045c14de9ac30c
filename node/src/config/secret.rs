//! Where the site file says that secrets are.

use serde_saphyr::Spanned;

use super::{
    Check, SiteFile, TransportConfig,
    raw::{RawPlace, RawSecret},
    validate::{Checked, Validator},
};
use crate::secret::Secret;

/// Longest name of an environment variable, bytes.
const NAME_BYTES_MAX: usize = 255;

impl Validator<'_> {
    /// `{ file: … }`, `{ env: NAME }` or `{ command: [program, argument] }`; never the secret itself, which must not be repeated in
    /// a complaint either.
    pub(super) fn secret(&self, whole: &Spanned<RawSecret>, field: &str) -> Checked<Secret> {
        const HINT: &str = "write { file: /path }, { env: NAME } or { command: [program, argument] }";
        let RawSecret::Place(places) = &whole.value else {
            let message = "a secret is not written into the site file, only where it is kept";
            return self.fail(whole, field, message, HINT);
        };
        let mut places = places.iter();
        let (Some((kind, place)), None) = (places.next(), places.next()) else {
            return self.fail(whole, field, "a secret is in exactly one place", HINT);
        };
        match (kind.as_str(), place) {
            ("file", RawPlace::Text(path)) if !path.is_empty() => Ok(Secret::File(self.path(path))),
            ("env", RawPlace::Text(name)) => {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
                    let message = "is no name of an environment variable";
                    return self.fail(whole, &format!("{field}.env"), message, "letters, digits and _ only");
                }
                Ok(Secret::Env(name.clone()))
            }
            ("command", RawPlace::List(argv)) => {
                let argv = Spanned::new(argv.clone(), whole.referenced, whole.defined);
                self.argv(&argv, &format!("{field}.command")).map(Secret::Command)
            }
            _ => self.fail(whole, field, "that is no place of a secret", HINT),
        }
    }
}

impl SiteFile {
    /// Every secret that is named, and whose it is.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (String, &Secret)> {
        let of_devices = self.devices.iter().flat_map(|(id, device)| {
            let adapter = match &device.transport {
                TransportConfig::Adapter(adapter) => Some(adapter),
                _ => None,
            };
            let credentials = adapter.into_iter().flat_map(|adapter| &adapter.credentials);
            credentials.map(move |(name, secret)| (format!("device {id}, credential {name}"), secret))
        });
        let of_systems = self.systems.iter().flat_map(|(id, system)| {
            let passwords = system.probes.iter().filter_map(|probe| match &probe.check {
                Check::SqlLogin { password, .. } => password.as_ref(),
                _ => None,
            });
            passwords.map(move |secret| (format!("system {id}, password"), secret))
        });
        of_devices.chain(of_systems)
    }

    /// Variables of the node's environment that hold secrets.
    pub(crate) fn secret_variables(&self) -> impl Iterator<Item = &str> {
        self.secrets().filter_map(|(_, secret)| match secret {
            Secret::Env(name) => Some(name.as_str()),
            _ => None,
        })
    }
}
