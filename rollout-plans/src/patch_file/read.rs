//! The fields of a patch manifest.

use std::collections::BTreeSet;

use super::{
    PatchFile, VariantFile,
    lint::{GUIDANCE_BYTES_MAX, PLATFORMS_MAX, REFERENCES_MAX, TITLE_BYTES_MAX, VARIANTS_MAX, overlaps},
    prerequisites, safe,
};
use crate::{
    language::{
        reader::Reader,
        tree::{Node, Value},
    },
    model::{Installer, Interpreter, PatchId, Prerequisite, RebootNeed, Severity, Sign},
};

/// Longest path, bytes.
const PATH_BYTES_MAX: usize = 1_000;
const ARGUMENT_BYTES: usize = 1_000;
const SEVERITIES: [(&str, Severity); 4] =
    [("low", Severity::Low), ("medium", Severity::Medium), ("high", Severity::High), ("critical", Severity::Critical)];
const REBOOTS: [(&str, RebootNeed); 2] = [("when_asked", RebootNeed::WhenAsked), ("always", RebootNeed::Always)];
const INTERPRETERS: [(&str, Interpreter); 2] = [("sh", Interpreter::Sh), ("cmd", Interpreter::Cmd)];

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
    let requires = reader.optional(&fields, "requires", |r, n, p| r.list(n, p, prerequisite));
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

/// A KB number alone is a hotfix of that name.
fn prerequisite(reader: &mut Reader, node: &Node, path: &str) -> Option<Prerequisite> {
    let hint = "the id of a patch: usually a KB number, for example KB4500331";
    if matches!(node.value, Value::Text(_)) {
        let patch: PatchId = reader.parsed(node, path, hint)?;
        let kb = patch.to_string();
        return Some(Prerequisite { patch, sign: Sign::Hotfix { kb } });
    }
    let fields = reader.fields(node, path, &["id", "kb", "product_code", "display_version"])?;
    let argument = |r: &mut Reader, n: &Node, p: &str| r.line(n, p, ARGUMENT_BYTES);
    let patch: Option<PatchId> = reader.required(&fields, "id", "KB4500331", |r, n, p| r.parsed(n, p, hint));
    let kb = reader.optional(&fields, "kb", argument);
    let product_code = reader.optional(&fields, "product_code", argument);
    let display_version = reader.optional(&fields, "display_version", argument);
    let patch = patch?;
    let sign = match (kb, product_code) {
        (None, Some(product_code)) => Sign::Msi { product_code, display_version },
        (kb, None) if display_version.is_none() => Sign::Hotfix { kb: kb.unwrap_or_else(|| patch.to_string()) },
        _ => {
            let hint = "`kb`, or `product_code` with or without `display_version`";
            reader.problem(node.at, path, "it is not clear what shows that the patch is there", hint);
            return None;
        }
    };
    Some(Prerequisite { patch, sign })
}

fn variant(reader: &mut Reader, node: &Node, path: &str) -> Option<VariantFile> {
    let fields = reader.fields(node, path, &["id", "platforms", "payload", "installer", "reboot"])?;
    let id = reader.required(&fields, "id", "xp-x86-enu", |r, n, p| r.parsed(n, p, "for example xp-x86-enu"));
    let cpe = "cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:x86:*";
    let platforms = reader.required(&fields, "platforms", &format!("[\"{cpe}\"]"), |r, n, p| {
        r.some(n, p, |r, n, p| r.parsed(n, p, &format!("for example {cpe}")))
    });
    let payload = reader.required(&fields, "payload", "{ file: WindowsXP-KB4500331-x86-ENU.exe }", payload);
    let installer = reader.required(&fields, "installer", "{ technology: hotfix, kb: KB4500331 }", installer);
    let reboot = reader.optional(&fields, "reboot", |r, n, p| r.word(n, p, &REBOOTS));
    let (file, file_name) = payload?;
    Some(VariantFile {
        id: id?,
        platforms: platforms?,
        file,
        file_name,
        installer: installer?,
        reboot: reboot.unwrap_or_default(),
    })
}

/// Path and name on the device.
fn payload(reader: &mut Reader, node: &Node, path: &str) -> Option<(String, String)> {
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
    Some((file, name))
}

fn installer(reader: &mut Reader, node: &Node, path: &str) -> Option<Installer> {
    // Which fields there are depends on the technology, so that is looked at first.
    let technology = match &node.value {
        Value::Map(entries) => entries.iter().find(|(_, key, _)| key == "technology").map(|(_, _, value)| value),
        _ => None,
    };
    let known: &[&'static str] = match technology.map(|t| &t.value) {
        Some(Value::Text(text)) if text == "msi" => &["technology", "product_code", "display_version", "properties"],
        Some(Value::Text(text)) if text == "hotfix" => &["technology", "kb", "switches"],
        Some(Value::Text(text)) if text == "script" => &["technology", "interpreter"],
        _ => &["technology", "product_code", "display_version", "properties", "kb", "switches", "interpreter"],
    };
    let fields = reader.fields(node, path, known)?;
    let words = [("msi", "msi"), ("hotfix", "hotfix"), ("script", "script")];
    let argument = |r: &mut Reader, n: &Node, p: &str| r.line(n, p, ARGUMENT_BYTES);
    match reader.required(&fields, "technology", "msi", |r, n, p| r.word(n, p, &words))? {
        "msi" => {
            let example = "\"{90120000-0030-0000-0000-0000000FF1CE}\"";
            let product_code = reader.required(&fields, "product_code", example, argument);
            let display_version = reader.optional(&fields, "display_version", argument);
            let properties = reader.optional(&fields, "properties", |r, n, p| r.list(n, p, argument));
            let properties = properties.unwrap_or_default();
            Some(Installer::Msi { product_code: product_code?, display_version, properties })
        }
        "hotfix" => {
            let kb = reader.required(&fields, "kb", "KB4500331", argument);
            let switches = reader.optional(&fields, "switches", |r, n, p| r.list(n, p, argument));
            Some(Installer::Hotfix { kb: kb?, switches: switches.unwrap_or_default() })
        }
        _ => {
            let interpreter = reader.required(&fields, "interpreter", "sh", |r, n, p| r.word(n, p, &INTERPRETERS));
            Some(Installer::Script { interpreter: interpreter? })
        }
    }
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
        if let Err(fault) = safe::file_name(&variant.file_name) {
            reader.problem_at(&name_field, fault.message, fault.hint);
        }
        for (field, fault) in safe::installer(&variant.installer, &variant.file_name) {
            let field = if field.is_empty() { name_field.clone() } else { format!("{path}.installer.{field}") };
            reader.problem_at(&field, fault.message, fault.hint);
        }
    }
    for (here, there, platform) in overlaps(patch.variants.iter().map(|v| v.platforms.as_slice())) {
        let message = format!("{platform} is covered by variant {} too", patch.variants[there].id);
        let hint = "platforms of two variants must not overlap: which one a device gets would be chance";
        reader.problem_at(&format!("variants[{here}].platforms"), message, hint);
    }
}
