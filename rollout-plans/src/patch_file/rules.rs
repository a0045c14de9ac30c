//! What a variant may say, whether it is still a manifest or a finished document.

use super::{
    VariantFile,
    lint::IRREVERSIBLE_BYTES_MAX,
    safe::{self, Checked, Fault, fault},
};
use crate::model::{Detection, Installer, NtVersion, PackageManager, Platform, Sign, Variant, Version};
use wardround_signing::is_hidden;

/// The field of a fault that is about the payload's name on the device.
pub(super) const FILE_NAME: &str = "payload.file_name";
/// Most alternatives of a detection: Windows 10's cumulative updates that hold one fix are some forty.
const ALTERNATIVES_MAX: usize = 64;
/// Most files of a detection.
const FILES_MAX: usize = 32;

/// NT version and builds: what the first three numbers of the versions of Windows' own files are.
/// Source: learn.microsoft.com, "Windows release information", and the bulletins' file lists. Windows 10 counts on.
const BUILDS: &[((u32, u32), &[u16])] = &[
    ((5, 0), &[2195]),
    ((5, 1), &[2600]),
    ((5, 2), &[3790]),
    ((6, 0), &[6000, 6001, 6002, 6003]),
    ((6, 1), &[7600, 7601]),
    ((6, 2), &[9200]),
    ((6, 3), &[9600]),
];

/// What is written of a variant.
pub(super) struct Written<'a> {
    installer: &'a Installer,
    file_name: &'a str,
    platforms: &'a [Platform],
    detection: &'a Detection,
    /// Name of the package that it replaces.
    previous: Option<&'a str>,
    irreversible: Option<&'a str>,
}

impl VariantFile {
    pub(super) fn written(&self) -> Written<'_> {
        Written {
            installer: &self.installer,
            file_name: &self.payload.name,
            platforms: &self.platforms,
            detection: &self.detection,
            previous: self.previous.as_ref().map(|file| file.name.as_str()),
            irreversible: self.irreversible.as_deref(),
        }
    }
}

impl Variant {
    pub(super) fn written(&self) -> Written<'_> {
        Written {
            installer: &self.installer,
            file_name: &self.payload.file_name,
            platforms: &self.platforms,
            detection: &self.detection,
            previous: self.previous.as_ref().map(|payload| payload.file_name.as_str()),
            irreversible: self.irreversible.as_deref(),
        }
    }
}

/// What is wrong, with the field.
pub(super) fn faults(variant: &Written<'_>) -> Vec<(String, Fault)> {
    let mut checks: Vec<(String, Checked)> = vec![(FILE_NAME.to_owned(), safe::file_name(variant.file_name))];
    for (field, checked) in safe::installer(variant.installer, variant.file_name) {
        let field = if field.is_empty() { FILE_NAME.to_owned() } else { format!("installer.{field}") };
        checks.push((field, Err(checked)));
    }
    checks.push(("installer.technology".to_owned(), fits(variant)));
    detection(variant, &mut checks);
    checks.push(("previous".to_owned(), previous(variant)));
    checks.push(reversible(variant));
    checks.into_iter().filter_map(|(field, checked)| Some((field, checked.err()?))).collect()
}

