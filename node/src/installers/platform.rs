//! Whether a device is the machine that it is declared to be.

use wardround_rollout_plans::model::Platform;

/// Windows NT version ("5.2"), as `ver` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NtVersion {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
}

impl NtVersion {
    /// Finds "5.2.3790" in what `ver` printed, whatever its language.
    #[must_use]
    pub fn parse(ver: &str) -> Option<Self> {
        ver.split(|c: char| !c.is_ascii_digit() && c != '.').find_map(|word| {
            let mut numbers = word.split('.').map(str::parse::<u32>);
            match (numbers.next()?, numbers.next()?, numbers.next()?) {
                (Ok(major), Ok(minor), Ok(_)) => Some(Self { major, minor }),
                _ => None,
            }
        })
    }
}

/// CPE product (prefix), version part, architecture → NT version. An empty cell matches anything.
/// Source: Microsoft, "Operating System Version" (learn.microsoft.com/windows/win32/sysinfo/operating-system-version);
/// XP x64 is built from the Server 2003 sources. More exact rows stand first.
const PRODUCTS: &[(&str, &str, &str, (u32, u32))] = &[
    ("windows_2000", "", "", (5, 0)),
    ("windows_xp", "", "x64", (5, 2)),
    ("windows_xp", "", "x86", (5, 1)),
    ("windows_server_2003", "", "", (5, 2)),
    ("windows_2003_server", "", "", (5, 2)),
    ("windows_vista", "", "", (6, 0)),
    ("windows_server_2008", "r2", "", (6, 1)),
    ("windows_server_2008", "", "", (6, 0)),
    ("windows_7", "", "", (6, 1)),
    ("windows_8.1", "", "", (6, 3)),
    ("windows_server_2012", "r2", "", (6, 3)),
    ("windows_server_2012", "", "", (6, 2)),
    ("windows_8", "", "", (6, 2)),
];

/// The versions that it may have: several where its architecture is not named, none where no table knows it.
fn nt_versions(platform: &Platform) -> Vec<NtVersion> {
    let unescaped = platform.as_str().replace('\\', "");
    let parts: Vec<&str> = unescaped.split(':').collect();
    // cpe:2.3:part:vendor:product:version:update:edition:language:sw_edition:target_sw:target_hw:other
    let (Some(&product), Some(&version), Some(&hardware)) = (parts.get(4), parts.get(5), parts.get(11)) else {
        return Vec::new();
    };
    if product.starts_with("windows_10") {
        return vec![NtVersion { major: 10, minor: 0 }];
    }
    let rows = || PRODUCTS.iter().filter(|(p, v, ..)| *p == product && (v.is_empty() || *v == version));
    let exact = rows().find(|(_, _, hw, _)| hw.is_empty() || *hw == hardware);
    let found: Vec<_> = exact.map_or_else(|| rows().collect(), |row| vec![row]);
    found.into_iter().map(|(.., (major, minor))| NtVersion { major: *major, minor: *minor }).collect()
}

/// A sentence when what the device says of itself fits none of `wanted`. A platform that no table knows can't be
/// contradicted by a version number, so it passes.
#[must_use]
pub fn platform_mismatch(found: NtVersion, wanted: &[Platform]) -> Option<String> {
    if wanted.iter().map(nt_versions).any(|versions| versions.is_empty() || versions.contains(&found)) {
        return None;
    }
    let names: Vec<&str> = wanted.iter().map(Platform::product).collect();
    Some(format!(
        "the device says it is Windows NT {}.{}, which is not {}",
        found.major,
        found.minor,
        names.join(" or ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(product: &str, version: &str, hardware: &str) -> Platform {
        Platform::new(&format!("cpe:2.3:o:microsoft:{product}:{version}:*:*:*:*:*:{hardware}:*")).unwrap()
    }

    #[test]
    fn ver_is_read_in_every_form() {
        for (text, major, minor) in [
            ("Microsoft Windows 5.2.3790", 5, 2),
            ("\r\nMicrosoft Windows XP [Version 5.1.2600]\r\n", 5, 1),
            ("Microsoft Windows [Versión 6.1.7601]", 6, 1),
            ("Microsoft Windows [Version 10.0.19045.2965]", 10, 0),
        ] {
            assert_eq!(NtVersion::parse(text), Some(NtVersion { major, minor }), "{text}");
        }
        assert_eq!(NtVersion::parse("sh: ver: not found 1.2"), None);
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
