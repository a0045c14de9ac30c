//! Exit codes: 32 bits, as text, and the classes that they fall into.

use wardround_rollout_plans::model::Installer;

use super::Step;

/// What an exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitClass {
    /// Done.
    Success,
    /// Done; a reboot completes it.
    RebootRequired,
    /// Done; the device is rebooting by itself.
    RebootInitiated,
    /// A version of it is there already; detection decides which.
    AlreadyInstalled,
    /// It was not there to uninstall.
    AlreadyAbsent,
    /// The package is not for this device.
    NotApplicable,
    /// The code can mean opposite things; only detection decides.
    Ambiguous,
    /// Another installation has the device; a later try may do.
    Busy,
    /// It can't be uninstalled.
    NotUninstallable,
    /// The package is missing, damaged or not understood.
    BadPackage,
    /// Somebody at the device cancelled it.
    UserCancelled,
    /// Anything else.
    Failure,
}

/// Reads an exit code as tools print it: "3010", "-2145124329" and "0x80240017" are the same 32 bits however written.
#[must_use]
pub fn parse_exit_code(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(hex, 16).ok();
    }
    let number: i64 = text.parse().ok()?;
    // Signed and unsigned 32-bit forms; anything wider is no exit code.
    u32::try_from(number).ok().or_else(|| i32::try_from(number).ok().map(i32::cast_unsigned))
}

/// Windows Installer error codes, learn.microsoft.com "MsiExec.exe and InstMsi.exe error messages".
/// 2 and 1627 are what Wine 8 returns for a missing and a damaged file (measured).
const MSI: &[(u32, ExitClass)] = &[
    (0, ExitClass::Success),
    (3010, ExitClass::RebootRequired),   // ERROR_SUCCESS_REBOOT_REQUIRED
    (1641, ExitClass::RebootInitiated),  // ERROR_SUCCESS_REBOOT_INITIATED
    (1638, ExitClass::AlreadyInstalled), // ERROR_PRODUCT_VERSION
    (1605, ExitClass::AlreadyAbsent),    // ERROR_UNKNOWN_PRODUCT
    (1614, ExitClass::AlreadyAbsent),    // ERROR_PRODUCT_UNINSTALLED
    (1633, ExitClass::NotApplicable),    // ERROR_INSTALL_PLATFORM_UNSUPPORTED
    (1642, ExitClass::NotApplicable),    // ERROR_PATCH_TARGET_NOT_FOUND
    (1601, ExitClass::Busy),             // ERROR_INSTALL_SERVICE_FAILURE: the service may come back
    (1618, ExitClass::Busy),             // ERROR_INSTALL_ALREADY_RUNNING
    (1646, ExitClass::NotUninstallable), // ERROR_PATCH_REMOVAL_UNSUPPORTED
    (2, ExitClass::BadPackage),
    (1619, ExitClass::BadPackage), // ERROR_INSTALL_PACKAGE_OPEN_FAILED
    (1620, ExitClass::BadPackage), // ERROR_INSTALL_PACKAGE_INVALID
    (1627, ExitClass::BadPackage),
    (1602, ExitClass::UserCancelled), // ERROR_INSTALL_USEREXIT
];

/// update.exe and spuninst.exe: KB262841 and the command-line section of the MS08-067 bulletin; 1603 is its general failure.
const HOTFIX: &[(u32, ExitClass)] = &[
    (0, ExitClass::Success),
    (3010, ExitClass::RebootRequired),
    (1641, ExitClass::RebootInitiated),
    (1618, ExitClass::Busy),
    (1602, ExitClass::UserCancelled),
];

/// What the launcher itself answers when spuninst.exe is not where it should be: ERROR_FILE_NOT_FOUND.
pub(super) const SPUNINST_MISSING: u32 = 2;

/// Scripts: 0, the two Windows reboot codes (a `cmd` script has 32 bits), and sysexits.h `EX_TEMPFAIL`.
const SCRIPT: &[(u32, ExitClass)] = &[
    (0, ExitClass::Success),
    (3010, ExitClass::RebootRequired),
    (1641, ExitClass::RebootInitiated),
    (75, ExitClass::Busy),
];

/// The class of `code`. A code in no table is a [`ExitClass::Failure`]; detection still has the last word.
#[must_use]
pub fn classify(installer: &Installer, step: Step, code: u32) -> ExitClass {
    let table = match installer {
        Installer::Msi { .. } => MSI,
        Installer::Hotfix { .. } if step == Step::Uninstall && code == SPUNINST_MISSING => {
            return ExitClass::NotUninstallable;
        }
        Installer::Hotfix { .. } => HOTFIX,
        Installer::Script { .. } => SCRIPT,
    };
    table.iter().find(|(known, _)| *known == code).map_or(ExitClass::Failure, |(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use wardround_rollout_plans::model::Interpreter;

    use super::*;

    #[test]
    fn one_number_however_it_is_written() {
        for (text, code) in [
            ("3010", 3010),
            (" 1605 \r\n", 1605),
            ("-2145124329", 0x8024_0017),
            ("2149842967", 0x8024_0017),
            ("0x80240017", 0x8024_0017),
            ("4294967295", u32::MAX),
            ("-1", u32::MAX),
        ] {
            assert_eq!(parse_exit_code(text), Some(code), "{text}");
        }
        for bad in ["", "ok", "4294967296", "-2147483649", "0x1ffffffff", "30 10"] {
            assert_eq!(parse_exit_code(bad), None, "{bad}");
        }
    }

    #[test]
    fn codes_that_a_unix_status_would_cut_off_keep_their_meaning() {
        let msi = Installer::Msi { product_code: String::new(), display_version: None, properties: Vec::new() };
        let hotfix = Installer::Hotfix { kb: "KB1".into(), switches: Vec::new() };
        let script = Installer::Script { interpreter: Interpreter::Sh };
        for (installer, step, code, class) in [
            (&msi, Step::Install, 3010, ExitClass::RebootRequired),
            (&msi, Step::Install, 3010 & 0xff, ExitClass::Failure),
            (&msi, Step::Uninstall, 1605, ExitClass::AlreadyAbsent),
            (&msi, Step::Install, 1638, ExitClass::AlreadyInstalled),
            (&msi, Step::Install, 1618, ExitClass::Busy),
            (&msi, Step::Install, 1603, ExitClass::Failure),
            (&hotfix, Step::Install, 3010, ExitClass::RebootRequired),
            (&hotfix, Step::Install, 2, ExitClass::Failure),
            (&hotfix, Step::Uninstall, 2, ExitClass::NotUninstallable),
            (&script, Step::Install, 75, ExitClass::Busy),
            (&script, Step::Install, 1, ExitClass::Failure),
        ] {
            assert_eq!(classify(installer, step, code), class, "{installer:?} {step:?} {code}");
        }
    }
}
