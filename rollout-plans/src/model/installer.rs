//! How a package is installed, and what shows on a device that it is there.

use serde::{Deserialize, Serialize};

use super::Version;

/// Installer technology and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "technology", rename_all = "snake_case", deny_unknown_fields)]
pub enum Installer {
    /// Windows Installer package: `msiexec /i … /qn /norestart`, left with `msiexec /x {product_code}`.
    Msi {
        /// "{XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX}".
        product_code: String,
        /// DisplayVersion that proves this very package; absent accepts any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        display_version: Option<String>,
        /// Extra PROPERTY=value arguments.
        #[serde(default)]
        properties: Vec<String>,
    },
    /// Windows Installer patch: `msiexec /p … /qn /norestart`, left with `MSIPATCHREMOVE` (Windows Installer 3.0).
    Msp {
        /// The product that it patches.
        product_code: String,
        /// The patch's own code, a GUID in braces.
        patch_code: String,
        /// Extra PROPERTY=value arguments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        properties: Vec<String>,
    },
    /// Windows software update package (update.exe), left with spuninst.exe.
    Hotfix {
        /// KB number with its letters ("KB4500331").
        kb: String,
        /// Extra switches; `/nobackup` is refused, since it forbids uninstalling.
        #[serde(default)]
        switches: Vec<String>,
    },
    /// Update package of Windows Vista and later, installed by `wusa.exe`. NT 6.0 can't take it back with `wusa`, so there
    /// the package's servicing name is needed.
    Msu {
        /// KB number with its letters.
        kb: String,
        /// Servicing name ("Package_for_KB958644~31bf3856ad364e35~x86~~6.0.1.0").
        #[serde(default, skip_serializing_if = "Option::is_none")]
        package: Option<String>,
    },
    /// Servicing package: DISM from NT 6.1, `pkgmgr` on 6.0.
    Cab {
        /// Servicing name.
        package: String,
    },
    /// A package of an old Linux. It replaces the one of `Variant::previous`, or none.
    LinuxPackage {
        /// Whose package it is.
        manager: PackageManager,
        /// Name.
        name: String,
        /// Version as the manager writes it, with epoch and release where it has them.
        version: String,
        /// The version that it replaces; absent: the package must not be there before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<String>,
    },
    /// The payload is a script with the verbs `install`, `uninstall` and `detect`.
    /// `detect` exits 0 when installed, 1 when not, anything else when it cannot tell.
    Script {
        /// Which interpreter runs it.
        interpreter: Interpreter,
    },
    /// The program of a site node itself: the node puts it beside the one that runs, and its supervisor begins it on trial.
    Node {
        /// What the program must say that it is ("1.4.0").
        version: String,
    },
}

/// Interpreter of a script payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpreter {
    /// POSIX `sh FILE VERB`.
    Sh,
    /// Windows `cmd /c FILE VERB`.
    Cmd,
}

/// Package manager of a Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageManager {
    /// Red Hat, SUSE and their kin.
    Rpm,
    /// Debian and its kin.
    Dpkg,
}

/// What shows that a patch is there, beside the sign that its installer leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// Any of these shows it as well: a rollup that holds it, an update that supersedes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<Sign>,
    /// Files that must be at least so new, whatever the registry says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileVersion>,
}

impl Detection {
    /// True when the installer's own sign is all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.any_of.is_empty() && self.files.is_empty()
    }
}

/// A file that is at least so new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileVersion {
    /// Path on the device; `%windir%`, `%ProgramFiles%` and their kin are expanded there.
    pub path: String,
    /// Lowest version of its fixed version resource that counts.
    pub version: Version,
}

/// What shows on a device that a patch is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "technology", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sign {
    /// The mark that update.exe leaves.
    Hotfix {
        /// KB number with its letters.
        kb: String,
    },
    /// The entry of a Windows Installer product.
    Msi {
        /// "{XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX}".
        product_code: String,
        /// DisplayVersion; absent accepts any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        display_version: Option<String>,
    },
    /// A patch of a Windows Installer product.
    Msp {
        /// The product.
        product_code: String,
        /// The patch's own code.
        patch_code: String,
    },
    /// An update that Windows Vista or later lists (`Win32_QuickFixEngineering`), or the servicing package of that name.
    Msu {
        /// KB number with its letters.
        kb: String,
        /// Servicing name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        package: Option<String>,
    },
    /// A servicing package.
    Cab {
        /// Servicing name.
        package: String,
    },
    /// A package of an old Linux in this very version.
    LinuxPackage {
        /// Whose package it is.
        manager: PackageManager,
        /// Name.
        name: String,
        /// Version.
        version: String,
    },
    /// A file that is at least so new.
    File {
        /// As [`FileVersion::path`].
        path: String,
        /// As [`FileVersion::version`].
        version: Version,
    },
    /// A value of the registry, in either view of a 64-bit Windows.
    Registry {
        /// Key, beginning with `HKLM\`.
        key: String,
        /// Value's name.
        value: String,
        /// What it must hold; absent: it only has to be there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<String>,
    },
}

impl Installer {
    /// The sign that it leaves. A script leaves none that others could look for.
    #[must_use]
    pub fn sign(&self) -> Option<Sign> {
        Some(match self.clone() {
            Self::Msi { product_code, display_version, .. } => Sign::Msi { product_code, display_version },
            Self::Msp { product_code, patch_code, .. } => Sign::Msp { product_code, patch_code },
            Self::Hotfix { kb, .. } => Sign::Hotfix { kb },
            Self::Msu { kb, package } => Sign::Msu { kb, package },
            Self::Cab { package } => Sign::Cab { package },
            Self::LinuxPackage { manager, name, version, .. } => Sign::LinuxPackage { manager, name, version },
            // A node knows by itself which program it runs.
            Self::Script { .. } | Self::Node { .. } => return None,
        })
    }

    /// The technology as people write it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Msi { .. } => "msi",
            Self::Msp { .. } => "msp",
            Self::Hotfix { .. } => "hotfix",
            Self::Msu { .. } => "msu",
            Self::Cab { .. } => "cab",
            Self::LinuxPackage { .. } => "linux_package",
            Self::Script { .. } => "script",
            Self::Node { .. } => "node",
        }
    }

    /// True where it exists on Windows only.
    #[must_use]
    pub fn is_windows(&self) -> bool {
        let unix = Self::Script { interpreter: Interpreter::Sh };
        !(matches!(self, Self::LinuxPackage { .. } | Self::Node { .. }) || *self == unix)
    }
}
