//! What an install or uninstall came to.

use wardround_rollout_plans::model::Detected;

use super::ExitClass;

/// What an install came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is there.
    Installed,
    /// A reboot completes it; only detection after the reboot proves it.
    NeedsReboot,
    /// It was there before, or it is not for this device.
    NothingToDo,
    /// Another installation has the device: try later.
    Busy,
    /// It failed.
    Failed {
        /// Machine word.
        code: &'static str,
        /// One sentence.
        reason: String,
    },
}

/// The outcome of an install: a function of the code's class, detection before and after, and a pending reboot.
///
/// A code never decides alone: success with nothing detected is a failed verification, and a failure code with the
/// patch found on the device counts as what the device says (a lost race, a code that no table knows).
#[must_use]
pub fn outcome(class: ExitClass, before: &Detected, after: &Detected, reboot_pending: bool) -> Outcome {
    use ExitClass as C;
    let failed = |code: &'static str, reason: &str| Outcome::Failed { code, reason: reason.to_owned() };
    match (class, after) {
        (C::Busy, Detected::Absent | Detected::Unknown { .. }) => Outcome::Busy,
        (C::NotApplicable, Detected::Absent) => Outcome::NothingToDo,
        (C::RebootRequired | C::RebootInitiated, _) => Outcome::NeedsReboot,
        (_, Detected::Present { .. }) if matches!(before, Detected::Present { .. }) && !reboot_pending => {
            Outcome::NothingToDo
        }
        (_, Detected::Present { .. }) if reboot_pending => Outcome::NeedsReboot,
        (_, Detected::Present { .. }) => Outcome::Installed,
        // Some updates write their keys only during the reboot.
        (C::Success | C::Ambiguous, _) if reboot_pending => Outcome::NeedsReboot,
        (_, Detected::Unknown { why }) => Outcome::Failed {
            code: "detection_unknown",
            reason: format!("the installer has ended, but the device does not say whether the patch is there: {why}"),
        },
        (C::Success, Detected::Absent) => {
            failed("failed_verification", "the installer reported success, but the patch is not detected")
        }
        (C::AlreadyInstalled, Detected::Absent) => failed(
            "other_version_installed",
            "the installer found another version of the product than it can be put upon",
        ),
        (C::Ambiguous, Detected::Absent) => {
            failed("failed_verification", "the exit code is ambiguous, and the patch is not detected")
        }
        (C::BadPackage, Detected::Absent) => failed("bad_package", "the installer could not read the package"),
        (C::UserCancelled, Detected::Absent) => {
            failed("user_cancelled", "somebody at the device cancelled the installation")
        }
        (C::AlreadyAbsent | C::NotUninstallable | C::Failure, Detected::Absent) => {
            failed("installer_failed", "the installer reported a failure, and the patch is not detected")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present() -> Detected {
        Detected::Present { proof: "key".into() }
    }

    fn unknown() -> Detected {
        Detected::Unknown { why: "no link".into() }
    }

    #[test]
    fn the_device_has_the_last_word() {
        use ExitClass as C;
        let absent = Detected::Absent;
        for (class, before, after, pending, wanted) in [
            (C::Success, absent.clone(), present(), false, Outcome::Installed),
            (C::Success, absent.clone(), present(), true, Outcome::NeedsReboot),
            (C::Success, absent.clone(), absent.clone(), true, Outcome::NeedsReboot),
            (C::RebootRequired, absent.clone(), present(), false, Outcome::NeedsReboot),
            (C::RebootRequired, absent.clone(), unknown(), true, Outcome::NeedsReboot),
            (C::Failure, absent.clone(), present(), false, Outcome::Installed),
            (C::AlreadyInstalled, present(), present(), false, Outcome::NothingToDo),
            (C::NotApplicable, absent.clone(), absent.clone(), false, Outcome::NothingToDo),
            (C::Busy, absent.clone(), absent.clone(), false, Outcome::Busy),
            (C::Busy, absent.clone(), unknown(), false, Outcome::Busy),
        ] {
            assert_eq!(outcome(class, &before, &after, pending), wanted, "{class:?} {before:?} {after:?} {pending}");
        }
    }

    #[test]
    fn success_without_proof_is_a_failed_verification() {
        use ExitClass as C;
        for (class, after, code) in [
            (C::Success, Detected::Absent, "failed_verification"),
            (C::Ambiguous, Detected::Absent, "failed_verification"),
            (C::Success, unknown(), "detection_unknown"),
            (C::AlreadyInstalled, Detected::Absent, "other_version_installed"),
            (C::BadPackage, Detected::Absent, "bad_package"),
            (C::Failure, Detected::Absent, "installer_failed"),
        ] {
            match outcome(class, &Detected::Absent, &after, false) {
                Outcome::Failed { code: found, .. } => assert_eq!(found, code, "{class:?}"),
                other => panic!("{class:?}: {other:?}"),
            }
        }
    }
}
