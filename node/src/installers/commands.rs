//! The lines that the launcher on the device runs.

use wardround_rollout_plans::{
    model::{Installer, Interpreter, NtVersion, PackageManager, Variant},
    patch_file::{safe, uninstalls},
};

use super::exit_code::{NOT_UNINSTALLABLE, OTHER_VERSION};
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
    /// The package's own means don't take it off.
    #[error("the patch can't be uninstalled: {0}")]
    Irreversible(String),
}

/// Where a step runs.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// What the device's commands are written for.
    pub shell: Shell,
    /// Full path of the operation's directory on the device, where the payloads are staged.
    pub dir: &'a str,
    /// The device's root, where it is a directory of the node.
    pub root: Option<&'a str>,
}

impl Place<'_> {
    fn staged(&self, name: &str) -> Result<String, Unquotable> {
        quote(self.shell, &self.shell.join(self.dir, name))
    }
}

/// The files that a step finds in its directory, by their place in the variant.
#[must_use]
pub fn staged_for(variant: &Variant, step: Step) -> Staged {
    match (&variant.installer, step) {
        (_, Step::Install) | (Installer::Script { .. }, Step::Uninstall) => Staged::Payload,
        // `wusa /uninstall /kb:` with `/quiet` answers 87 to every error; with the package it says which (Salt, win_wusa.py).
        (Installer::Msu { .. }, Step::Uninstall) if !is_vista(variant) => Staged::Payload,
        (Installer::LinuxPackage { replaces: Some(_), .. }, Step::Uninstall) => Staged::Previous,
        (_, Step::Uninstall) => Staged::Nothing,
    }
}

/// What a step needs on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staged {
    /// Nothing.
    Nothing,
    /// The variant's payload.
    Payload,
    /// The package that it replaces.
    Previous,
}

/// The lines that perform `step`. The last one leaves the installer's exit code as the shell's own last code.
///
/// # Errors
/// [`Refused`] when the technology does not fit the shell, a value is unsafe, or an uninstall is asked of a patch that has none.
pub fn launch_lines(variant: &Variant, step: Step, place: Place<'_>) -> Result<Vec<String>, Refused> {
    if step == Step::Uninstall {
        uninstalls(variant).map_err(Refused::Irreversible)?;
    }
    let installer = &variant.installer;
    let shell = place.shell;
    if installer.is_windows() != (shell == Shell::Cmd) {
        return Err(Refused::WrongShell { technology: installer.word(), shell: shell.word() });
    }
    let payload = place.staged(&variant.payload.file_name)?;
    let lines = match installer {
        // The node's own program goes into a slot, not through a shell.
        Installer::Node { .. } => {
            return Err(Refused::WrongShell { technology: installer.word(), shell: shell.word() });
        }
        Installer::Msi { product_code, properties, .. } => {
            safe::product_code(product_code)?;
            vec![match step {
                Step::Install => msiexec(&format!("/i {payload}"), properties)?,
                Step::Uninstall => msiexec(&format!("/x {product_code}"), &[])?,
            }]
        }
        // learn.microsoft.com "Uninstalling Patches": MSIPATCHREMOVE wants Windows Installer 3.0.
        Installer::Msp { product_code, patch_code, properties } => {
            safe::product_code(product_code)?;
            safe::product_code(patch_code)?;
            vec![match step {
                Step::Install => msiexec(&format!("/p {payload}"), properties)?,
                Step::Uninstall => msiexec(&format!("/i {product_code} MSIPATCHREMOVE={patch_code}"), &[])?,
            }]
        }
        Installer::Hotfix { kb, switches } => match step {
            Step::Install => {
                let mut line = format!("{payload} /quiet /norestart");
                for switch in switches {
                    safe::hotfix_switch(switch)?;
                    if safe::keeps_no_backup(switch) && variant.irreversible.is_none() {
                        return Err(Refused::Irreversible(format!("{switch} keeps no files for it")));
                    }
                    line.push(' ');
                    line.push_str(&quote(shell, switch)?);
                }
                vec![line]
            }
            Step::Uninstall => {
                safe::kb(kb)?;
                spuninst(kb)
            }
        },
        Installer::Msu { kb, package } => {
            safe::kb(kb)?;
            vec![match (step, package) {
                (Step::Install, _) => waited("wusa.exe", &format!("{payload} /quiet /norestart")),
                (Step::Uninstall, Some(package)) if is_vista(variant) => taken_off_by_name(package, variant)?,
                (Step::Uninstall, _) => waited("wusa.exe", &format!("/uninstall {payload} /quiet /norestart")),
            }]
        }
        Installer::Cab { package } => vec![match step {
            // KB934307: pkgmgr /ip installs a package, /m names it.
            Step::Install if is_vista(variant) => waited("pkgmgr.exe", &format!("/ip /m:{payload} /quiet /norestart")),
            Step::Install => format!("dism.exe /online /add-package /packagepath:{payload} /quiet /norestart"),
            Step::Uninstall => taken_off_by_name(package, variant)?,
        }],
        Installer::LinuxPackage { manager, name, version, replaces } => {
            safe::package_name(name)?;
            safe::package_version(version)?;
            let manager = Manager { manager: *manager, root: place.root };
            match (step, replaces) {
                (Step::Install, _) => manager.install(name, version, replaces.as_deref(), &payload)?,
                (Step::Uninstall, Some(_)) => {
                    let previous = variant.previous.as_ref().map_or("", |previous| previous.file_name.as_str());
                    manager.put_back(&place.staged(previous)?)?
                }
                (Step::Uninstall, None) => manager.remove(name)?,
            }
        }
        Installer::Script { interpreter: Interpreter::Sh } => vec![format!("sh {payload} {}", step.word())],
        // `cmd /c` rather than `call`, which loses the exit code in Wine and lets `exit` end the launcher too. It takes
        // quotes apart in ways of its own; a staged path holds nothing that needs them.
        Installer::Script { interpreter: Interpreter::Cmd } => {
            vec![format!("cmd /c {} {}", shell.join(place.dir, &variant.payload.file_name), step.word())]
        }
    };
    Ok(lines)
}