/// Whether the technology exists on the platforms.
fn fits(variant: &Written<'_>) -> Checked {
    let installer = variant.installer;
    let exists = |nt: &NtVersion| match installer {
        Installer::Hotfix { .. } => *nt < NtVersion::VISTA,
        Installer::Msu { .. } | Installer::Cab { .. } => *nt >= NtVersion::VISTA,
        Installer::LinuxPackage { .. } | Installer::Node { .. } => false,
        Installer::Msi { .. } | Installer::Msp { .. } | Installer::Script { .. } => true,
    };
    let of_node = matches!(installer, Installer::Node { .. });
    if let Some(platform) = variant.platforms.iter().find(|platform| platform.is_node() != of_node) {
        let hint = "technology node and platforms cpe:2.3:a:wardround:node:… go together, and with nothing else";
        return fault(format!("{} packages are not for {platform}", installer.word()), hint);
    }
    if of_node && variant.platforms.iter().any(|platform| matches!(platform.hardware(), "*" | "-")) {
        let hint = "name it in the last but one part: cpe:2.3:a:wardround:node:*:*:*:*:*:*:x64:*";
        return fault("a program runs on one kind of processor only, and the platform names none", hint);
    }
    for platform in variant.platforms {
        let versions = NtVersion::of(platform);
        if let (Some(nt), false) = (versions.first(), versions.iter().any(exists)) {
            let hint = match installer {
                Installer::Hotfix { .. } => "update.exe packages are for NT 5; later Windows has msu and cab",
                Installer::Msu { .. } | Installer::Cab { .. } => "Windows before NT 6.0 has hotfix packages",
                _ => "give this platform a variant of its own",
            };
            return fault(format!("{platform} is {nt}, which has no {} packages", installer.word()), hint);
        }
    }
    let mut versions = variant.platforms.iter().flat_map(NtVersion::of);
    let servicing = matches!(installer, Installer::Msu { .. } | Installer::Cab { .. });
    if servicing && versions.clone().any(|nt| nt == NtVersion::VISTA) && versions.any(|nt| nt != NtVersion::VISTA) {
        return fault(
            format!("{} packages are handled otherwise on NT 6.0 than later", installer.word()),
            "give NT 6.0 (Vista, Server 2008) a variant of its own",
        );
    }
    Ok(())
}

fn detection(variant: &Written<'_>, checks: &mut Vec<(String, Checked)>) {
    let Detection { any_of, files } = variant.detection;
    if matches!(variant.installer, Installer::Node { .. }) && !variant.detection.is_empty() {
        let alone = fault("a node knows by itself which program it runs", "remove it");
        return checks.push(("detection".to_owned(), alone));
    }
    let unix = !variant.installer.is_windows();
    for (field, count, max) in
        [("any_of", any_of.len(), ALTERNATIVES_MAX), ("files", files.len(), FILES_MAX)].map(|(f, c, m)| (f, c, m))
    {
        if count > max {
            checks
                .push((format!("detection.{field}"), fault(format!("at most {max} are asked for"), "leave some out")));
        }
    }
    for (index, one) in any_of.iter().enumerate().take(ALTERNATIVES_MAX) {
        let field = format!("detection.any_of[{index}]");
        checks.push((field.clone(), sign(one)));
        if unix != matches!(one, Sign::LinuxPackage { .. }) {
            let hint = "signs of Windows are for Windows, packages of Linux for Linux";
            checks.push((field.clone(), fault("the device can't show this sign", hint)));
        }
        if let Sign::File { path, version } = one {
            checks.push((field, file_of(path, *version, variant.platforms)));
        }
    }
    for (index, file) in files.iter().enumerate().take(FILES_MAX) {
        let field = format!("detection.files[{index}]");
        checks.push((field.clone(), safe::device_path(&file.path)));
        checks.push((field.clone(), file_of(&file.path, file.version, variant.platforms)));
        if unix {
            checks.push((field, fault("only files of Windows have a version", "remove it")));
        }
    }
}

/// What may stand in a sign.
pub(super) fn sign(sign: &Sign) -> Checked {
    match sign {
        Sign::Hotfix { kb } => safe::kb(kb),
        Sign::Msi { product_code, display_version } => {
            let version = display_version.as_deref().map_or(Ok(()), safe::version_text);
            safe::product_code(product_code).and(version)
        }
        Sign::Msp { product_code, patch_code } => safe::product_code(product_code).and(safe::product_code(patch_code)),
        Sign::Msu { kb, package } => safe::kb(kb).and(package.as_deref().map_or(Ok(()), safe::servicing_name)),
        Sign::Cab { package } => safe::servicing_name(package),
        Sign::LinuxPackage { name, version, .. } => safe::package_name(name).and(safe::package_version(version)),
        Sign::File { path, .. } => safe::device_path(path),
        Sign::Registry { key, value, data } => {
            safe::registry_key(key).and(safe::registry_text(value)).and(match data {
                Some(data) => safe::registry_text(data),
                None => Ok(()),
            })
        }
    }
}

