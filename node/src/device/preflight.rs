//! What is looked at before a device is touched. Nothing here changes the device.

use std::time::Duration;

use tokio::process::Command;
use wardround_rollout_plans::model::{NtVersion, Platform, Variant};

use super::{ask, bounded};
use crate::{
    config::{DeviceConfig, InUse},
    installers::platform_mismatch,
    transports::{
        DeviceError, QUESTION_TIMEOUT, Transport, decode, run_process,
        shell::{self, Section, Shell, quote},
    },
};

/// How long the question whether a device is in use may take. Silence counts as in use.
const IN_USE_TIMEOUT: Duration = Duration::from_secs(20);
/// What is asked for by [`reboot_pending`], for errors.
const PENDING_QUESTION: &str = "the question whether a reboot is pending";
/// Directory for questions that belong to no operation.
const OP: &str = "preflight";

/// What was found. `None` in a field means that the device could not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preflight {
    /// Whether the device answers; else why not.
    pub reachable: Result<(), String>,
    /// Whether it asks for a reboot.
    pub reboot_pending: Option<bool>,
    /// Free bytes on its system disk.
    pub free_bytes: Option<u64>,
    /// Why it must not be disturbed now; `None` means that it is free.
    pub in_use: Option<String>,
    /// A sentence when the device is not what it, or the variant, is declared to be.
    pub platform: Option<String>,
}

pub(super) async fn preflight(config: &DeviceConfig, transport: &Transport, variant: &Variant) -> Preflight {
    let mut found = Preflight {
        reachable: transport.ping().await.map_err(|error| bounded(&error.to_string())),
        reboot_pending: None,
        free_bytes: None,
        in_use: None,
        platform: None,
    };
    if found.reachable.is_err() {
        return found;
    }
    let wanted = |found: NtVersion| {
        platform_mismatch(found, std::slice::from_ref(&config.platform))
            .or_else(|| platform_mismatch(found, &variant.platforms))
    };
    let (facts, in_use) = tokio::join!(facts(transport), in_use(config.in_use.as_ref()));
    found.in_use = in_use;
    match facts {
        Ok(facts) => {
            found.reboot_pending = facts.reboot_pending;
            found.free_bytes = facts.free_bytes;
            found.platform = match (facts.nt_version, &facts.platform) {
                (Some(nt), _) => wanted(nt),
                (None, Some(said)) => said_mismatch(said, config, variant),
                (None, None) => {
                    tracing::info!("the device does not say which platform it is");
                    None
                }
            };
        }
        Err(error) => found.reachable = Err(bounded(&error.to_string())),
    }
    found
}

/// A sandbox may say what it stands for, in a file `platform` with its CPE name.
fn said_mismatch(said: &str, config: &DeviceConfig, variant: &Variant) -> Option<String> {
    let said = match Platform::new(said) {
        Ok(said) => said,
        Err(error) => return Some(format!("the device's platform file is not understood: {error}")),
    };
    if config.platform.matches(&said) && variant.platforms.iter().any(|pattern| pattern.matches(&said)) {
        return None;
    }
    Some(format!("the device says it is {said}, which the site file or the variant does not name"))
}

#[derive(Default)]
struct Facts {
    reboot_pending: Option<bool>,
    free_bytes: Option<u64>,
    nt_version: Option<NtVersion>,
    platform: Option<String>,
}

