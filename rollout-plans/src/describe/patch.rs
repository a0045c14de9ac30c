//! A patch in plain words.

use super::words::{bytes, paragraph, platform_words};
use crate::{
    language::shown,
    model::{Installer, Interpreter, Patch, Prerequisite, RebootNeed, Severity, Sign, Variant},
    patch_file::lint_patch,
    words::count,
};

/// "KB4500331 (critical): Remote Desktop Services remote code execution".
pub(super) fn headline(patch: &Patch) -> String {
    let severity = match patch.severity {
        Severity::Low => "low",
        Severity::Medium => "medium",
        Severity::High => "high",
        Severity::Critical => "critical",
    };
    format!("{} ({severity}): {}", patch.id, shown(&patch.title))
}

/// A patch in plain words. When the controller should have refused it, the first lines say so.
#[must_use]
pub fn describe_patch(patch: &Patch) -> Vec<String> {
    let mut lines: Vec<String> =
        lint_patch(patch).iter().map(|fault| format!("WARNING: {}. Do not sign.", shown(fault))).collect();
    lines.push(headline(patch));
    if !patch.cves.is_empty() {
        lines.push(format!("Closes {}.", patch.cves.iter().map(|id| shown(id)).collect::<Vec<_>>().join(", ")));
    }
    if !patch.supersedes.is_empty() {
        let ids: Vec<&str> = patch.supersedes.iter().map(|id| id.as_str()).collect();
        lines.push(format!("Replaces {}.", ids.join(", ")));
    }
    if !patch.requires.is_empty() {
        let words = |one: &Prerequisite| match &one.sign {
            Sign::Hotfix { kb } if *kb == one.patch.as_str() => one.patch.to_string(),
            Sign::Hotfix { kb } => format!("{} (shown by {})", one.patch, shown(kb)),
            Sign::Msi { product_code, display_version } => {
                let version = display_version.as_deref().map(|v| format!(" version {}", shown(v))).unwrap_or_default();
                format!("{} (shown by product {}{version})", one.patch, shown(product_code))
            }
        };
        let words: Vec<String> = patch.requires.iter().map(words).collect();
        lines.push(format!(
            "Only where {} is there: nodes look, and leave every other device alone.",
            words.join(" and ")
        ));
    }
    lines.extend(paragraph("", &patch.guidance));
    lines.push(format!("{}:", count(patch.variants.len(), "variant")));
    lines.extend(patch.variants.iter().flat_map(variant_words));
    lines
}

/// What is brought, what proves that it is there, and what takes it away. The whole digest: a few digits of it could be
/// met by a payload made for that.
fn variant_words(variant: &Variant) -> Vec<String> {
    let payload = &variant.payload;
    let reboot = match variant.reboot {
        RebootNeed::WhenAsked => "reboots when the installer asks for it",
        RebootNeed::Always => "always reboots",
    };
    let own = || ("its own word".to_owned(), "its own uninstall".to_owned());
    let (how, (proof, back)) = match &variant.installer {
        Installer::Msi { product_code, display_version, properties } => {
            let code = shown(product_code);
            let version = display_version.as_deref().map(|v| format!(" version {}", shown(v))).unwrap_or_default();
            (arguments("msi package", properties), (format!("product {code}{version}"), format!("msiexec /x {code}")))
        }
        Installer::Hotfix { kb, switches } => {
            let kb = shown(kb);
            let back = format!("spuninst.exe of {kb}");
            (arguments("update.exe package", switches), (kb, back))
        }
        Installer::Script { interpreter: Interpreter::Sh } => ("sh script".to_owned(), own()),
        Installer::Script { interpreter: Interpreter::Cmd } => ("cmd script".to_owned(), own()),
    };
    let name = shown(&payload.file_name);
    let mut lines = vec![
        format!(
            "  {}: {how} {name}, {}; {reboot}; detected by {proof}; taken back by {back}",
            variant.id,
            bytes(payload.length)
        ),
        format!("    SHA-256 {}", payload.digest.hex()),
    ];
    lines.extend(variant.platforms.iter().map(|platform| format!("    for {} ({platform})", platform_words(platform))));
    lines
}

fn arguments(what: &str, arguments: &[String]) -> String {
    if arguments.is_empty() {
        return what.to_owned();
    }
    format!("{what} (with {})", arguments.iter().map(|a| shown(a)).collect::<Vec<_>>().join(" "))
}
