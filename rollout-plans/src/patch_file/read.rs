//! The fields of a patch manifest.

use std::collections::BTreeSet;

use super::{
    PatchFile, PayloadFile, VariantFile,
    lint::{
        GUIDANCE_BYTES_MAX, IRREVERSIBLE_BYTES_MAX, PLATFORMS_MAX, REFERENCES_MAX, TITLE_BYTES_MAX, VARIANTS_MAX,
        overlaps,
    },
    prerequisites, rules, safe, technology,
};
use crate::{
    language::{reader::Reader, tree::Node},
    model::{Platform, RebootNeed, Severity},
};

/// Longest path, bytes.
const PATH_BYTES_MAX: usize = 1_000;
pub(super) const ARGUMENT_BYTES: usize = 1_000;
const SEVERITIES: [(&str, Severity); 4] =
    [("low", Severity::Low), ("medium", Severity::Medium), ("high", Severity::High), ("critical", Severity::Critical)];
const REBOOTS: [(&str, RebootNeed); 2] = [("when_asked", RebootNeed::WhenAsked), ("always", RebootNeed::Always)];

pub(super) fn patch(reader: &mut Reader, root: &Node) -> Option<PatchFile> {
    let known = ["id", "title", "cves", "severity", "guidance", "supersedes", "requires", "variants"];
    let fields = reader.fields(root, "", &known)?;
    let id_hint = "usually the KB number, for example KB4500331";
    let id = reader.required(&fields, "id", "KB4500331", |r, n, p| r.parsed(n, p, id_hint));
    let title =
        reader.required(&fields, "title", "what it fixes, in one line", |r, n, p| r.line(n, p, TITLE_BYTES_MAX));
    let cves = reader.optional(&fields, "cves", |r, n, p| r.list(n, p, |r, n, p| r.line(n, p, ARGUMENT_BYTES)));
    let severity = reader.required(&fields, "severity", "critical", |r, n, p| r.word(n, p, &SEVERITIES));
    let guidance = reader.optional(&fields, "guidance", |r, n, p| r.text(n, p, GUIDANCE_BYTES_MAX));
    let supersedes = reader.optional(&fields, "supersedes", |r, n, p| r.list(n, p, |r, n, p| r.parsed(n, p, id_hint)));
    let requires = reader.optional(&fields, "requires", |r, n, p| r.list(n, p, technology::prerequisite));
    let variants = reader.required(&fields, "variants", "[ … ]", |r, n, p| r.list(n, p, variant));
    Some(PatchFile {
        id: id?,
        title: title?,
        cves: cves.unwrap_or_default(),
        severity: severity?,
        guidance: guidance.unwrap_or_default(),
        supersedes: supersedes.unwrap_or_default(),
        requires: requires.unwrap_or_default(),
        variants: variants?,
    })
}

fn variant(reader: &mut Reader, node: &Node, path: &str) -> Option<VariantFile> {
    let known = ["id", "platforms", "payload", "installer", "detection", "reboot", "previous", "irreversible"];
    let fields = reader.fields(node, path, &known)?;
    let id = reader.required(&fields, "id", "xp-x86-enu", |r, n, p| r.parsed(n, p, "for example xp-x86-enu"));
    let cpe = "cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:x86:*";
    let platforms = reader.required(&fields, "platforms", &format!("[\"{cpe}\"]"), |r, n, p| {
        r.some(n, p, |r, n, p| r.parsed(n, p, &format!("for example {cpe}")))
    });
    let brought = reader.required(&fields, "payload", "{ file: WindowsXP-KB4500331-x86-ENU.exe }", payload);
    let installer =
        reader.required(&fields, "installer", "{ technology: hotfix, kb: KB4500331 }", technology::installer);
    let detection = reader.optional(&fields, "detection", technology::detection);
    let reboot = reader.optional(&fields, "reboot", |r, n, p| r.word(n, p, &REBOOTS));
    let previous = reader.optional(&fields, "previous", payload);
    let irreversible = reader.optional(&fields, "irreversible", |r, n, p| r.line(n, p, IRREVERSIBLE_BYTES_MAX));
    let platforms: Vec<Platform> = platforms?;
    Some(VariantFile {
        id: id?,
        detection: technology::kb_of_platforms(detection.unwrap_or_default(), &platforms),
        platforms,
        payload: brought?,
        installer: installer?,
        reboot: reboot.unwrap_or_default(),
        previous,
        irreversible,
    })
}

