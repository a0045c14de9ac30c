//! What is known of Windows: NT versions of products, and versions of files.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::Platform;

/// Windows NT version ("5.2"), as `ver` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtVersion {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
}

/// CPE product, version part, architecture → NT version. An empty cell matches anything.
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

impl NtVersion {
    /// NT 6.0: Vista and Server 2008, whose `wusa` can't uninstall.
    pub const VISTA: Self = Self { major: 6, minor: 0 };

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

    /// The versions that a platform may have: several where its architecture is not named, none where no table knows it.
    #[must_use]
    pub fn of(platform: &Platform) -> Vec<Self> {
        let unescaped = platform.as_str().replace('\\', "");
        let parts: Vec<&str> = unescaped.split(':').collect();
        // cpe:2.3:part:vendor:product:version:update:edition:language:sw_edition:target_sw:target_hw:other
        let (Some(&product), Some(&version), Some(&hardware)) = (parts.get(4), parts.get(5), parts.get(11)) else {
            return Vec::new();
        };
        if product.starts_with("windows_10") {
            return vec![Self { major: 10, minor: 0 }];
        }
        let rows = || PRODUCTS.iter().filter(|(p, v, ..)| *p == product && (v.is_empty() || *v == version));
        let exact = rows().find(|(_, _, hw, _)| hw.is_empty() || *hw == hardware);
        let found: Vec<_> = exact.map_or_else(|| rows().collect(), |row| vec![row]);
        found.into_iter().map(|(.., (major, minor))| Self { major: *major, minor: *minor }).collect()
    }
}

impl fmt::Display for NtVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NT {}.{}", self.major, self.minor)
    }
}

/// Version of a file as its fixed version resource holds it: four numbers of 16 bits each, compared in order.
/// Source: learn.microsoft.com, "VS_FIXEDFILEINFO structure".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(pub [u16; 4]);

/// Why a text is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no file version: expected four numbers up to 65535, such as 5.1.2600.7701")]
pub struct InvalidVersion(String);

impl Version {
    /// The NT version that a file of Windows itself was built for.
    #[must_use]
    pub fn nt(self) -> NtVersion {
        NtVersion { major: u32::from(self.0[0]), minor: u32::from(self.0[1]) }
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        let invalid = || InvalidVersion(text.chars().take(60).collect());
        let parse = |word: &str| {
            let digits = !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit());
            if digits { word.parse().map_err(|_| invalid()) } else { Err(invalid()) }
        };
        let numbers = text.split('.').map(parse).collect::<Result<Vec<u16>, _>>()?;
        numbers.try_into().map(Self).map_err(|_| invalid())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a}.{b}.{c}.{d}")
    }
}

impl TryFrom<String> for Version {
    type Error = InvalidVersion;
    fn try_from(text: String) -> Result<Self, InvalidVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn versions_are_compared_as_numbers() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("5.1.2600.10000") > version("5.1.2600.7701"));
        assert_eq!(version("6.1.7601.24000").nt(), NtVersion { major: 6, minor: 1 });
        assert_eq!(version("5.1.2600.7701").to_string(), "5.1.2600.7701");
        for bad in ["", "5.1", "5.1.2600.7701.1", "5.1.2600.99999", "5.1.2600.x", "5..1.2", "+5.1.2.3"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
