//! The lines that the launcher on the device runs.

use wardround_rollout_plans::model::{Installer, Interpreter};

use super::exit_code::SPUNINST_MISSING;
use crate::transports::shell::{Shell, Unquotable, quote};

/// A step that changes the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Install.
    Install,
    /// Uninstall.
    Uninstall,
}

impl Step {
    /// The step's word: file names on the device and verbs of scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Uninstall => "uninstall",
        }
    }
}

/// Why a command can't be given to a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The technology does not exist there.
    #[error("{technology} packages can't be handled by a device whose shell is {shell}")]
    WrongShell {
        /// Technology.
        technology: &'static str,
        /// Shell.
        shell: &'static str,
    },
    /// A value that could not be passed safely.
    #[error(transparent)]
    Unquotable(#[from] Unquotable),
    /// A value of the wrong form.
    #[error("{what} {value:?} is not of the form {wanted}")]
    BadValue {
        /// Which value.
        what: &'static str,
        /// It.
        value: String,
        /// The form.
        wanted: &'static str,
    },
}

/// The lines that perform `step`. The last one leaves the installer's exit code as the shell's own last code.
/// `payload` is the full path of the staged file on the device.
///
/// # Errors
/// [`Refused`] when the technology does not fit the shell, or a value is unsafe.
pub fn launch_lines(installer: &Installer, step: Step, shell: Shell, payload: &str) -> Result<Vec<String>, Refused> {
    let q = |text: &str| quote(shell, text);
    match (installer, step) {
        (Installer::Msi { product_code, properties, .. }, _) => {
            windows_only("msi", shell)?;
            let code = product_code_checked(product_code)?;
            // learn.microsoft.com "Standard Installer Command-Line Options"; ReallySuppress also stops reboots in the
            // middle of an installation.
            let mut line = match step {
                Step::Install => format!("msiexec /i {} /qn /norestart REBOOT=ReallySuppress", q(payload)?),
                Step::Uninstall => format!("msiexec /x {code} /qn /norestart REBOOT=ReallySuppress"),
            };
            if step == Step::Install {
                for property in properties {
                    line.push(' ');
                    line.push_str(&property_checked(property)?);
                }
            }
            Ok(vec![line])
        }
        (Installer::Hotfix { switches, .. }, Step::Install) => {
            windows_only("hotfix", shell)?;
            let mut line = format!("{} /quiet /norestart", q(payload)?);
            for switch in switches {
                line.push(' ');
                line.push_str(&switch_checked(switch)?);
            }
            Ok(vec![line])
        }
        (Installer::Hotfix { kb, .. }, Step::Uninstall) => {
            windows_only("hotfix", shell)?;
            let spuninst = format!(r#""%windir%\$NtUninstall{}$\spuninst\spuninst.exe""#, kb_checked(kb)?);
            Ok(vec![
                format!("if not exist {spuninst} goto missing"),
                format!("{spuninst} /quiet /norestart"),
                "goto done".into(),
                ":missing".into(),
                "echo spuninst.exe is not on the device: the patch can't be uninstalled".into(),
                format!("cmd /c exit {SPUNINST_MISSING}"),
                ":done".into(),
            ])
        }
        (Installer::Script { interpreter }, _) => match (interpreter, shell) {
            (Interpreter::Sh, Shell::Sh) => Ok(vec![format!("sh {} {}", q(payload)?, step.word())]),
            // `cmd /c` rather than `call`, which loses the exit code in Wine and lets `exit` end the launcher too. It takes
            // quotes apart in ways of its own; a staged path holds nothing that needs them.
            (Interpreter::Cmd, Shell::Cmd) => {
                q(payload)?;
                Ok(vec![format!("cmd /c {payload} {}", step.word())])
            }
            (_, shell) => Err(Refused::WrongShell { technology: "script", shell: shell.word() }),
        },
    }
}

fn windows_only(technology: &'static str, shell: Shell) -> Result<(), Refused> {
    match shell {
        Shell::Cmd => Ok(()),
        Shell::Sh => Err(Refused::WrongShell { technology, shell: shell.word() }),
    }
}

/// "{8-4-4-4-12}" hexadecimal digits.
pub(super) fn product_code_checked(text: &str) -> Result<&str, Refused> {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or_default();
    let lengths: Vec<usize> = inner.split('-').map(str::len).collect();
    if lengths == [8, 4, 4, 4, 12] && inner.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return Ok(text);
    }
    Err(Refused::BadValue {
        what: "product code",
        value: text.to_owned(),
        wanted: "{XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX}",
    })
}

/// "KB" and 5 to 8 digits.
pub(super) fn kb_checked(text: &str) -> Result<&str, Refused> {
    let digits = text.strip_prefix("KB").unwrap_or_default();
    if (5..=8).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit()) {
        return Ok(text);
    }
    Err(Refused::BadValue { what: "KB number", value: text.to_owned(), wanted: "KB1234567" })
}