fn payload(reader: &mut Reader, node: &Node, path: &str) -> Option<PayloadFile> {
    let fields = reader.fields(node, path, &["file", "file_name"])?;
    let file = reader.required(&fields, "file", "WindowsXP-KB4500331-x86-ENU.exe", |r, n, p| {
        let file = r.line(n, p, PATH_BYTES_MAX)?;
        let outside = file.starts_with('/') || file.contains(['\\', ':']) || file.split('/').any(|part| part == "..");
        if outside {
            let message = format!("{file:?} is not a path below the folder of this file");
            r.problem(n.at, p, message, "put the payload beside this file; separate folders by `/`");
            return None;
        }
        Some(file)
    });
    let name = reader.optional(&fields, "file_name", |r, n, p| r.line(n, p, ARGUMENT_BYTES));
    let file = file?;
    let name = name.unwrap_or_else(|| file.rsplit('/').next().unwrap_or_default().to_owned());
    Some(PayloadFile { file, name })
}

/// Adds what [`super::lint_patch`] would find later, with its place.
pub(super) fn check(reader: &mut Reader, patch: &PatchFile) {
    for (index, id) in patch.cves.iter().enumerate() {
        if let Err(fault) = safe::cve(id) {
            reader.problem_at(&format!("cves[{index}]"), fault.message, fault.hint);
        }
    }
    for (field, count, max) in [
        ("cves", patch.cves.len(), REFERENCES_MAX),
        ("supersedes", patch.supersedes.len(), REFERENCES_MAX),
        ("variants", patch.variants.len(), VARIANTS_MAX),
    ] {
        if count > max {
            reader.problem_at(field, format!("{count} of them; at most {max} are allowed"), "");
        }
    }
    if patch.supersedes.contains(&patch.id) {
        reader.problem_at("supersedes", "a patch can't replace itself", "remove its own id");
    }
    let installers = patch.variants.iter().map(|variant| &variant.installer);
    for (field, message) in prerequisites::faults(&patch.id, &patch.requires, &patch.supersedes, installers) {
        reader.problem_at(&field, message, "see `requires` in docs/plans.md");
    }
    if patch.variants.is_empty() {
        reader.problem_at("variants", "a patch needs at least one variant", "add one for each platform");
    }
    let mut ids = BTreeSet::new();
    for (index, variant) in patch.variants.iter().enumerate() {
        let path = format!("variants[{index}]");
        if !ids.insert(&variant.id) {
            let message = format!("an earlier variant is called {} too", variant.id);
            reader.problem_at(&format!("{path}.id"), message, "give each variant a name of its own");
        }
        if variant.platforms.len() > PLATFORMS_MAX {
            let field = format!("{path}.platforms");
            reader.problem_at(&field, format!("at most {PLATFORMS_MAX} platforms are allowed"), "use wildcards (`*`)");
        }
        let name_field = match format!("{path}.payload.file_name") {
            field if reader.knows(&field) => field,
            _ => format!("{path}.payload.file"),
        };
        for (field, fault) in rules::faults(&variant.written()) {
            let field = if field == rules::FILE_NAME { name_field.clone() } else { format!("{path}.{field}") };
            reader.problem_at(&field, fault.message, fault.hint);
        }
    }
    for (here, there, platform) in overlaps(patch.variants.iter().map(|v| v.platforms.as_slice())) {
        let message = format!("{platform} is covered by variant {} too", patch.variants[there].id);
        let hint = "platforms of two variants must not overlap: which one a device gets would be chance";
        reader.problem_at(&format!("variants[{here}].platforms"), message, hint);
    }
}
