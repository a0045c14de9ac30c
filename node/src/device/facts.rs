//! What a device says of itself: which Windows it is, whether it waits for a restart, how much room it has, and whether a write
//! filter protects it.

use wardround_rollout_plans::model::NtVersion;

use super::ask;
use crate::{
    config::FilterKind,
    installers::{WindowsFacts, hardware_of, language_of, parse_exit_code, service_pack_of, write_filter},
    transports::{
        DeviceError, QUESTION_TIMEOUT, Transport,
        shell::{self, Section, Shell, quote},
    },
};

/// Directory for questions that belong to no operation.
pub(super) const OP: &str = "preflight";
/// What is asked for by [`reboot_pending`], for errors.
const PENDING_QUESTION: &str = "the question whether a reboot is pending";

/// What was found. Fields without an answer are `None`.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Why it waits for a restart, empty where it does not.
    pub(crate) pending: Option<Vec<&'static str>>,
    pub(crate) free_bytes: Option<u64>,
    pub(crate) windows: Option<WindowsFacts>,
    /// The CPE name that a sandbox claims.
    pub(crate) claims: Option<String>,
    /// Drivers of write filters that are there and not disabled.
    pub(crate) filters: Vec<FilterKind>,
}

const NT: &str = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion";
const CONTROL: &str = r"HKLM\SYSTEM\CurrentControlSet\Control";