async fn facts(transport: &Transport) -> Result<Facts, DeviceError> {
    let mut facts = Facts::default();
    match transport.shell() {
        Shell::Cmd => {
            let mut sections = pending_sections()?;
            sections.push(Section { name: "ver", line: "ver".into() });
            if transport.local_root().is_none() {
                sections.push(Section { name: "dir", line: r"dir /-c %SystemDrive%\".into() });
            }
            let output = ask(transport, OP, "facts", &sections).await?;
            // Windows can say both; where it does not, nothing is known of the device, and it is left alone.
            let missing = |what: &str| DeviceError::Garbled {
                what: what.to_owned(),
                text: crate::transports::tail(&output, 300).to_owned(),
            };
            facts.reboot_pending = Some(pending(&output).ok_or_else(|| missing(PENDING_QUESTION))?);
            let version = shell::section(&output, "ver").and_then(|(_, text)| NtVersion::parse(text));
            facts.nt_version = Some(version.ok_or_else(|| missing("ver"))?);
            facts.free_bytes = shell::section(&output, "dir").and_then(|(_, text)| free_of_dir(text));
        }
        Shell::Sh => {
            facts.reboot_pending = Some(reboot_pending(transport).await?);
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
            facts.platform = std::fs::read_to_string(root.join("platform")).ok().map(|text| text.trim().to_owned());
        }
    }
    Ok(facts)
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

/// Keys that say that a reboot is pending: name, key, value. Without a value the key's being there is enough.
/// Sources: KB832475 (UpdateExeVolatile), MoveFileEx (PendingFileRenameOperations), and the Windows Update and servicing
/// stacks of NT 5.x and 6.x as collected by "pending reboot" checks in wide use.
const PENDING: [(&str, &str, Option<&str>); 5] = [
    ("rename", r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager", Some("PendingFileRenameOperations")),
    ("renameagain", r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager", Some("PendingFileRenameOperations2")),
    ("volatile", r"HKLM\SOFTWARE\Microsoft\Updates\UpdateExeVolatile", Some("Flags")),
    ("update", r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired", None),
    ("servicing", r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending", None),
];

fn pending_sections() -> Result<Vec<Section<'static>>, DeviceError> {
    PENDING
        .iter()
        .map(|(name, key, value)| {
            let key = quote(Shell::Cmd, key)?;
            let line = match value {
                Some(value) => format!("reg query {key} /v {value} 2>nul"),
                None => format!("reg query {key} 2>nul"),
            };
            Ok(Section { name, line })
        })
        .collect()
}

/// `None` when an answer is missing, or `reg.exe` is: then nobody knows.
fn pending(output: &str) -> Option<bool> {
    let mut any = false;
    for (name, _, value) in PENDING {
        let (code, answer) = shell::section(output, name)?;
        // 1 is "not there"; `cmd` answers 9009 for a program that it does not find.
        if code > 1 {
            return None;
        }
        any |= match value {
            // An empty list, and a flag of zero, ask for nothing.
            Some(value) => shell::registry_value(answer, value)
                .is_some_and(|data| !data.replace(r"\0", "").trim().is_empty() && data != "0x0"),
            None => code == 0,
        };
    }
    Some(any)
}

pub(super) async fn reboot_pending(transport: &Transport) -> Result<bool, DeviceError> {
    match transport.shell() {
        Shell::Cmd => {
            let output = ask(transport, OP, "pending", &pending_sections()?).await?;
            pending(&output).ok_or_else(|| DeviceError::Garbled {
                what: PENDING_QUESTION.into(),
                text: crate::transports::tail(&output, 300).to_owned(),
            })
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

/// Fails closed: anything but a clear "free" is in use.
async fn in_use(asked: Option<&InUse>) -> Option<String> {
    let InUse { command: argv } = asked?;
    let (program, args) = argv.split_first()?;
    let mut command = Command::new(program);
    command.args(args);
    match run_process(command, None, IN_USE_TIMEOUT, 4096).await {
        Err(error) => Some(format!("unknown: {program} could not be run: {error}")),
        Ok(done) if done.timed_out => {
            Some(format!("unknown: {program} gave no answer in {}s", IN_USE_TIMEOUT.as_secs()))
        }
        Ok(done) => match done.code {
            Some(0) => None,
            Some(1) => {
                let said = bounded(&decode(&done.stdout));
                Some(if said.is_empty() { "in use".to_owned() } else { said })
            }
            Some(code) => Some(format!("unknown: {program} ended with {code}")),
            None => Some(format!("unknown: {program} was ended by a signal")),
        },
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

    fn output(rename: &str, update_code: u32) -> String {
        PENDING.iter().fold(String::new(), |text, (name, _, value)| {
            let (answer, code) = match (*name, value) {
                ("rename", Some(v)) => (format!("    {v}    REG_MULTI_SZ    {rename}"), 0),
                (_, None) => (String::new(), update_code),
                _ => (String::new(), 1),
            };
            format!("{text}::begin {name}\n{answer}\n\n::end {name} {code}\n")
        })
    }

    #[test]
    fn a_pending_reboot_is_asked_for_by_any_of_the_keys() {
        assert_eq!(pending(&output(r"\??\C:\a\0\0", 1)), Some(true));
        assert_eq!(pending(&output(r"\0\0", 1)), Some(false), "an empty list");
        assert_eq!(pending(&output("", 1)), Some(false));
        assert_eq!(pending(&output("", 0)), Some(true), "a key that is there");
        assert_eq!(pending("::begin rename\n"), None, "cut off");
        assert_eq!(pending(&output("", 9009)), None, "reg.exe is not there");
        assert!(yes_or_no("YES\n").unwrap() && !yes_or_no("NO").unwrap());
        assert!(matches!(yes_or_no(""), Err(DeviceError::Garbled { .. })), "cut off");
    }

    #[tokio::test]
    async fn unknown_counts_as_in_use() {
        let ask = |words: &[&str]| InUse { command: words.iter().map(|w| (*w).to_owned()).collect() };
        assert_eq!(in_use(None).await, None);
        assert_eq!(in_use(Some(&ask(&["true"]))).await, None);
        assert_eq!(in_use(Some(&ask(&["sh", "-c", "echo scan running; exit 1"]))).await.unwrap(), "scan running");
        for words in [&["sh", "-c", "exit 2"][..], &["/nowhere/at/all"], &["sh", "-c", "kill -9 $$"]] {
            assert!(in_use(Some(&ask(words))).await.unwrap().starts_with("unknown"), "{words:?}");
        }
    }
}
