//! What a Windows says of itself: as a platform, and against the platforms that a variant is for.

use wardround_rollout_plans::model::{NtVersion, Platform};

/// What a Windows says of itself. `None`: it did not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowsFacts {
    /// NT version.
    pub nt: NtVersion,
    /// Build number.
    pub build: Option<u32>,
    /// Service pack, 0 for none.
    pub service_pack: Option<u16>,
    /// A server rather than a workstation.
    pub server: Option<bool>,
    /// "R2" stands in its product name.
    pub r2: bool,
    /// Language of the installation ("en-us").
    pub language: Option<String>,
    /// Processor architecture as CPE names it ("x86", "x64", "ia64").
    pub hardware: Option<String>,
}

/// Install languages: the registry's LCID and the tag that CPE uses. Source: \[MS-LCID\] 2.2.
const LANGUAGES: &[(u16, &str)] = &[
    (0x0401, "ar-sa"),
    (0x0404, "zh-tw"),
    (0x0405, "cs-cz"),
    (0x0406, "da-dk"),
    (0x0407, "de-de"),
    (0x0408, "el-gr"),
    (0x0409, "en-us"),
    (0x040A, "es-es"),
    (0x040B, "fi-fi"),
    (0x040C, "fr-fr"),
    (0x040D, "he-il"),
    (0x040E, "hu-hu"),
    (0x0410, "it-it"),
    (0x0411, "ja-jp"),
    (0x0412, "ko-kr"),
    (0x0413, "nl-nl"),
    (0x0414, "nb-no"),
    (0x0415, "pl-pl"),
    (0x0416, "pt-br"),
    (0x0418, "ro-ro"),
    (0x0419, "ru-ru"),
    (0x041B, "sk-sk"),
    (0x041D, "sv-se"),
    (0x041E, "th-th"),
    (0x041F, "tr-tr"),
    (0x0424, "sl-si"),
    (0x0804, "zh-cn"),
    (0x0809, "en-gb"),
    (0x0816, "pt-pt"),
    (0x0C0A, "es-es"),
];

/// The registry's `InstallLanguage` ("0409") as a language tag.
#[must_use]
pub fn language_of(lcid: &str) -> Option<String> {
    let lcid = u16::from_str_radix(lcid.trim(), 16).ok()?;
    LANGUAGES.iter().find(|(known, _)| *known == lcid).map(|(_, tag)| (*tag).to_owned())
}

/// The registry's `PROCESSOR_ARCHITECTURE` as CPE names hardware.
#[must_use]
pub fn hardware_of(architecture: &str) -> Option<String> {
    let known = [("x86", "x86"), ("amd64", "x64"), ("ia64", "ia64"), ("arm64", "arm64")];
    let lower = architecture.trim().to_ascii_lowercase();
    known.iter().find(|(word, _)| *word == lower).map(|(_, hardware)| (*hardware).to_owned())
}

/// `CSDVersion` ("Service Pack 3", in the system's language): its number; 0 where the value is missing.
#[must_use]
pub fn service_pack_of(csd_version: Option<&str>) -> Option<u16> {
    let Some(text) = csd_version else { return Some(0) };
    let digits: String = text.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    if text.trim().is_empty() { Some(0) } else { digits.parse().ok() }
}

/// Products by NT version: workstation and server.
const PRODUCTS: &[((u32, u32), &str, &str)] = &[
    ((5, 0), "windows_2000", "windows_2000"),
    ((5, 1), "windows_xp", "windows_xp"),
    ((5, 2), "windows_xp", "windows_server_2003"),
    ((6, 0), "windows_vista", "windows_server_2008"),
    ((6, 1), "windows_7", "windows_server_2008"),
    ((6, 2), "windows_8", "windows_server_2012"),
    ((6, 3), r"windows_8\.1", "windows_server_2012"),
];

