//! A patch in plain words.

use std::fmt::Write as _;

use super::words::{bytes, paragraph, platform_words};
use crate::{
    language::shown,
    model::{Installer, Interpreter, NtVersion, Patch, Prerequisite, RebootNeed, Severity, Sign, Variant},
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
            sign => format!("{} (shown by {})", one.patch, sign_words(sign)),
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
    let (how, mut proof, mut back) = installer_words(variant);
    for sign in &variant.detection.any_of {
        let _ = write!(proof, ", or {}", sign_words(sign));
    }
    let files = &variant.detection.files;
    if !files.is_empty() {
        let words: Vec<String> = files.iter().map(|f| format!("{} {}", shown(&f.path), f.version)).collect();
        let _ = write!(proof, ", and only with {} or later", words.join(" and "));
    }
    if variant.irreversible.is_some() {
        back = "nothing but a site's snapshot of the device".to_owned();
    }
    let name = shown(&payload.file_name);
    let mut lines = vec![
        format!(
            "  {}: {how} {name}, {}; {reboot}; detected by {proof}; taken back by {back}",
            variant.id,
            bytes(payload.length)
        ),
        format!("    SHA-256 {}", payload.digest.hex()),
    ];
    if let Some(previous) = &variant.previous {
        let (name, digest) = (shown(&previous.file_name), previous.digest.hex());
        lines.push(format!("    the package that it replaces: {name}, SHA-256 {digest}"));
    }
    if let Some(reason) = &variant.irreversible {
        lines.push(format!("    IT CAN'T BE UNINSTALLED. Accepted, because: {}", shown(reason)));
    }
    lines.extend(variant.platforms.iter().map(|platform| format!("    for {} ({platform})", platform_words(platform))));
    lines
}

fn arguments(what: &str, arguments: &[String]) -> String {
    if arguments.is_empty() {
        return what.to_owned();
    }
    format!("{what} (with {})", arguments.iter().map(|a| shown(a)).collect::<Vec<_>>().join(" "))
}

/// How it is installed, what its installer leaves, and what takes it off.
fn installer_words(variant: &Variant) -> (String, String, String) {
    if let Installer::Node { version } = &variant.installer {
        let how = format!("THE SITE NODE'S OWN PROGRAM, version {}", shown(version));
        return (how, "the digest of the program that runs".to_owned(), "the program from before".to_owned());
    }
    let proof = variant.installer.sign().as_ref().map_or_else(|| "its own word".to_owned(), sign_words);
    let (how, back) = match &variant.installer {
        Installer::Msi { product_code, properties, .. } => {
            (arguments("msi package", properties), format!("msiexec /x {}", shown(product_code)))
        }
        Installer::Msp { product_code, patch_code, properties } => (
            arguments("msp patch", properties),
            format!("msiexec /i {} MSIPATCHREMOVE={}", shown(product_code), shown(patch_code)),
        ),
        Installer::Hotfix { kb, switches } => {
            (arguments("update.exe package", switches), format!("spuninst.exe of {}", shown(kb)))
        }
        Installer::Msu { kb, package } => {
            let vista = variant.nt_versions().contains(&NtVersion::VISTA);
            let back = match package {
                Some(package) if vista => format!("pkgmgr /up:{}", shown(package)),
                _ => format!("wusa /uninstall of {}", shown(kb)),
            };
            ("msu package".to_owned(), back)
        }
        Installer::Cab { package } => {
            ("servicing package".to_owned(), format!("the servicing stack, by the name {}", shown(package)))
        }
        Installer::LinuxPackage { name, replaces, .. } => {
            let back = match replaces {
                Some(version) => format!("putting {} {} on again", shown(name), shown(version)),
                None => format!("removing {}", shown(name)),
            };
            ("Linux package".to_owned(), back)
        }
        Installer::Script { interpreter: Interpreter::Sh } => ("sh script".to_owned(), "its own uninstall".to_owned()),
        Installer::Node { .. } => ("program of a node".to_owned(), "the program from before".to_owned()),
        Installer::Script { interpreter: Interpreter::Cmd } => {
            ("cmd script".to_owned(), "its own uninstall".to_owned())
        }
    };
    (how, proof, back)
}

fn sign_words(sign: &Sign) -> String {
    match sign {
        Sign::Hotfix { kb } => shown(kb),
        Sign::Msi { product_code, display_version } => {
            let version = display_version.as_deref().map(|v| format!(" version {}", shown(v))).unwrap_or_default();
            format!("product {}{version}", shown(product_code))
        }
        Sign::Msp { product_code, patch_code } => {
            format!("patch {} of product {}", shown(patch_code), shown(product_code))
        }
        Sign::Msu { kb, package: None } => format!("update {}", shown(kb)),
        Sign::Msu { kb, package: Some(package) } => format!("update {} ({})", shown(kb), shown(package)),
        Sign::Cab { package } => shown(package),
        Sign::LinuxPackage { name, version, .. } => format!("package {} {}", shown(name), shown(version)),
        Sign::File { path, version } => format!("{} {version} or later", shown(path)),
        Sign::Registry { key, value, data } => {
            let data = data.as_deref().map(|data| format!(" = {}", shown(data))).unwrap_or_default();
            format!(r"the registry's {}\{}{data}", shown(key), shown(value))
        }
    }
}
