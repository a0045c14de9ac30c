//! What may stand in a patch: texts from here end up in command lines on devices, so only what no shell would
//! interpret is allowed, and nothing that would forbid taking the patch back.
//!
//! Import checks by these functions, and the node once more before it writes a command line.

use super::rules::package_endings;
use crate::model::{Installer, Interpreter};

/// Longest file name, bytes: Windows' `MAX_PATH` is 260 for the whole path, and nodes take no longer one.
const FILE_NAME_BYTES_MAX: usize = 120;
/// Longest switch or property, bytes.
const ARGUMENT_BYTES_MAX: usize = 120;
/// Most switches or properties of one installer.
pub(super) const ARGUMENTS_MAX: usize = 32;

/// Device names that Windows opens in place of a file, whatever follows the first dot
/// (learn.microsoft.com, "Naming Files, Paths, and Namespaces").
const DEVICE_NAMES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// What is wrong, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({hint})")]
pub struct Fault {
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: String,
}

/// What the checks of this module return.
pub type Checked = Result<(), Fault>;

pub(super) fn fault(message: impl Into<String>, hint: impl Into<String>) -> Checked {
    Err(Fault { message: message.into(), hint: hint.into() })
}

fn plain(text: &str, also: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

/// A file name that neither `cmd` nor `sh` interprets.
pub(super) fn file_name(name: &str) -> Checked {
    let hint = "letters, digits, '.', '_' and '-' only; set payload.file_name to a name of that kind";
    if name.len() > FILE_NAME_BYTES_MAX {
        return fault(format!("the file name has {} bytes; at most {FILE_NAME_BYTES_MAX} fit", name.len()), hint);
    }
    if name.contains(['/', '\\']) {
        return fault(format!("{name:?} holds a path separator; a file name was expected"), hint);
    }
    if !plain(name, "._-") {
        return fault(format!("{name:?} holds characters that a shell would interpret"), hint);
    }
    if name.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("wr-")) {
        return fault(format!("{name:?} begins with the mark of wardround's own files"), hint);
    }
    // A leading dash would be read as an option; Windows drops trailing dots.
    if name.starts_with(['-', '.']) || name.ends_with('.') {
        return fault(format!("{name:?} begins with '-' or '.', or ends with '.'"), hint);
    }
    let stem = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let port = |prefix: &str| stem.strip_prefix(prefix).is_some_and(|n| n.len() == 1 && n != "0" && plain(n, ""));
    if DEVICE_NAMES.contains(&stem.as_str()) || port("com") || port("lpt") {
        return fault(format!("{name:?} is the name of a device on Windows"), hint);
    }
    Ok(())
}

/// "CVE-2019-0708" (cve.org, syntax since 2014: at least four digits after the year).
pub(super) fn cve(id: &str) -> Checked {
    let digits =
        |t: &str, min: usize, max: usize| (min..=max).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = id.split('-').collect();
    match parts[..] {
        ["CVE", year, number] if digits(year, 4, 4) && digits(number, 4, 12) => Ok(()),
        _ => fault(format!("{id:?} is not a CVE id"), "for example CVE-2019-0708"),
    }
}