/// Registry values that say which Windows it is: section, key below `HKLM`, value.
const IDENTITY: [(&str, &str, &str); 6] = [
    ("build", NT, "CurrentBuildNumber"),
    ("product", NT, "ProductName"),
    ("pack", NT, "CSDVersion"),
    ("kind", r"HKLM\SYSTEM\CurrentControlSet\Control\ProductOptions", "ProductType"),
    ("language", r"HKLM\SYSTEM\CurrentControlSet\Control\Nls\Language", "InstallLanguage"),
    ("hardware", r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment", "PROCESSOR_ARCHITECTURE"),
];

pub(crate) async fn facts(transport: &Transport) -> Result<Facts, DeviceError> {
    let mut facts = Facts::default();
    if let Transport::Node(own) = transport {
        let pending = own.reboot_pending()?;
        facts.pending = Some(if pending { vec!["another program is next"] } else { Vec::new() });
        (facts.claims, facts.free_bytes) = (Some(own.platform()), own.free_bytes());
        return Ok(facts);
    }
    match transport.shell() {
        Shell::Cmd => {
            let mut sections = pending_sections()?;
            sections.push(Section { name: "ver", line: "ver".into() });
            for (name, key, value) in IDENTITY {
                sections.push(Section { name, line: value_line(key, value)? });
            }
            for (kind, key) in write_filter::DRIVERS {
                sections.push(Section { name: kind.word(), line: value_line(key, "Start")? });
            }
            if transport.local_root().is_none() {
                sections.push(Section { name: "dir", line: r"dir /-c %SystemDrive%\".into() });
            }
            let output = ask(transport, OP, "facts", &sections).await?;
            // Windows can say these; where it does not, nothing is known of the device, and it is left alone.
            let missing = |what: &str| DeviceError::Garbled {
                what: what.to_owned(),
                text: crate::transports::tail(&output, 300).to_owned(),
            };
            facts.pending = Some(pending(&output).ok_or_else(|| missing(PENDING_QUESTION))?);
            facts.windows = Some(windows(&output).ok_or_else(|| missing("ver"))?);
            for (kind, _) in write_filter::DRIVERS {
                // 4 is "disabled" (learn.microsoft.com, "CreateService", dwStartType).
                let start = value(&output, kind.word(), "Start").map_err(|()| missing("a filter's driver"))?;
                if start.is_some_and(|start| parse_exit_code(start) != Some(4)) {
                    facts.filters.push(kind);
                }
            }
            facts.free_bytes = shell::section(&output, "dir").and_then(|(_, text)| free_of_dir(text));
        }
        Shell::Sh => {
            let pending = reboot_pending(transport).await?;
            facts.pending = Some(if pending { vec!["reboot-required"] } else { Vec::new() });
            if transport.local_root().is_none() {
                let answer = transport.run_line("df -Pk /", QUESTION_TIMEOUT).await?;
                facts.free_bytes = free_of_df(&answer);
            }
        }
    }
    if let Some(root) = transport.local_root() {
        facts.free_bytes = nix::sys::statvfs::statvfs(root)
            .ok()
            .map(|stat| stat.blocks_available().saturating_mul(stat.fragment_size()));
        if transport.shell() == Shell::Sh {
            facts.claims = std::fs::read_to_string(root.join("platform")).ok().map(|text| text.trim().to_owned());
        }
    }
    Ok(facts)
}

fn value_line(key: &str, value: &str) -> Result<String, DeviceError> {
    Ok(format!("reg query {} /v {} 2>nul", quote(Shell::Cmd, key)?, quote(Shell::Cmd, value)?))
}

/// A value's data, or that it is not there; an error where that can't be told.
fn value<'o>(output: &'o str, section: &str, value: &str) -> Result<Option<&'o str>, ()> {
    match shell::section(output, section) {
        Some((0, answer)) => shell::registry_value(answer, value).map(Some).ok_or(()),
        Some((1, _)) => Ok(None),
        _ => Err(()),
    }
}

fn windows(output: &str) -> Option<WindowsFacts> {
    let nt = shell::section(output, "ver").and_then(|(_, text)| NtVersion::parse(text))?;
    let text = |section: &str| {
        let (_, _, name) = IDENTITY.iter().find(|(known, ..)| *known == section)?;
        value(output, section, name).ok().flatten()
    };
    // A service pack that is not there has no value; one that can't be read is not known.
    let pack = value(output, "pack", "CSDVersion").ok();
    Some(WindowsFacts {
        nt,
        build: text("build").and_then(|build| build.parse().ok()),
        service_pack: pack.and_then(service_pack_of),
        server: text("kind").map(|kind| !kind.eq_ignore_ascii_case("WinNT")),
        r2: text("product").is_some_and(|name| name.split_whitespace().any(|word| word == "R2")),
        language: text("language").and_then(language_of),
        hardware: text("hardware").and_then(hardware_of),
    })
}

/// `dir` ends with "  5 Dir(s)  123456 bytes free", in the system's language: the last number of the last line.
fn free_of_dir(text: &str) -> Option<u64> {
    let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
    let digits = last.split(|c: char| !c.is_ascii_digit() && !",.".contains(c)).rfind(|word| word.len() > 3)?;
    digits.replace([',', '.'], "").parse().ok()
}

/// POSIX `df -Pk`: the fourth column of the second line, in KiB.
fn free_of_df(text: &str) -> Option<u64> {
    let kib: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    kib.checked_mul(1024)
}

/// What a key that speaks of a restart must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// It is there.
    Key,
    /// This value of it is there, and neither empty nor zero.
    Value(&'static str),
    /// It has keys below it.
    Below,
}

const UPDATE: &str = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate";
const SERVICING: &str = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing";

/// Keys that say that a restart is pending: section, key, what it must hold.
/// Sources: KB832475 (UpdateExeVolatile, as a value and as a key), MoveFileEx (PendingFileRenameOperations), and the Windows Update
/// and servicing stacks as collected by "pending reboot" checks in wide use (adamtheautomator.com).
const PENDING: &[(&str, &str, &str, Asks)] = &[
    ("rename", CONTROL, r"\Session Manager", Asks::Value("PendingFileRenameOperations")),
    ("renameagain", CONTROL, r"\Session Manager", Asks::Value("PendingFileRenameOperations2")),
    ("volatile", r"HKLM\SOFTWARE\Microsoft\Updates", r"\UpdateExeVolatile", Asks::Value("Flags")),
    ("volatilevalue", r"HKLM\SOFTWARE\Microsoft\Updates", "", Asks::Value("UpdateExeVolatile")),
    ("update", UPDATE, r"\Auto Update\RebootRequired", Asks::Key),
    ("report", UPDATE, r"\Auto Update\PostRebootReporting", Asks::Key),
    ("services", UPDATE, r"\Services\Pending", Asks::Below),
    ("servicing", SERVICING, r"\RebootPending", Asks::Key),
    ("progress", SERVICING, r"\RebootInProgress", Asks::Key),
    ("packages", SERVICING, r"\PackagesPending", Asks::Key),
    ("runonce", r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion", r"\RunOnce", Asks::Value("DVDRebootSignal")),
    ("roles", r"HKLM\SOFTWARE\Microsoft\ServerManager", r"\CurrentRebootAttempts", Asks::Key),
];

/// The name that the computer has, and the one that it will have.
const NAMES: [(&str, &str); 2] = [("nameactive", "ActiveComputerName"), ("namenext", "ComputerName")];

fn pending_sections() -> Result<Vec<Section<'static>>, DeviceError> {
    let mut sections = Vec::new();
    for (name, key, below, asks) in PENDING {
        let key = quote(Shell::Cmd, &format!("{key}{below}"))?;
        let line = match asks {
            Asks::Value(value) => format!("reg query {key} /v {value} 2>nul"),
            Asks::Key | Asks::Below => format!("reg query {key} 2>nul"),
        };
        sections.push(Section { name, line });
    }
    for (name, key) in NAMES {
        sections.push(Section { name, line: value_line(&format!(r"{CONTROL}\ComputerName\{key}"), "ComputerName")? });
    }
    Ok(sections)
}

/// What asks for a restart. `None` when an answer is missing, or `reg.exe` is: then nobody knows.
fn pending(output: &str) -> Option<Vec<&'static str>> {
    let mut found = Vec::new();
    for (name, key, below, asks) in PENDING {
        let (code, answer) = shell::section(output, name)?;
        // 1 is "not there"; `cmd` answers 9009 for a program that it does not find.
        if code > 1 {
            return None;
        }
        let own = if below.is_empty() { *key } else { *below };
        let (wanted, word) = match asks {
            // An empty list, and a flag of zero, ask for nothing.
            Asks::Value(value) => (
                shell::registry_value(answer, value)
                    .is_some_and(|data| !data.replace(r"\0", "").trim().is_empty() && data != "0x0"),
                *value,
            ),
            Asks::Key => (code == 0, own.rsplit('\\').next().unwrap_or(own)),
            Asks::Below => (
                answer.lines().any(|line| line.trim_start().starts_with("HKEY_") && line.contains(r"\Pending\")),
                "Services\\Pending",
            ),
        };
        if wanted && !found.contains(&word) {
            found.push(word);
        }
    }
    let name = |section: &str| value(output, section, "ComputerName").ok();
    let (active, next) = (name(NAMES[0].0)?, name(NAMES[1].0)?);
    if let (Some(active), Some(next)) = (active, next)
        && !active.eq_ignore_ascii_case(next)
    {
        found.push("ComputerName");
    }
    Some(found)
}

pub(super) async fn reboot_pending(transport: &Transport) -> Result<bool, DeviceError> {
    match transport.shell() {
        Shell::Cmd => {
            let output = ask(transport, OP, "pending", &pending_sections()?).await?;
            let found = pending(&output).ok_or_else(|| DeviceError::Garbled {
                what: PENDING_QUESTION.into(),
                text: crate::transports::tail(&output, 300).to_owned(),
            })?;
            Ok(!found.is_empty())
        }
        Shell::Sh => {
            let file = match transport.local_root() {
                Some(root) => root.join("reboot-pending").display().to_string(),
                // Debian's update-notifier and many others.
                None => "/var/run/reboot-required".to_owned(),
            };
            let line = format!("if test -e {}; then echo YES; else echo NO; fi", quote(Shell::Sh, &file)?);
            yes_or_no(&transport.run_line(&line, QUESTION_TIMEOUT).await?)
        }
    }
}

/// An answer that was cut off is no "no".
fn yes_or_no(answer: &str) -> Result<bool, DeviceError> {
    match answer.trim() {
        "YES" => Ok(true),
        "NO" => Ok(false),
        other => Err(DeviceError::Garbled {
            what: PENDING_QUESTION.into(),
            text: crate::transports::tail(other, 300).to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_read_in_any_language() {
        assert_eq!(free_of_dir("  4 Dir(s)  65123456789 bytes free\n\n"), Some(65_123_456_789));
        assert_eq!(free_of_dir("  4 Verzeichnis(se), 65.123.456.789 Bytes frei"), Some(65_123_456_789));
        assert_eq!(free_of_dir("File Not Found"), None);
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 100 40 60 40% /";
        assert_eq!(free_of_df(df), Some(60 * 1024));
    }

    /// Every section as "not there", but these.
    fn output(told: &[(&str, &str)]) -> String {
        let names = PENDING.iter().map(|(name, ..)| *name).chain(NAMES.map(|(name, _)| name));
        names.fold(String::new(), |text, name| {
            let told = told.iter().find(|(known, _)| *known == name);
            let (answer, code) = told.map_or(("", 1), |(_, answer)| (*answer, 0));
            format!("{text}::begin {name}\n{answer}\n\n::end {name} {code}\n")
        })
    }

    #[test]
    fn a_pending_reboot_is_asked_for_by_any_of_the_keys() {
        let rename = |data: &str| format!("    PendingFileRenameOperations    REG_MULTI_SZ    {data}");
        let below = r"HKEY_LOCAL_MACHINE\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Services\Pending\{1}";
        for (told, why) in [
            (&[][..], &[][..]),
            (&[("rename", rename(r"\??\C:\a\0\0").as_str())], &["PendingFileRenameOperations"]),
            (&[("rename", rename(r"\0\0").as_str())], &[]),
            (&[("volatile", "    Flags    REG_DWORD    0x0")], &[]),
            (&[("volatile", "    Flags    REG_DWORD    0x4")], &["Flags"]),
            (&[("volatilevalue", "    UpdateExeVolatile    REG_DWORD    0x1")], &["UpdateExeVolatile"]),
            (&[("update", "")], &["RebootRequired"]),
            (&[("servicing", ""), ("packages", "")], &["RebootPending", "PackagesPending"]),
            (&[("services", r"HKEY_LOCAL_MACHINE\SOFTWARE\…\Services\Pending")], &[]),
            (&[("services", below)], &["Services\\Pending"]),
            (
                &[("nameactive", "    ComputerName    REG_SZ    A"), ("namenext", "    ComputerName    REG_SZ    B")],
                &["ComputerName"],
            ),
            (
                &[("nameactive", "    ComputerName    REG_SZ    A"), ("namenext", "    ComputerName    REG_SZ    a")],
                &[],
            ),
        ] {
            assert_eq!(pending(&output(told)).as_deref(), Some(why), "{told:?}");
        }
        assert_eq!(pending("::begin rename\n"), None, "cut off");
        assert_eq!(pending(&output(&[]).replace("end update 1", "end update 9009")), None, "reg.exe is not there");
        assert!(yes_or_no("YES\n").unwrap() && !yes_or_no("NO").unwrap());
        assert!(matches!(yes_or_no(""), Err(DeviceError::Garbled { .. })), "cut off");
    }

    #[test]
    fn a_windows_is_known_by_its_registry() {
        let told = [
            ("ver", "Microsoft Windows XP [Version 5.1.2600]"),
            ("build", "    CurrentBuildNumber    REG_SZ    2600"),
            ("product", "    ProductName    REG_SZ    Microsoft Windows XP"),
            ("pack", "    CSDVersion    REG_SZ    Service Pack 3"),
            ("kind", "    ProductType    REG_SZ    WinNT"),
            ("language", "    InstallLanguage    REG_SZ    0407"),
            ("hardware", "    PROCESSOR_ARCHITECTURE    REG_SZ    x86"),
        ];
        let text = |leave: &str| {
            told.iter().fold(String::new(), |text, (name, answer)| {
                let (answer, code) = if *name == leave { ("", 1) } else { (*answer, 0) };
                format!("{text}::begin {name}\n{answer}\n\n::end {name} {code}\n")
            })
        };
        let found = windows(&text("")).unwrap();
        assert_eq!(found.platform().unwrap().as_str(), "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:de-de:*:*:x86:*");
        assert_eq!((found.build, found.server), (Some(2600), Some(false)));
        assert_eq!(windows(&text("pack")).unwrap().service_pack, Some(0), "none was ever installed");
        assert_eq!(windows(&text("language")).unwrap().language, None);
        assert_eq!(windows(&text("ver")), None);
    }
}
