//! Where the site file says that secrets are.

use serde_saphyr::Spanned;

use super::{
    raw::RawSecret,
    validate::{Checked, Validator},
};
use crate::secret::Secret;

impl Validator<'_> {
    /// `{ file: … }`, `{ env: NAME }` or `{ command: [program, argument] }`.
    pub(super) fn secret(&self, whole: &Spanned<RawSecret>, field: &str) -> Checked<Secret> {
        match &whole.value {
            RawSecret { file: Some(path), env: None, command: None } => Ok(Secret::File(self.path(&path.value))),
            RawSecret { file: None, env: Some(name), command: None } => {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.value.is_empty() || name.value.len() > 255 || !name.value.chars().all(plain) {
                    // What stands here may be the secret itself, by mistake.
                    let message = "is no name of an environment variable";
                    return self.fail(name, &format!("{field}.env"), message, "letters, digits and _ only");
                }
                Ok(Secret::Env(name.value.clone()))
            }
            RawSecret { file: None, env: None, command: Some(argv) } => {
                Ok(Secret::Command(self.argv(argv, &format!("{field}.command"))?))
            }
            _ => self.fail(
                whole,
                field,
                "a secret is in exactly one place",
                "write { file: path }, { env: NAME } or { command: [program, argument] }",
            ),
        }
    }
}