/// The installer's own texts, and the payload's file name where the installer goes by it.
pub(super) fn installer(installer: &Installer, file_name: &str) -> Vec<(String, Fault)> {
    let mut checks: Vec<(String, Checked)> = Vec::new();
    let list = |checks: &mut Vec<(String, Checked)>, field: &str, items: &[String], check: fn(&str) -> Checked| {
        if items.len() > ARGUMENTS_MAX {
            checks.push((field.to_owned(), fault(format!("more than {ARGUMENTS_MAX} of them"), "leave some out")));
        }
        let items = items.iter().take(ARGUMENTS_MAX).enumerate();
        checks.extend(items.map(|(index, item)| (format!("{field}[{index}]"), check(item))));
    };
    match installer {
        Installer::Msi { product_code: code, display_version, properties } => {
            checks.push(("product_code".to_owned(), product_code(code)));
            if let Some(version) = display_version {
                checks.push(("display_version".to_owned(), version_text(version)));
            }
            list(&mut checks, "properties", properties, property);
            checks.push((String::new(), extension(file_name, "an msi", &["msi"])));
        }
        Installer::Msp { product_code: product, patch_code, properties } => {
            checks.push(("product_code".to_owned(), product_code(product)));
            checks.push(("patch_code".to_owned(), product_code(patch_code)));
            list(&mut checks, "properties", properties, property);
            checks.push((String::new(), extension(file_name, "an msp", &["msp"])));
        }
        Installer::Msu { kb: number, package } => {
            checks.push(("kb".to_owned(), kb(number)));
            if let Some(package) = package {
                checks.push(("package".to_owned(), servicing_name(package)));
            }
            checks.push((String::new(), extension(file_name, "an msu", &["msu"])));
        }
        Installer::Cab { package } => {
            checks.push(("package".to_owned(), servicing_name(package)));
            checks.push((String::new(), extension(file_name, "a cab", &["cab"])));
        }
        Installer::LinuxPackage { manager, name, version, replaces } => {
            checks.push(("name".to_owned(), package_name(name)));
            checks.push(("version".to_owned(), package_version(version)));
            if let Some(replaces) = replaces {
                checks.push(("replaces".to_owned(), package_version(replaces)));
                if replaces == version {
                    let same = fault("it is the version that it replaces", "correct one of them");
                    checks.push(("replaces".to_owned(), same));
                }
            }
            checks.push((String::new(), extension(file_name, "a package", package_endings(*manager))));
        }
        Installer::Hotfix { kb: number, switches } => {
            checks.push(("kb".to_owned(), kb(number)));
            list(&mut checks, "switches", switches, hotfix_switch);
            checks.push((String::new(), extension(file_name, "a hotfix", &["exe"])));
        }
        Installer::Script { interpreter: Interpreter::Cmd } => {
            checks.push((String::new(), extension(file_name, "a cmd script", &["cmd", "bat"])));
        }
        Installer::Node { version } => checks.push(("version".to_owned(), version_text(version))),
        Installer::Script { interpreter: Interpreter::Sh } => {}
    }
    checks.into_iter().filter_map(|(field, checked)| Some((field, checked.err()?))).collect()
}

/// Windows chooses the program by the extension.
pub(super) fn extension(file_name: &str, what: &str, allowed: &[&str]) -> Checked {
    let name = file_name.to_ascii_lowercase();
    if allowed.iter().any(|ext| name.ends_with(&format!(".{ext}"))) {
        return Ok(());
    }
    fault(
        format!("the payload {file_name:?} of {what} does not end in .{}", allowed.join(" or .")),
        "check installer.technology, or set payload.file_name",
    )
}

/// A product code: "{90120000-0030-0000-0000-0000000FF1CE}".
///
/// # Errors
/// [`Fault`] when it has another form.
pub fn product_code(code: &str) -> Checked {
    let inner = code.strip_prefix('{').and_then(|c| c.strip_suffix('}'));
    let groups = |inner: &str| {
        let parts: Vec<&str> = inner.split('-').collect();
        parts.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12]) && parts.concat().bytes().all(|b| b.is_ascii_hexdigit())
    };
    if inner.is_some_and(groups) {
        return Ok(());
    }
    fault(
        format!("{code:?} is not a product code: expected a GUID in braces"),
        "`msiinfo export FILE.msi Property` shows it as ProductCode; quote it, since YAML reads { as a group",
    )
}

/// Longest servicing name: CBS names end up in file names.
const SERVICING_NAME_MAX: usize = 200;