/// learn.microsoft.com "Standard Installer Command-Line Options"; ReallySuppress also stops reboots in the middle of an
/// installation.
fn msiexec(what: &str, properties: &[String]) -> Result<String, Refused> {
    let mut line = format!("msiexec {what} /qn /norestart REBOOT=ReallySuppress");
    for property in properties {
        line.push(' ');
        line.push_str(&property_checked(property)?);
    }
    Ok(line)
}

/// spuninst.exe of MS08-067's "Removal information". The folder is hidden, and missing after `/nobackup`.
fn spuninst(kb: &str) -> Vec<String> {
    let spuninst = format!(r#""%windir%\$NtUninstall{kb}$\spuninst\spuninst.exe""#);
    vec![
        format!("if not exist {spuninst} goto missing"),
        format!("{spuninst} /quiet /norestart"),
        "goto done".into(),
        ":missing".into(),
        "echo spuninst.exe is not on the device: the patch can't be uninstalled".into(),
        format!("cmd /c exit {NOT_UNINSTALLABLE}"),
        ":done".into(),
    ]
}

/// `wusa` and `pkgmgr` have windows of their own, for which `cmd` does not wait unless it is told to (KB934307).
fn waited(program: &str, arguments: &str) -> String {
    format!(r#"start /wait "" {program} {arguments}"#)
}

/// KB940410 for NT 6.0; DISM's command-line reference for what came later.
fn taken_off_by_name(package: &str, variant: &Variant) -> Result<String, Refused> {
    safe::servicing_name(package)?;
    Ok(if is_vista(variant) {
        waited("pkgmgr.exe", &format!("/up:{package} /quiet /norestart"))
    } else {
        format!("dism.exe /online /remove-package /packagename:{package} /quiet /norestart")
    })
}

fn is_vista(variant: &Variant) -> bool {
    variant.nt_versions().contains(&NtVersion::VISTA)
}

fn property_checked(text: &str) -> Result<String, Refused> {
    safe::property(text)?;
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    Ok(format!("{name}={}", quote(Shell::Cmd, value)?))
}

/// A package manager of a Linux: rpm(8), dpkg(1), dpkg-query(1).
pub(super) struct Manager<'a> {
    pub(super) manager: PackageManager,
    /// Another root than `/`, where the device is a directory of the node.
    pub(super) root: Option<&'a str>,
}

impl Manager<'_> {
    fn rooted(&self, program: &str) -> Result<String, Unquotable> {
        Ok(match self.root {
            None => program.to_owned(),
            Some(root) => format!("{program} --root={}", quote(Shell::Sh, root)?),
        })
    }

    /// A line that prints the version that is there, or nothing; it ends with 0 in both cases, and otherwise where the
    /// manager can't be asked.
    pub(super) fn version(&self, name: &str) -> Result<String, Unquotable> {
        Ok(match self.manager {
            // `rpm -q` ends with 1 for a package that is not there, and says so in words on the same stream: `-qa` prints
            // nothing then.
            PackageManager::Rpm => {
                format!("{} -qa --qf '%{{VERSION}}-%{{RELEASE}}\\n' {name}", self.rooted("rpm")?)
            }
            // dpkg knows removed packages too, and packages that it never heard of only as an error of the query.
            PackageManager::Dpkg => format!(
                "{} -W -f '${{Status}} ${{Version}} ${{Package}}\\n' | sed -n 's/^install ok installed \\([^ ]*\\) {}$/\\1/p'",
                match self.root {
                    None => "dpkg-query".to_owned(),
                    Some(root) =>
                        format!("dpkg-query --admindir={}", quote(Shell::Sh, &format!("{root}/var/lib/dpkg"))?),
                },
                // A dot of a name stands for any character in a pattern.
                name.replace('.', "\\.")
            ),
        })
    }

    /// Only what the patch says that it replaces is replaced: nothing else could be put back.
    fn install(
        &self,
        name: &str,
        version: &str,
        replaces: Option<&str>,
        payload: &str,
    ) -> Result<Vec<String>, Refused> {
        if let Some(replaces) = replaces {
            safe::package_version(replaces)?;
        }
        let expected = quote(Shell::Sh, replaces.unwrap_or_default())?;
        let install = match self.manager {
            PackageManager::Rpm => format!("{} -U {payload}", self.rooted("rpm")?),
            // Questions about changed configuration files are answered with what is there.
            PackageManager::Dpkg => {
                format!("DEBIAN_FRONTEND=noninteractive {} --force-confold -i {payload}", self.rooted("dpkg")?)
            }
        };
        Ok(vec![
            format!("there=`{}`", self.version(name)?),
            format!(
                "if test \"$there\" = {}; then exit_code=0; elif test \"$there\" != {expected}; then \
                 echo \"version ${{there:-none}} is there, not what the patch replaces\"; exit_code={OTHER_VERSION}; \
                 else {install}; exit_code=$?; fi",
                quote(Shell::Sh, version)?
            ),
            "(exit $exit_code)".to_owned(),
        ])
    }

    fn put_back(&self, previous: &str) -> Result<Vec<String>, Refused> {
        Ok(vec![match self.manager {
            PackageManager::Rpm => format!("{} -U --oldpackage {previous}", self.rooted("rpm")?),
            PackageManager::Dpkg => {
                format!(
                    "DEBIAN_FRONTEND=noninteractive {} --force-confold --force-downgrade -i {previous}",
                    self.rooted("dpkg")?
                )
            }
        }])
    }

    fn remove(&self, name: &str) -> Result<Vec<String>, Refused> {
        Ok(vec![match self.manager {
            PackageManager::Rpm => format!("{} -e {name}", self.rooted("rpm")?),
            PackageManager::Dpkg => format!("DEBIAN_FRONTEND=noninteractive {} -P {name}", self.rooted("dpkg")?),
        }])
    }
}

#[cfg(test)]
mod tests;
