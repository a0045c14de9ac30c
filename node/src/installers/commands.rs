//! The lines that the launcher on the device runs.

use wardround_rollout_plans::{
    model::{Installer, Interpreter},
    patch_file::safe,
};

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
    /// A value of the wrong form, or one that would take the device out of the node's hands.
    #[error(transparent)]
    Unsafe(#[from] safe::Fault),
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
            safe::product_code(product_code)?;
            // learn.microsoft.com "Standard Installer Command-Line Options"; ReallySuppress also stops reboots in the
            // middle of an installation.
            let mut line = match step {
                Step::Install => format!("msiexec /i {} /qn /norestart REBOOT=ReallySuppress", q(payload)?),
                Step::Uninstall => format!("msiexec /x {product_code} /qn /norestart REBOOT=ReallySuppress"),
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
                safe::hotfix_switch(switch)?;
                line.push_str(&q(switch)?);
            }
            Ok(vec![line])
        }
        (Installer::Hotfix { kb, .. }, Step::Uninstall) => {
            windows_only("hotfix", shell)?;
            safe::kb(kb)?;
            let spuninst = format!(r#""%windir%\$NtUninstall{kb}$\spuninst\spuninst.exe""#);
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

fn property_checked(text: &str) -> Result<String, Refused> {
    safe::property(text)?;
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    Ok(format!("{name}={}", quote(Shell::Cmd, value)?))
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
        for property in [
            "REBOOT=Force",
            "X=a&del",
            "X=%TEMP%",
            r"X=C:\",
            "x=1",
            "X",
            "X=a\"b",
            "X=a\nb",
            "REMOVE=ALL",
            "DISABLEROLLBACK=1",
        ] {
            assert!(launch_lines(&msi(&[property]), Step::Install, Shell::Cmd, r"C:\p.msi").is_err(), "{property}");
        }
        for switch in ["/nobackup", "-NoBackup", "/n", "-N", "/forcerestart", "x", "/a & b", "/x", "/integrate:c", "/r"]
        {
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
