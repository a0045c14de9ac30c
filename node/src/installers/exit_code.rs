//! Exit codes: 32 bits, as text, and the classes that they fall into.

use std::collections::BTreeSet;

use wardround_rollout_plans::model::{Installer, NtVersion};

use super::Step;
use ExitClass as C;

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

/// What a code means where the vendor documents it: the code, its class, and the vendor's meaning in words.
type Row = (u32, ExitClass, &'static str);

/// The node's own program: codes of `program::own`.
const NODE: &[Row] = &[
    (0, C::Success, "nothing of it was to begin, and now it does not"),
    (3010, C::RebootRequired, "the node's restart begins it"),
    (1, C::Failure, "the program did not stand its own test"),
    (2, C::NotUninstallable, "it is the packaged program, which the node can't take off"),
];

/// Windows Installer: learn.microsoft.com, "MsiExec.exe and InstMsi.exe error messages".
const MSI: &[Row] = &[
    (0, C::Success, "done"),
    (13, C::BadPackage, "the data is invalid"),
    (87, C::Failure, "a parameter was invalid"),
    (1259, C::Failure, "the application compatibility database forbids it"),
    (1601, C::Busy, "the Windows Installer service can't be reached"),
    (1602, C::UserCancelled, "somebody cancelled the installation"),
    (1603, C::Failure, "a fatal error during the installation"),
    (1604, C::Failure, "the installation was suspended and is incomplete"),
    (1605, C::AlreadyAbsent, "the product is not installed"),
    (1610, C::Failure, "the configuration data of the product is corrupt"),
    (1612, C::Failure, "the installation source of the product is not available"),
    (1613, C::Failure, "a newer Windows Installer is needed"),
    (1614, C::AlreadyAbsent, "the product is uninstalled"),
    (1618, C::Busy, "another installation is in progress"),
    (1619, C::BadPackage, "the package could not be opened"),
    (1620, C::BadPackage, "it is not a valid package"),
    (1622, C::Failure, "the log file could not be opened"),
    (1623, C::NotApplicable, "the package's language is not supported by the system"),
    (1624, C::Failure, "a transform could not be applied"),
    (1625, C::Failure, "the installation is forbidden by policy"),
    (1632, C::Failure, "the temporary folder is full or can't be reached"),
    (1633, C::NotApplicable, "the package is not for this processor type"),
    (1635, C::BadPackage, "the patch could not be opened"),
    (1636, C::BadPackage, "it is not a valid patch"),
    (1637, C::Failure, "a newer Windows Installer is needed for the patch"),
    (1638, C::AlreadyInstalled, "another version of the product is installed"),
    (1639, C::Failure, "an argument of the command line is invalid"),
    (1640, C::Failure, "installing from a remote session is not permitted"),
    (1641, C::RebootInitiated, "done, and the installer has begun a restart"),
    (1642, C::NotApplicable, "the product that the patch is for is missing, or is another version"),
    (1643, C::Failure, "the patch is forbidden by policy"),
    (1646, C::NotUninstallable, "the patch can't be removed"),
    (1647, C::AlreadyAbsent, "the patch is not applied to this product"),
    (1648, C::Failure, "no valid order was found for the set of patches"),
    (1649, C::NotUninstallable, "policy forbids removing the patch"),
    (1652, C::Failure, "the installer does not work in safe mode"),
    (3010, C::RebootRequired, "done, a restart completes it"),
    // What Wine 8 answers for a missing and a damaged file (measured); Windows says 1619 and 1620.
    (2, C::BadPackage, "the package was not found"),
    (1627, C::BadPackage, "a function failed while the package was read"),
];

/// update.exe and spuninst.exe: KB262841 and the command-line section of the MS08-067 bulletin; 1603 is its general failure.
const HOTFIX: &[Row] = &[
    (0, C::Success, "done"),
    (3010, C::RebootRequired, "done, a restart completes it"),
    (1641, C::RebootInitiated, "done, and the installer has begun a restart"),
    (1618, C::Busy, "another installation is in progress"),
    (1602, C::UserCancelled, "somebody cancelled the installation"),
    (1603, C::Failure, "a fatal error during the installation"),
];

/// wusa, pkgmgr and DISM: learn.microsoft.com, "Windows Update Agent result codes" (WU_…), "System error codes", and the
/// CBS codes of winerror.h. 0x80242004 as Salt's win_wusa.py reads it.
const SERVICING: &[Row] = &[
    (0, C::Success, "done"),
    (3010, C::RebootRequired, "done, a restart completes it"),
    (0x0024_0005, C::RebootRequired, "done, a restart completes it"),
    (0x0024_0006, C::AlreadyInstalled, "the update is already installed"),
    (0x0024_0007, C::AlreadyAbsent, "the update is already removed"),
    (0x8024_0016, C::Busy, "another installation is in progress, or a restart is pending"),
    (0x8024_0017, C::NotApplicable, "the update is not for this device"),
    (0x8024_001E, C::Busy, "the update service is being stopped"),
    (0x8024_2004, C::NotUninstallable, "the update can't be uninstalled"),
    (0x800F_081E, C::NotApplicable, "the package is not for this Windows"),
    (0x800F_0805, C::BadPackage, "the package is not valid, or its name is not known"),
    (0x8007_0422, C::Failure, "the update service is disabled"),
    (0x8007_0070, C::Failure, "the disk is full"),
    (0x8007_3712, C::Failure, "the component store is corrupt"),
    (2, C::BadPackage, "the package was not found"),
    (5, C::Failure, "access was denied: the account is no administrator"),
    (13, C::BadPackage, "the data is invalid"),
    // With /quiet and /kb, wusa answers so to every error (Salt, win_wusa.py).
    (87, C::Ambiguous, "a parameter was invalid, or anything else went wrong"),
    (112, C::Failure, "the disk is full"),
    (14098, C::Failure, "the component store is corrupt"),
];

/// KB949545: before it, wusa of NT 6.0 answers S_FALSE both to "already installed" and to "not applicable".
const WUSA_VISTA: Row = (1, C::Ambiguous, "already installed, or not for this device");

/// What the launcher itself answers when what takes the patch off is not on the device: ERROR_FILE_NOT_FOUND.
pub(super) const NOT_UNINSTALLABLE: u32 = 2;
/// What the launcher itself answers when a Linux has another version of the package than the patch replaces.
pub(super) const OTHER_VERSION: u32 = 93;

/// rpm(8) ends with the number of packages that failed, dpkg(1) with 1 or 2.
const LINUX: &[Row] = &[
    (0, C::Success, "done"),
    (OTHER_VERSION, C::AlreadyInstalled, "another version of the package is there than the patch replaces"),
    (2, C::Failure, "the package manager could not work: its database may be locked"),
];

/// Scripts: 0, the two Windows reboot codes (a `cmd` script has 32 bits), and sysexits.h `EX_TEMPFAIL`.
const SCRIPT: &[Row] = &[
    (0, C::Success, "done"),
    (3010, C::RebootRequired, "done, a restart completes it"),
    (1641, C::RebootInitiated, "done, and a restart has begun"),
    (75, C::Busy, "another installation is in progress"),
];

/// What a code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// Its class.
    pub class: ExitClass,
    /// The vendor's meaning in words.
    pub words: &'static str,
}