/// A file of Windows itself carries the NT version that it was built for: the number of another one is never reached, or
/// always. Other files below it (browsers, players) count in their own way.
fn file_of(path: &str, version: Version, platforms: &[Platform]) -> Checked {
    let lower = path.to_ascii_lowercase();
    let own = ["%windir%", "%systemroot%"].iter().any(|root| lower.starts_with(root));
    let built = BUILDS.iter().find(|((major, minor), builds)| {
        version.nt() == NtVersion { major: *major, minor: *minor } && builds.contains(&version.0[2])
    });
    let versions: Vec<NtVersion> = platforms.iter().flat_map(NtVersion::of).collect();
    if !own || built.is_none() || versions.is_empty() || versions.contains(&version.nt()) {
        return Ok(());
    }
    let names: Vec<String> = versions.iter().map(NtVersion::to_string).collect();
    fault(
        format!("{path} {version} is of {}, but the variant is for {}", version.nt(), names.join(", ")),
        "take the version from the bulletin's table for this very Windows",
    )
}

fn previous(variant: &Written<'_>) -> Checked {
    match (variant.installer, variant.previous) {
        (Installer::LinuxPackage { manager, replaces: Some(_), .. }, Some(name)) => {
            if name == variant.file_name {
                return fault("both packages have one name on the device", "set payload.file_name of one of them");
            }
            safe::file_name(name).and(safe::extension(name, "the previous package", package_endings(*manager)))
        }
        (Installer::LinuxPackage { replaces: Some(version), .. }, None) => fault(
            format!("version {version} is to be replaced, but its package is not here: it could not be put on again"),
            "name the old package's file under `previous`",
        ),
        (_, Some(_)) => fault(
            "a previous package is put on again only by linux_package with `replaces`",
            "remove it, or say which version is replaced",
        ),
        (_, None) => Ok(()),
    }
}

pub(super) fn package_endings(manager: PackageManager) -> &'static [&'static str] {
    match manager {
        PackageManager::Rpm => &["rpm"],
        PackageManager::Dpkg => &["deb"],
    }
}

/// Whether the package's own means take it off again; else why not.
///
/// # Errors
/// One sentence.
pub fn uninstalls(variant: &Variant) -> Result<(), String> {
    match variant.irreversible {
        Some(_) => Err("the signed patch says that it can't be uninstalled".to_owned()),
        None => stays(&variant.written()).map_or(Ok(()), |(_, fault)| Err(fault.message)),
    }
}

/// What keeps the package from being taken off, with its field.
/// Sources: MS08-067 (`/nobackup`), KB940410 (NT 6.0 uninstalls by servicing name only).
fn stays(variant: &Written<'_>) -> Option<(String, Fault)> {
    let vista = || variant.platforms.iter().flat_map(NtVersion::of).any(|nt| nt == NtVersion::VISTA);
    let (field, message, hint) = match variant.installer {
        Installer::Hotfix { switches, .. } => {
            let index = switches.iter().position(|switch| safe::keeps_no_backup(switch))?;
            let message = format!("{} keeps no files from which update.exe could take it back", switches[index]);
            (format!("switches[{index}]"), message, "remove the switch")
        }
        Installer::Msu { package: None, .. } if vista() => (
            "technology".to_owned(),
            "wusa of NT 6.0 can't uninstall, and without the servicing name nothing else can".to_owned(),
            "add installer.package, which `pkgmgr` takes it off by: the .cab inside the .msu tells it",
        ),
        _ => return None,
    };
    Some((format!("installer.{field}"), Fault { message, hint: hint.to_owned() }))
}

/// What can't be taken off is brought only where both roles sign that.
fn reversible(variant: &Written<'_>) -> (String, Checked) {
    let field = "irreversible".to_owned();
    match variant.irreversible {
        None => match stays(variant) {
            None => (field, Ok(())),
            Some((field, found)) => {
                let message = format!("the patch could not be taken back: {}", found.message);
                (field, fault(message, format!("{}; or say why that is accepted: `irreversible: reason`", found.hint)))
            }
        },
        Some(reason) => {
            let plain = !reason.trim().is_empty() && !reason.chars().any(is_hidden);
            if plain && reason.len() <= IRREVERSIBLE_BYTES_MAX {
                return (field, Ok(()));
            }
            (
                field,
                fault(format!("expected one line of 1 to {IRREVERSIBLE_BYTES_MAX} bytes"), "say why it is accepted"),
            )
        }
    }
}
