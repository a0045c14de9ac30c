//! Rules that every patch obeys, whoever made its document.

use std::collections::BTreeSet;

use wardround_signing::is_hidden;

use super::{prerequisites, rules, safe};
use crate::model::{Patch, Platform, Variant};

/// Longest title, bytes: one line on a screen.
pub(super) const TITLE_BYTES_MAX: usize = 200;
/// Longest guidance, bytes: those who sign must be able to read it.
pub(super) const GUIDANCE_BYTES_MAX: usize = 4_000;
/// Longest reason for which it is accepted that a package can't be uninstalled, bytes.
pub(super) const IRREVERSIBLE_BYTES_MAX: usize = 300;
/// Most variants of a patch: a large security update of XP's age has some thirty languages.
pub(super) const VARIANTS_MAX: usize = 64;
/// Most platforms of a variant.
pub(super) const PLATFORMS_MAX: usize = 64;
/// Most CVE ids, and most superseded patches: a cumulative update has some hundred.
pub(super) const REFERENCES_MAX: usize = 500;

/// What is wrong with a patch, each one sentence that names the field; empty when nothing is.
/// The controller refuses a patch with any of these.
#[must_use]
pub fn lint_patch(patch: &Patch) -> Vec<String> {
    let mut faults = Vec::new();
    let mut add = |field: String, message: String| faults.push(format!("{field}: {message}"));
    if patch.title.trim().is_empty() || patch.title.len() > TITLE_BYTES_MAX || patch.title.chars().any(is_hidden) {
        add("title".to_owned(), format!("expected one line of 1 to {TITLE_BYTES_MAX} bytes"));
    }
    let control = |c: char| is_hidden(c) && c != '\n' && c != '\t';
    if patch.guidance.len() > GUIDANCE_BYTES_MAX || patch.guidance.chars().any(control) {
        add("guidance".to_owned(), format!("expected plain text of at most {GUIDANCE_BYTES_MAX} bytes"));
    }
    if patch.cves.len() > REFERENCES_MAX || patch.supersedes.len() > REFERENCES_MAX {
        add("cves, supersedes".to_owned(), format!("at most {REFERENCES_MAX} each are allowed"));
    }
    for (index, id) in patch.cves.iter().enumerate().take(REFERENCES_MAX) {
        if let Err(fault) = safe::cve(id) {
            add(format!("cves[{index}]"), fault.message);
        }
    }
    if patch.supersedes.contains(&patch.id) {
        add("supersedes".to_owned(), "a patch can't replace itself".to_owned());
    }
    let installers = patch.variants.iter().map(|variant| &variant.installer);
    for (field, message) in prerequisites::faults(&patch.id, &patch.requires, &patch.supersedes, installers) {
        add(field, message);
    }
    if patch.variants.is_empty() {
        add("variants".to_owned(), "a patch needs at least one variant".to_owned());
    }
    if patch.variants.len() > VARIANTS_MAX {
        add("variants".to_owned(), format!("{} variants; at most {VARIANTS_MAX} are allowed", patch.variants.len()));
        return faults;
    }
    let mut ids = BTreeSet::new();
    for (index, variant) in patch.variants.iter().enumerate() {
        if !ids.insert(&variant.id) {
            add(format!("variants[{index}].id"), format!("an earlier variant is called {} too", variant.id));
        }
        variant_faults(variant, &mut |field, message| add(format!("variants[{index}].{field}"), message));
    }
    for (here, there, platform) in overlaps(patch.variants.iter().map(|v| v.platforms.as_slice())) {
        let message =
            format!("{platform} is covered by variants[{there}] too: which one a device gets would be chance");
        add(format!("variants[{here}].platforms"), message);
    }
    faults
}

fn variant_faults(variant: &Variant, add: &mut dyn FnMut(String, String)) {
    if variant.platforms.is_empty() || variant.platforms.len() > PLATFORMS_MAX {
        add("platforms".to_owned(), format!("1 to {PLATFORMS_MAX} platforms are needed"));
    }
    for (field, fault) in rules::faults(&variant.written()) {
        add(field, fault.message);
    }
    // Length and chunks must fit each other before anybody fetches a byte.
    for (field, payload) in [("payload", Some(&variant.payload)), ("previous", variant.previous.as_ref())] {
        if let Some(Err(message)) = payload.map(|payload| payload.spans().map(drop)) {
            add(field.to_owned(), message);
        }
    }
}

/// Pairs of variants (the later first) with a platform pattern of which both cover something.
pub(super) fn overlaps<'p>(variants: impl Iterator<Item = &'p [Platform]>) -> Vec<(usize, usize, &'p Platform)> {
    let variants: Vec<_> = variants.collect();
    let mut found = Vec::new();
    for (here, platforms) in variants.iter().enumerate() {
        for (there, earlier) in variants[..here].iter().enumerate() {
            let shared = platforms.iter().find(|p| earlier.iter().any(|e| e.overlaps(p)));
            found.extend(shared.map(|platform| (here, there, platform)));
        }
    }
    found
}