/// What `code` says on a Windows of these versions. A code in no table is a [`ExitClass::Failure`]; detection still has the last word.
#[must_use]
pub fn meaning(installer: &Installer, nt: &BTreeSet<NtVersion>, step: Step, code: u32) -> Meaning {
    let table = match installer {
        Installer::Hotfix { .. } if step == Step::Uninstall && code == NOT_UNINSTALLABLE => {
            return Meaning { class: C::NotUninstallable, words: "what takes the patch off is not on the device" };
        }
        Installer::Msu { .. } if code == WUSA_VISTA.0 && nt.contains(&NtVersion::VISTA) => {
            return Meaning { class: WUSA_VISTA.1, words: WUSA_VISTA.2 };
        }
        Installer::Msi { .. } | Installer::Msp { .. } => MSI,
        Installer::Hotfix { .. } => HOTFIX,
        Installer::Msu { .. } | Installer::Cab { .. } => SERVICING,
        Installer::LinuxPackage { .. } => LINUX,
        Installer::Script { .. } => SCRIPT,
        Installer::Node { .. } => NODE,
    };
    let (class, words) = table
        .iter()
        .find(|(known, ..)| *known == code)
        .map_or((C::Failure, "a code that the vendor's table does not hold"), |(_, class, words)| (*class, *words));
    Meaning { class, words }
}

