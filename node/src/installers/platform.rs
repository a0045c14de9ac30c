//! Whether a device is the machine that it is declared to be.

use wardround_rollout_plans::model::{NtVersion, Platform};

/// A sentence when what the device says of itself fits none of `wanted`. A platform that no table knows can't be
/// contradicted by a version number, so it passes.
#[must_use]
pub fn platform_mismatch(found: NtVersion, wanted: &[Platform]) -> Option<String> {
    if wanted.iter().map(NtVersion::of).any(|versions| versions.is_empty() || versions.contains(&found)) {
        return None;
    }
    let names: Vec<&str> = wanted.iter().map(Platform::product).collect();
    Some(format!("the device says it is Windows {found}, which is not {}", names.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(product: &str, version: &str, hardware: &str) -> Platform {
        Platform::new(&format!("cpe:2.3:o:microsoft:{product}:{version}:*:*:*:*:*:{hardware}:*")).unwrap()
    }

    #[test]
    fn a_device_that_is_not_what_it_is_declared_to_be_is_named() {
        let nt52 = NtVersion { major: 5, minor: 2 };
        assert_eq!(platform_mismatch(nt52, &[platform("windows_xp", "-", "x64")]), None);
        assert_eq!(platform_mismatch(nt52, &[platform("windows_server_2003", "r2", "x64")]), None);
        assert_eq!(platform_mismatch(nt52, &[platform("solaris", "9", "*")]), None, "unknown is no contradiction");
        let why = platform_mismatch(nt52, &[platform("windows_7", "-", "x64")]).unwrap();
        assert!(why.contains("NT 5.2") && why.contains("windows_7"), "{why}");
        assert!(platform_mismatch(nt52, &[platform("windows_xp", "-", "x86")]).is_some());
        let any = platform("windows_xp", "-", "*");
        assert_eq!(platform_mismatch(nt52, std::slice::from_ref(&any)), None, "it may be the 64-bit one");
        assert!(platform_mismatch(NtVersion { major: 6, minor: 1 }, &[any]).is_some(), "but never Windows 7");
        let r2 = NtVersion { major: 6, minor: 1 };
        assert_eq!(platform_mismatch(r2, &[platform("windows_server_2008", "r2", "x64")]), None);
        assert!(platform_mismatch(r2, &[platform("windows_server_2008", "-", "x64")]).is_some());
        assert_eq!(platform_mismatch(NtVersion { major: 6, minor: 3 }, &[platform(r"windows_8\.1", "-", "x64")]), None);
    }
}
