//! What may stand under `requires`.

use std::collections::BTreeSet;

use super::rules;
use crate::model::{Installer, PatchId, Prerequisite, Sign};

/// Most prerequisites of a patch: each is a question to every device.
pub(super) const REQUIRES_MAX: usize = 16;

/// What is wrong, with the field that it is about.
pub(super) fn faults<'i>(
    own: &PatchId,
    requires: &[Prerequisite],
    supersedes: &[PatchId],
    mut installers: impl Iterator<Item = &'i Installer>,
) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let mut add = |field: &str, message: String| faults.push((field.to_owned(), message));
    if requires.len() > REQUIRES_MAX {
        add("requires", format!("{} of them; at most {REQUIRES_MAX} are allowed", requires.len()));
    }
    let mut seen = BTreeSet::new();
    for (index, Prerequisite { patch, sign }) in requires.iter().enumerate().take(REQUIRES_MAX) {
        let field = format!("requires[{index}]");
        if patch == own {
            add(&field, "a patch can't require itself".to_owned());
        }
        if supersedes.contains(patch) {
            add(&field, format!("{patch} stands under `supersedes` too: what is replaced is not required"));
        }
        if !seen.insert(patch) {
            add(&field, format!("{patch} is required twice"));
        }
        let checked = match sign {
            // A file's or value's being there tells too little of a whole patch, and a Linux can't be asked.
            Sign::File { .. } | Sign::Registry { .. } | Sign::LinuxPackage { .. } => {
                add(&field, "what is required is shown by a KB number, a product or a servicing name".to_owned());
                continue;
            }
            sign => rules::sign(sign),
        };
        if let Err(fault) = checked {
            add(&field, format!("{}: {}", fault.message, fault.hint));
        }
    }
    if !requires.is_empty() && installers.any(|installer| !installer.is_windows()) {
        add("requires", "only Windows devices can say what is there, and one variant is for another system".to_owned());
    }
    faults
}