impl WindowsFacts {
    /// Its CPE 2.3 name (NIST IR 7695); `None` where no product is known for its version.
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        let (_, workstation, server) =
            PRODUCTS.iter().find(|((major, minor), ..)| (*major, *minor) == (self.nt.major, self.nt.minor))?;
        let is_server = self.server.unwrap_or(false);
        let product = if is_server { server } else { workstation };
        // The servers of NT 6.1 and 6.3 are second releases.
        let second = is_server && (self.r2 || matches!((self.nt.major, self.nt.minor), (6, 1 | 3)));
        let version = if second { "r2" } else { "-" };
        let update = match self.service_pack {
            Some(0) => "-".to_owned(),
            Some(pack) => format!("sp{pack}"),
            None => "*".to_owned(),
        };
        let (language, hardware) = (self.language.as_deref().unwrap_or("*"), self.hardware.as_deref().unwrap_or("*"));
        Platform::new(&format!("cpe:2.3:o:microsoft:{product}:{version}:{update}:*:{language}:*:*:{hardware}:*")).ok()
    }

    /// What contradicts a wanted platform. What the device does not say contradicts nothing unless `strict`.
    fn against(&self, wanted: &Platform, strict: bool) -> Vec<String> {
        let mut against = Vec::new();
        let versions = NtVersion::of(wanted);
        if !versions.is_empty() && !versions.contains(&self.nt) {
            against.push(format!("it is Windows {}", self.nt));
        } else if let (Some(server), Some(is_server)) = (is_server(wanted), self.server)
            && server != is_server
        {
            against.push(format!("it is a {}", if is_server { "server" } else { "workstation" }));
        }
        let mut part = |what: &str, wanted: &str, found: Option<&str>, same: bool| match found {
            _ if matches!(wanted, "*" | "-") => {}
            Some(_) if same => {}
            Some(found) => against.push(format!("its {what} is {found}")),
            None if strict => against.push(format!("it does not say its {what}")),
            None => {}
        };
        let pack = self.service_pack.map(|pack| if pack == 0 { "none".to_owned() } else { format!("sp{pack}") });
        part("service pack", wanted.update(), pack.as_deref(), pack.as_deref() == Some(wanted.update()));
        let language = self.language.as_deref();
        let speaks = language.is_some_and(|l| {
            l == wanted.language() || l.strip_prefix(wanted.language()).is_some_and(|rest| rest.starts_with('-'))
        });
        part("language", wanted.language(), language, speaks);
        let hardware = self.hardware.as_deref();
        part("architecture", wanted.hardware(), hardware, hardware == Some(wanted.hardware()));
        against
    }
}

/// Whether the product is a server; `None` for products that are both, or that no table knows.
fn is_server(platform: &Platform) -> Option<bool> {
    let product = platform.product();
    if product.starts_with("windows_server") || product == "windows_2003_server" {
        return Some(true);
    }
    let known = PRODUCTS.iter().any(|(_, workstation, server)| workstation != server && *workstation == product);
    known.then_some(false)
}