/// Servicing name of a package: "Package_for_KB958644~31bf3856ad364e35~x86~~6.0.1.0" (name, key, architecture, language,
/// version; `dism /online /get-packages` lists them).
///
/// # Errors
/// [`Fault`] when it has another form.
pub fn servicing_name(name: &str) -> Checked {
    let parts: Vec<&str> = name.split('~').collect();
    let version = |text: &str| text.split('.').count() == 4 && plain(text, ".");
    let whole = matches!(parts[..], [name, key, arch, language, number]
        if plain(name, "._-") && plain(key, "") && plain(arch, "") && (language.is_empty() || plain(language, "-")) && version(number));
    if whole && name.len() <= SERVICING_NAME_MAX {
        return Ok(());
    }
    fault(
        format!("{name:?} is not a servicing name"),
        "as `dism /online /get-packages` shows it: Package_for_KB958644~31bf3856ad364e35~x86~~6.0.1.0",
    )
}

/// Name of a Linux package (Debian policy 5.6.7; RPM allows capitals and '_' too).
///
/// # Errors
/// [`Fault`] when it has another form.
pub fn package_name(name: &str) -> Checked {
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.len() <= ARGUMENT_BYTES_MAX && plain(name, "+-._") {
        return Ok(());
    }
    fault(format!("{name:?} is not the name of a package"), "for example openssl")
}

/// Version of a Linux package (Debian policy 5.6.12), as its manager prints it.
///
/// # Errors
/// [`Fault`] when it has another form.
pub fn package_version(version: &str) -> Checked {
    if version.len() <= ARGUMENT_BYTES_MAX
        && version.starts_with(|c: char| c.is_ascii_alphanumeric())
        && plain(version, "+-._~:^")
    {
        return Ok(());
    }
    fault(
        format!("{version:?} is not the version of a package"),
        "as `dpkg-query -W` or `rpm -q --qf '%{VERSION}-%{RELEASE}'` shows it",
    )
}

/// Longest path and registry key, bytes: MAX_PATH, and what `reg.exe` of XP takes on a line.
const PATH_BYTES_MAX: usize = 240;

/// Variables that a path on a device may begin with: the system's own, the same for every account.
const PATH_ROOTS: [&str; 6] =
    ["%windir%", "%systemroot%", "%programfiles%", "%programfiles(x86)%", "%commonprogramfiles%", "%systemdrive%"];

/// A path on a Windows device: a drive, or one of the system's own folders by its variable.
///
/// # Errors
/// [`Fault`] when it has another form, or characters that a shell or a script would interpret.
pub fn device_path(path: &str) -> Checked {
    let lower = path.to_ascii_lowercase();
    let rest = PATH_ROOTS.iter().find_map(|root| lower.strip_prefix(root)).or_else(|| {
        let mut chars = lower.chars();
        (chars.next()?.is_ascii_alphabetic() && chars.next()? == ':').then_some(chars.as_str())
    });
    let good = rest.is_some_and(|rest| rest.starts_with('\\') && plain(rest, "\\._-+ ()") && !rest.contains(".."));
    if good && path.len() <= PATH_BYTES_MAX {
        return Ok(());
    }
    fault(
        format!("{path:?} is not a plain path on a Windows device"),
        r"for example %windir%\system32\drivers\termdd.sys; letters, digits and . _ - + ( ) and spaces",
    )
}

/// Key of the machine's registry.
///
/// # Errors
/// [`Fault`] when it has another form.
pub fn registry_key(key: &str) -> Checked {
    let begins = ["HKLM\\SOFTWARE\\", "HKLM\\SYSTEM\\"].iter().any(|root| {
        key.get(..root.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(root)) && key.len() > root.len()
    });
    if begins && key.len() <= PATH_BYTES_MAX && plain(key, "\\._-+ (){}~") && !key.ends_with('\\') {
        return Ok(());
    }
    fault(
        format!("{key:?} is not a plain key of the registry"),
        r"it begins with HKLM\SOFTWARE\ or HKLM\SYSTEM\; letters, digits and . _ - + ( ) { } ~ and spaces",
    )
}

