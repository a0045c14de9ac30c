//! Platforms as CPE 2.3 names (NIST IR 7695), which double as patterns where a part is `*`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A CPE 2.3 formatted string: `cpe:2.3:part:vendor:product:version:update:edition:language:sw_edition:target_sw:target_hw:other`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform(std::sync::Arc<str>);

/// Why a string is no CPE 2.3 name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a CPE 2.3 name: {why}")]
pub struct InvalidPlatform {
    /// What was given (at most 120 characters of it).
    pub text: String,
    /// What is wrong.
    pub why: String,
}

/// Longest name, bytes.
const CPE_LEN_MAX: usize = 255;

impl Platform {
    /// Validates a formatted string. Backslash-escaped colons are understood.
    ///
    /// # Errors
    /// [`InvalidPlatform`] says which part is missing or empty.
    pub fn new(text: &str) -> Result<Self, InvalidPlatform> {
        let fail = |why: String| Err(InvalidPlatform { text: text.chars().take(120).collect(), why });
        if text.len() > CPE_LEN_MAX {
            return fail(format!("longer than {CPE_LEN_MAX} bytes"));
        }
        let Some(rest) = text.strip_prefix("cpe:2.3:") else {
            return fail("it must begin with \"cpe:2.3:\"".into());
        };
        let parts: Vec<&str> = split(rest).collect();
        if parts.len() != 11 {
            return fail(format!("it needs 11 parts after \"cpe:2.3:\", not {}", parts.len()));
        }
        if !matches!(parts[0], "o" | "a" | "h" | "*") {
            return fail(format!("the first part must be o, a or h, not {:?}", parts[0]));
        }
        // NIST IR 7695, section 6.2: printable ASCII. People read these names before they sign.
        if let Some(at) = parts.iter().position(|p| p.is_empty() || !p.bytes().all(|b| b.is_ascii_graphic())) {
            return fail(format!("part {} is empty or holds something else than printable ASCII", at + 1));
        }
        if let Some(at) = parts.iter().position(|p| p.len() > 1 && has_wildcard(p)) {
            return fail(format!("part {} holds '*' or '?' beside other characters, which is not understood", at + 1));
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The text, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The eleven parts.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        split(self.0.strip_prefix("cpe:2.3:").unwrap_or(""))
    }

    /// Product ("windows_xp").
    #[must_use]
    pub fn product(&self) -> &str {
        self.parts().nth(2).unwrap_or("*")
    }

    /// Version ("-", "r2").
    #[must_use]
    pub fn version(&self) -> &str {
        self.parts().nth(3).unwrap_or("*")
    }

    /// Update, on Windows the service pack ("sp3").
    #[must_use]
    pub fn update(&self) -> &str {
        self.parts().nth(4).unwrap_or("*")
    }

    /// Language ("en-us").
    #[must_use]
    pub fn language(&self) -> &str {
        self.parts().nth(6).unwrap_or("*")
    }

    /// Hardware that it runs on ("x86", "x64").
    #[must_use]
    pub fn hardware(&self) -> &str {
        self.parts().nth(9).unwrap_or("*")
    }

    /// True for the program of a site node: `cpe:2.3:a:wardround:node:…`.
    #[must_use]
    pub fn is_node(&self) -> bool {
        self.parts().take(3).eq(["a", "wardround", "node"])
    }

    /// True when `self` as a pattern covers `actual`: each part is `*` or the same.
    /// A part that `actual` leaves open (`*`) is covered only by `*`: unknown never counts as a match.
    #[must_use]
    pub fn matches(&self, actual: &Self) -> bool {
        self.parts().zip(actual.parts()).all(|(pattern, part)| pattern == "*" || pattern == part)
    }

    /// True when some platform is covered by both as patterns.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.parts().zip(other.parts()).all(|(a, b)| a == "*" || b == "*" || a == b)
    }
}

/// Whether a wildcard stands in a part unescaped. NIST IR 7696 allows them at its ends; taken literally, such a pattern would
/// silently match no device.
fn has_wildcard(part: &str) -> bool {
    let mut escaped = false;
    part.chars().any(|c| {
        let wild = matches!(c, '*' | '?') && !escaped;
        escaped = c == '\\' && !escaped;
        wild
    })
}

/// Splits at colons that are not escaped.
fn split(rest: &str) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    rest.split(move |c| {
        let cut = c == ':' && !escaped;
        escaped = c == '\\' && !escaped;
        cut
    })
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Platform {
    type Err = InvalidPlatform;
    fn from_str(text: &str) -> Result<Self, InvalidPlatform> {
        Self::new(text)
    }
}

impl TryFrom<String> for Platform {
    type Error = InvalidPlatform;
    fn try_from(text: String) -> Result<Self, InvalidPlatform> {
        Self::new(&text)
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const XP: &str = "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*";

    #[test]
    fn patterns_match_what_they_name_and_nothing_unknown() {
        let xp = Platform::new(XP).unwrap();
        let any_xp = Platform::new("cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*").unwrap();
        let x64 = Platform::new("cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:x64:*").unwrap();
        assert!(any_xp.matches(&xp) && xp.matches(&xp) && !x64.matches(&xp));
        assert!(!x64.matches(&any_xp), "an unknown architecture is no match");
        assert_eq!(xp.product(), "windows_xp");
        assert!(x64.overlaps(&any_xp) && any_xp.overlaps(&x64) && !x64.overlaps(&xp));
    }

    #[test]
    fn bad_names_say_why() {
        for (text, why) in [
            ("windows", "begin with"),
            ("cpe:2.3:o:a", "11 parts"),
            ("cpe:2.3:z:a:b:c:d:e:f:g:h:i:j", "first part"),
            ("cpe:2.3:o:a::c:d:e:f:g:h:i:j", "part 3 is empty"),
            ("cpe:2.3:o:a:b c:c:d:e:f:g:h:i:j", "part 3 is empty or holds"),
            ("cpe:2.3:o:a:b:c\u{202e}:d:e:f:g:h:i:j", "part 4 is empty or holds"),
            ("cpe:2.3:o:a:b:c:sp*:e:f:g:h:i:j", "part 5 holds '*' or '?'"),
            ("cpe:2.3:o:a:b:c:sp?:e:f:g:h:i:j", "part 5 holds '*' or '?'"),
        ] {
            assert!(Platform::new(text).unwrap_err().why.contains(why), "{text}");
        }
        assert!(Platform::new(r"cpe:2.3:o:a:b\*\?:c:d:e:f:g:h:i:j").is_ok(), "escaped");
        assert!(Platform::new(r"cpe:2.3:o:a\:b:c:d:e:f:g:h:i:j:k").is_ok(), "escaped colon");
    }
}