/// A sentence when what the device says of itself fits none of `wanted`; `who` names them ("the site file"). A platform that no
/// table knows can't be contradicted by a version number.
#[must_use]
pub fn platform_mismatch(facts: &WindowsFacts, wanted: &[Platform], strict: bool, who: &str) -> Option<String> {
    let nearest =
        wanted.iter().map(|platform| (facts.against(platform, strict), platform)).min_by_key(|(a, _)| a.len());
    let (against, platform) = nearest.filter(|(against, _)| !against.is_empty())?;
    Some(format!("the device is not what {who} is for ({platform}): {}", against.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(product: &str, version: &str, hardware: &str) -> Platform {
        Platform::new(&format!("cpe:2.3:o:microsoft:{product}:{version}:*:*:*:*:*:{hardware}:*")).unwrap()
    }

    fn facts(major: u32, minor: u32, server: bool, hardware: &str) -> WindowsFacts {
        WindowsFacts {
            nt: NtVersion { major, minor },
            build: None,
            service_pack: Some(2),
            server: Some(server),
            r2: false,
            language: Some("en-us".into()),
            hardware: Some(hardware.into()),
        }
    }

    fn mismatch(facts: &WindowsFacts, wanted: &[Platform]) -> Option<String> {
        platform_mismatch(facts, wanted, true, "the variant")
    }

    #[test]
    fn a_device_that_is_not_what_it_is_declared_to_be_is_named() {
        let xp64 = facts(5, 2, false, "x64");
        assert_eq!(mismatch(&xp64, &[platform("windows_xp", "-", "x64")]), None);
        assert_eq!(mismatch(&xp64, &[platform("solaris", "9", "*")]), None, "unknown is no contradiction");
        let why = mismatch(&xp64, &[platform("windows_7", "-", "x64")]).unwrap();
        assert!(why.contains("NT 5.2") && why.contains("windows_7"), "{why}");
        let why = mismatch(&xp64, &[platform("windows_server_2003", "r2", "x64")]).unwrap();
        assert!(why.contains("it is a workstation"), "{why}");
        assert_eq!(mismatch(&facts(5, 2, true, "x64"), &[platform("windows_server_2003", "r2", "x64")]), None);
        assert!(mismatch(&xp64, &[platform("windows_xp", "-", "x86")]).is_some());
        let any = platform("windows_xp", "-", "*");
        assert_eq!(mismatch(&xp64, std::slice::from_ref(&any)), None, "it may be the 64-bit one");
        assert!(mismatch(&facts(6, 1, false, "x86"), &[any]).is_some(), "but never Windows 7");
        assert_eq!(mismatch(&facts(6, 1, true, "x64"), &[platform("windows_server_2008", "r2", "x64")]), None);
        assert!(mismatch(&facts(6, 1, true, "x64"), &[platform("windows_server_2008", "-", "x64")]).is_some());
        assert_eq!(mismatch(&facts(6, 3, false, "x64"), &[platform(r"windows_8\.1", "-", "x64")]), None);
    }

    #[test]
    fn service_pack_language_and_architecture_count() {
        let wanted = |update: &str, language: &str, hardware: &str| {
            [Platform::new(&format!("cpe:2.3:o:microsoft:windows_xp:-:{update}:*:{language}:*:*:{hardware}:*"))
                .unwrap()]
        };
        let xp = facts(5, 1, false, "x86");
        for (update, language, hardware, why) in [
            ("sp2", "en-us", "x86", None),
            ("sp2", "en", "x86", None),
            ("*", "*", "*", None),
            ("sp3", "en-us", "x86", Some("service pack is sp2")),
            ("sp2", "de-de", "x86", Some("language is en-us")),
            ("sp2", "e", "x86", Some("language is en-us")),
            ("sp2", "en-us", "x64", Some("it is Windows NT 5.1, its architecture is x86")),
        ] {
            let found = mismatch(&xp, &wanted(update, language, hardware));
            match why {
                None => assert_eq!(found, None),
                Some(why) => assert!(found.as_ref().is_some_and(|found| found.contains(why)), "{found:?}"),
            }
        }
        let silent = WindowsFacts { language: None, ..xp };
        let german = wanted("sp2", "de-de", "x86");
        assert!(mismatch(&silent, &german).unwrap().contains("does not say its language"));
        assert_eq!(platform_mismatch(&silent, &german, false, "the site file"), None);
    }

    #[test]
    fn a_windows_is_named_as_the_national_database_names_it() {
        for (facts, name) in [
            (facts(5, 1, false, "x86"), "cpe:2.3:o:microsoft:windows_xp:-:sp2:*:en-us:*:*:x86:*"),
            (facts(5, 2, true, "x64"), "cpe:2.3:o:microsoft:windows_server_2003:-:sp2:*:en-us:*:*:x64:*"),
            (facts(6, 1, true, "x64"), "cpe:2.3:o:microsoft:windows_server_2008:r2:sp2:*:en-us:*:*:x64:*"),
            (facts(6, 3, false, "x64"), r"cpe:2.3:o:microsoft:windows_8\.1:-:sp2:*:en-us:*:*:x64:*"),
        ] {
            assert_eq!(facts.platform().unwrap().as_str(), name);
        }
        assert_eq!(facts(4, 0, false, "x86").platform(), None);
        assert_eq!(language_of("0409").as_deref(), Some("en-us"));
        assert_eq!(hardware_of("AMD64").as_deref(), Some("x64"));
        assert_eq!(
            (service_pack_of(Some("Service Pack 3")), service_pack_of(None), service_pack_of(Some("?"))),
            (Some(3), Some(0), None)
        );
    }
}