/// A code as people look it up: "1603", and "0x80240017" where it is an HRESULT.
#[must_use]
pub fn code_words(code: u32) -> String {
    if code > 0xFFFF { format!("{code:#010x}") } else { code.to_string() }
}

#[cfg(test)]
mod tests {
    use wardround_rollout_plans::model::{Interpreter, PackageManager};

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
        assert_eq!(code_words(1603), "1603");
        assert_eq!(code_words(0x0024_0006), "0x00240006");
    }

    #[test]
    fn codes_that_a_unix_status_would_cut_off_keep_their_meaning() {
        let msi = Installer::Msi { product_code: String::new(), display_version: None, properties: Vec::new() };
        let msp = Installer::Msp { product_code: String::new(), patch_code: String::new(), properties: Vec::new() };
        let hotfix = Installer::Hotfix { kb: "KB1".into(), switches: Vec::new() };
        let msu = Installer::Msu { kb: "KB1".into(), package: None };
        let script = Installer::Script { interpreter: Interpreter::Sh };
        let linux = Installer::LinuxPackage {
            manager: PackageManager::Rpm,
            name: "a".into(),
            version: "1".into(),
            replaces: None,
        };
        let nt = |major, minor| NtVersion { major, minor };
        let (xp, vista, seven) = (nt(5, 1), NtVersion::VISTA, nt(6, 1));
        for (installer, nt, step, code, class) in [
            (&msi, xp, Step::Install, 3010, C::RebootRequired),
            (&msi, xp, Step::Install, 3010 & 0xff, C::Failure),
            (&msi, xp, Step::Uninstall, 1605, C::AlreadyAbsent),
            (&msi, xp, Step::Install, 1638, C::AlreadyInstalled),
            (&msi, xp, Step::Install, 1618, C::Busy),
            (&msi, xp, Step::Install, 1603, C::Failure),
            (&msp, xp, Step::Install, 1642, C::NotApplicable),
            (&msp, xp, Step::Uninstall, 1646, C::NotUninstallable),
            (&msp, xp, Step::Uninstall, 1647, C::AlreadyAbsent),
            (&hotfix, xp, Step::Install, 3010, C::RebootRequired),
            (&hotfix, xp, Step::Install, 2, C::Failure),
            (&hotfix, xp, Step::Uninstall, 2, C::NotUninstallable),
            (&msu, vista, Step::Install, 1, C::Ambiguous),
            (&msu, seven, Step::Install, 1, C::Failure),
            (&msu, seven, Step::Uninstall, 87, C::Ambiguous),
            (&msu, seven, Step::Install, 2_359_301, C::RebootRequired),
            (&msu, seven, Step::Install, 2_359_302, C::AlreadyInstalled),
            (&msu, seven, Step::Uninstall, 2_359_303, C::AlreadyAbsent),
            (&msu, seven, Step::Install, 2_149_842_967, C::NotApplicable),
            (&msu, seven, Step::Install, 2_359_302 & 0xff, C::Failure),
            (&linux, xp, Step::Install, 93, C::AlreadyInstalled),
            (&script, xp, Step::Install, 75, C::Busy),
            (&script, xp, Step::Install, 1, C::Failure),
        ] {
            let found = meaning(installer, &BTreeSet::from([nt]), step, code);
            assert_eq!(found.class, class, "{installer:?} {step:?} {code}: {}", found.words);
        }
    }

    #[test]
    fn no_table_says_two_things_of_one_code() {
        for table in [MSI, HOTFIX, SERVICING, LINUX, SCRIPT] {
            let mut codes: Vec<u32> = table.iter().map(|(code, ..)| *code).collect();
            codes.sort_unstable();
            assert!(codes.windows(2).all(|pair| pair[0] != pair[1]), "{codes:?}");
            assert!(table.iter().any(|(code, class, _)| *code == 0 && *class == C::Success));
        }
    }
}