/// Name or data of a registry value.
///
/// # Errors
/// [`Fault`] when it holds anything that a shell would interpret.
pub fn registry_text(text: &str) -> Checked {
    if text.len() <= ARGUMENT_BYTES_MAX && plain(text, "._-+ (){}:") && text.trim() == text {
        return Ok(());
    }
    fault(format!("{text:?} is not plain"), "letters, digits and . _ - + : ( ) { } and spaces")
}

pub(super) fn version_text(version: &str) -> Checked {
    if version.len() <= ARGUMENT_BYTES_MAX && plain(version, "._-") {
        return Ok(());
    }
    fault(format!("{version:?} is not a version"), "as the registry shows DisplayVersion, for example 1.2.0")
}

/// A KB number: "KB4500331".
///
/// # Errors
/// [`Fault`] when it has another form.
pub fn kb(number: &str) -> Checked {
    let digits = number.strip_prefix("KB").unwrap_or_default();
    if (5..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    fault(format!("{number:?} is not a KB number: expected KB and 5 to 8 digits"), "for example KB4500331")
}

/// Switches of update.exe that would not install, would reboot by themselves, or would make the patch stay for ever
/// (Microsoft security bulletin MS08-067, "Deployment information", and KB262841 for the short forms), and those of an
/// IExpress wrapper that name another command or a reboot (KB197147).
const SWITCHES_REFUSED: [(&str, &[&str]); 3] = [
    ("nothing would be installed on the device", &["extract", "x", "integrate", "s", "help", "h", "l", "uninstall"]),
    ("the node decides when the device reboots", &["forcerestart", "warnrestart", "promptrestart", "passive", "r"]),
    ("something else than the patch would be run", &["c", "t"]),
];

/// Switches after which no files are kept for taking the patch back (MS08-067; `/n` is the short form). A patch may have them
/// only where its variant says that it is irreversible.
const NO_BACKUP: [&str; 2] = ["nobackup", "n"];

/// Whether this switch of `update.exe` gives up the way back.
#[must_use]
pub fn keeps_no_backup(switch: &str) -> bool {
    let word = switch.trim_start_matches(['/', '-']).split(':').next().unwrap_or_default();
    NO_BACKUP.iter().any(|known| known.eq_ignore_ascii_case(word))
}

/// A switch of `update.exe`: `/word` or `/word:value`.
///
/// # Errors
/// [`Fault`] when it has another form, or would keep the patch from being installed, watched or taken back.
pub fn hotfix_switch(switch: &str) -> Checked {
    let body = switch.strip_prefix('/').unwrap_or_default();
    let (word, value) = body.split_once(':').map_or((body, None), |(word, value)| (word, Some(value)));
    if switch.len() > ARGUMENT_BYTES_MAX || !plain(word, "") || value.is_some_and(|v| !plain(v, "._-")) {
        return fault(
            format!("{switch:?} is not a switch: expected /word or /word:value"),
            "for example /overwriteoem",
        );
    }
    let lower = word.to_ascii_lowercase();
    match SWITCHES_REFUSED.iter().find(|(_, words)| words.contains(&lower.as_str())) {
        Some((why, _)) => fault(format!("{switch} is refused: {why}"), "remove it"),
        None => Ok(()),
    }
}

/// Public properties that would turn the install into something else, or take the reboot out of the node's hands
/// (learn.microsoft.com, "Property Reference" of Windows Installer).
const PROPERTIES_REFUSED: [&str; 12] = [
    "REBOOT",
    "REBOOTPROMPT",
    "REMOVE",
    "ACTION",
    "ADVERTISE",
    "TRANSFORMS",
    "PATCH",
    // A failed install would stay half done.
    "DISABLEROLLBACK",
    // Another product code than the one that detection and uninstall go by.
    "MSINEWINSTANCE",
    "MSIPATCHREMOVE",
    "EXECUTEACTION",
    "SEQUENCE",
];

/// A property of Windows Installer: `NAME=value`; public properties are in capitals.
///
/// # Errors
/// [`Fault`] when it has another form, or changes what the installer does.
pub fn property(text: &str) -> Checked {
    let Some((name, value)) = text.split_once('=') else {
        return fault(format!("{text:?} is not a property: expected NAME=value"), "for example ALLUSERS=1");
    };
    let named = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | '.'));
    if text.len() > ARGUMENT_BYTES_MAX || !named || !plain(value, "._,-") {
        return fault(
            format!("{text:?} is not a property that can be passed safely"),
            "NAME in capitals, digits, '_' or '.'; value of letters, digits, '.', '_', ',' and '-'",
        );
    }
    if PROPERTIES_REFUSED.contains(&name) {
        return fault(format!("{name} is refused: it changes what the installer does"), "remove it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(check: fn(&str) -> Checked, texts: &[&str]) {
        for text in texts {
            assert!(check(text).is_err(), "{text:?} was accepted");
        }
    }

    fn accepted(check: fn(&str) -> Checked, texts: &[&str]) {
        for text in texts {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn nothing_that_a_shell_would_interpret_gets_through() {
        accepted(file_name, &["WindowsXP-KB4500331-x86-Embedded-ENU.exe", "a", "console.msi", "com10.exe"]);
        refused(
            file_name,
            &[
                "",
                "a b",
                "a/b",
                "a\\b",
                "..",
                ".hidden",
                "-rf",
                "a;b",
                "a&b",
                "a|b",
                "$(id)",
                "`id`",
                "%PATH%",
                "a^b",
                "a'b",
                "a\"b",
                "a\nb",
                "ä.exe",
                "nul",
                "CON.exe",
                "com1.msi",
                "x.",
                &"a".repeat(256),
            ],
        );
        accepted(property, &["ALLUSERS=1", "ADDLOCAL=Core,Help", "INSTALL_MODE=site-2.1"]);
        refused(
            property,
            &[
                "ALLUSERS",
                "allusers=1",
                "A=",
                "A=b c",
                "A=%TEMP%",
                "A=\"x\"",
                "A=x&calc",
                "=1",
                "REBOOT=Force",
                "REMOVE=ALL",
                "DISABLEROLLBACK=1",
                "MSINEWINSTANCE=1",
            ],
        );
        accepted(hotfix_switch, &["/overwriteoem", "/ER", "/log:install.txt"]);
        refused(
            hotfix_switch,
            &[
                "",
                "/",
                "quiet",
                "-q",
                "/extract:x",
                "/x",
                "/forcerestart",
                "/c:calc.exe",
                "/r:a",
                "/a b",
                "/log:c:\\x",
                "/a&b",
                "/log:",
            ],
        );
    }

    #[test]
    fn ids_have_their_forms() {
        accepted(cve, &["CVE-2019-0708", "CVE-2017-1234567"]);
        refused(
            cve,
            &["", "2019-0708", "cve-2019-0708", "CVE-19-0708", "CVE-2019-708", "CVE-2019-07o8", "CVE-2019-0708-1"],
        );
        accepted(kb, &["KB4500331", "KB958644"]);
        refused(kb, &["", "KB", "kb4500331", "4500331", "KB45", "KB45003x1", "KB123456789"]);
        accepted(product_code, &["{90120000-0030-0000-0000-0000000FF1CE}", "{90120000-0030-0000-0000-0000000ff1ce}"]);
        refused(
            product_code,
            &[
                "",
                "90120000-0030-0000-0000-0000000FF1CE",
                "{90120000}",
                "{9012000-00030-0000-0000-0000000FF1CE}",
                "{g0120000-0030-0000-0000-0000000FF1CE}",
            ],
        );
    }
}