fn property_checked(text: &str) -> Result<String, Refused> {
    let bad = || Refused::BadValue { what: "property", value: text.to_owned(), wanted: "PROPERTY=value" };
    let (name, value) = text.split_once('=').ok_or_else(bad)?;
    let name_ok = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_' || c == '.');
    // REBOOT is ours: a package that reboots by itself would break the node's order of steps.
    if !name_ok || name == "REBOOT" {
        return Err(bad());
    }
    // A backslash at the end would make the closing quote a part of the value.
    if value.ends_with('\\') {
        return Err(bad());
    }
    Ok(format!("{name}={}", quote(Shell::Cmd, value)?))
}

/// `/nobackup` (`/n` in the older form, KB262841) forbids uninstalling, and the restart switches would take the reboot out
/// of the node's hands.
fn switch_checked(text: &str) -> Result<String, Refused> {
    const FORBIDDEN: [&str; 4] = ["/nobackup", "/forcerestart", "/warnrestart", "/promptrestart"];
    let lower = text.to_ascii_lowercase().replacen('-', "/", 1);
    if !lower.starts_with('/') || lower == "/n" || FORBIDDEN.iter().any(|f| lower.starts_with(f)) {
        return Err(Refused::BadValue {
            what: "switch",
            value: text.to_owned(),
            wanted: "/switch, and not one that forbids uninstalling or restarts the device",
        });
    }
    Ok(quote(Shell::Cmd, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "{11111111-1111-1111-1111-111111111111}";

    fn msi(properties: &[&str]) -> Installer {
        let properties = properties.iter().map(|p| (*p).to_owned()).collect();
        Installer::Msi { product_code: CODE.into(), display_version: None, properties }
    }

    #[test]
    fn lines_are_what_the_vendors_document() {
        let lines = launch_lines(&msi(&["INSTALLLEVEL=3"]), Step::Install, Shell::Cmd, r"C:\w\o\p.msi").unwrap();
        assert_eq!(lines, [r#"msiexec /i "C:\w\o\p.msi" /qn /norestart REBOOT=ReallySuppress INSTALLLEVEL="3""#]);
        let lines = launch_lines(&msi(&[]), Step::Uninstall, Shell::Cmd, "").unwrap();
        assert_eq!(lines, [format!("msiexec /x {CODE} /qn /norestart REBOOT=ReallySuppress")]);
        let hotfix = Installer::Hotfix { kb: "KB4500331".into(), switches: vec!["/overwriteoem".into()] };
        let lines = launch_lines(&hotfix, Step::Install, Shell::Cmd, r"C:\w\o\k.exe").unwrap();
        assert_eq!(lines, [r#""C:\w\o\k.exe" /quiet /norestart "/overwriteoem""#]);
        let lines = launch_lines(&hotfix, Step::Uninstall, Shell::Cmd, "").unwrap().join("\n");
        assert!(lines.contains(r"%windir%\$NtUninstallKB4500331$\spuninst\spuninst.exe"), "{lines}");
        let script = Installer::Script { interpreter: Interpreter::Sh };
        let lines = launch_lines(&script, Step::Uninstall, Shell::Sh, "/d/it's.sh").unwrap();
        assert_eq!(lines, [r"sh '/d/it'\''s.sh' uninstall"]);
    }

    #[test]
    fn what_would_escape_or_take_over_is_refused() {
        for property in ["REBOOT=Force", "X=a&del", "X=%TEMP%", r"X=C:\", "x=1", "X", "X=a\"b", "X=a\nb"] {
            assert!(launch_lines(&msi(&[property]), Step::Install, Shell::Cmd, r"C:\p.msi").is_err(), "{property}");
        }
        for switch in ["/nobackup", "-NoBackup", "/n", "-N", "/forcerestart", "x", "/a & b"] {
            let hotfix = Installer::Hotfix { kb: "KB4500331".into(), switches: vec![switch.into()] };
            assert!(launch_lines(&hotfix, Step::Install, Shell::Cmd, r"C:\k.exe").is_err(), "{switch}");
        }
        for kb in ["4500331", "KB1$\\x", "KB", "KB123456789"] {
            let hotfix = Installer::Hotfix { kb: kb.into(), switches: vec![] };
            assert!(launch_lines(&hotfix, Step::Uninstall, Shell::Cmd, "").is_err(), "{kb}");
        }
        let code = Installer::Msi { product_code: "{1} & del".into(), display_version: None, properties: vec![] };
        assert!(launch_lines(&code, Step::Uninstall, Shell::Cmd, "").is_err());
        assert!(matches!(
            launch_lines(&msi(&[]), Step::Install, Shell::Sh, "/p"),
            Err(Refused::WrongShell { technology: "msi", .. })
        ));
    }
}
