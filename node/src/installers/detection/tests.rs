use std::collections::BTreeMap;

use wardround_rollout_plans::model::{Detection, Installer, Payload, Platform, VariantId};
use wardround_signing::Digest;

use super::*;

const CODE: &str = "{11111111-1111-1111-1111-111111111111}";
const NAME: &str = "Package_for_KB4012212~31bf3856ad364e35~amd64~~6.1.1.0";

/// Answers by the end of the key, path or name; whatever is not told is not there.
fn found(sign: &Sign, told: &[(&str, Answer)]) -> Detected {
    interpret(sign, &questions(sign).unwrap(), &answers(told))
}

fn answers(told: &[(&str, Answer)]) -> impl Fn(&Question) -> Answer {
    let told: BTreeMap<String, Answer> = told.iter().map(|(at, answer)| ((*at).to_owned(), answer.clone())).collect();
    move |question| {
        let name = match question {
            Question::Registry { key, .. } => key.clone(),
            Question::FileVersion { path } => path.clone(),
            Question::Updates => "updates".to_owned(),
            Question::Package { name, .. } => name.clone(),
        };
        told.iter().find(|(at, _)| name.ends_with(at.as_str())).map_or(Answer::Missing, |(_, answer)| answer.clone())
    }
}

fn there(text: &str) -> Answer {
    Answer::There(text.to_owned())
}

fn is_present(found: &Detected) -> bool {
    matches!(found, Detected::Present { .. })
}

fn msi(version: Option<&str>) -> Sign {
    Sign::Msi { product_code: CODE.into(), display_version: version.map(str::to_owned) }
}

#[test]
fn both_registry_views_count() {
    let sign = msi(Some("1.0.1"));
    assert_eq!(questions(&sign).unwrap().len(), 2);
    for view in [
        r"SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall\",
        r"Wow6432Node\Microsoft\Windows\CurrentVersion\Uninstall\",
    ] {
        let key = format!("{view}{CODE}");
        let Detected::Present { proof } = found(&sign, &[(&key, there("1.0.1"))]) else { panic!("{view}") };
        assert!(proof.ends_with("DisplayVersion = 1.0.1"), "{proof}");
    }
    assert_eq!(found(&sign, &[]), Detected::Absent);
    let any = Sign::Registry { key: r"HKLM\SOFTWARE\Acme\CT".into(), value: "Patch".into(), data: Some("7".into()) };
    assert!(is_present(&found(&any, &[(r"Wow6432Node\Acme\CT", there("7"))])));
    assert_eq!(found(&any, &[(r"SOFTWARE\Acme\CT", there("8"))]), Detected::Absent);
}

#[test]
fn another_version_of_the_product_is_not_this_patch() {
    assert_eq!(found(&msi(Some("1.0.1")), &[(CODE, there("1.0.0"))]), Detected::Absent);
    assert!(is_present(&found(&msi(None), &[(CODE, there("1.0.0"))])));
}

#[test]
fn what_can_not_be_read_proves_nothing_unless_something_else_shows_it() {
    let unread = Answer::Unread("reg.exe is missing".into());
    assert!(matches!(found(&msi(None), &[(CODE, unread.clone())]), Detected::Unknown { .. }));
    let sign = Sign::Msu { kb: "KB4012212".into(), package: Some(NAME.into()) };
    assert!(is_present(&found(&sign, &[("updates", unread), (NAME, there("0x70"))])));
}

#[test]
fn a_hotfix_counts_only_when_installed_is_not_zero() {
    let sign = Sign::Hotfix { kb: "KB4500331".into() };
    assert!(is_present(&found(&sign, &[(r"HotFix\KB4500331", there("0x1"))])));
    assert_eq!(found(&sign, &[(r"HotFix\KB4500331", there("0x0"))]), Detected::Absent);
}

#[test]
fn updates_are_found_by_their_number_whatever_stands_behind_it() {
    let sign = Sign::Msu { kb: "KB4012212".into(), package: None };
    for (list, is) in [
        ("KB976902\nKB4012212", true),
        ("KB4012212_Microsoft-Windows-CameraCodec-Package", true),
        ("KB40122120", false),
        ("kb4012212", true),
        ("", false),
    ] {
        assert_eq!(is_present(&found(&sign, &[("updates", there(list))])), is, "{list}");
    }
    let cab = Sign::Cab { package: NAME.into() };
    for (state, is) in [("0x70", true), ("0x50", true), ("0x40", false), ("0x60", false)] {
        assert_eq!(is_present(&found(&cab, &[(NAME, there(state))])), is, "{state}");
    }
}

#[test]
fn a_patch_of_a_product_is_looked_for_under_packed_codes() {
    assert_eq!(packed("{1A2B3C4D-0102-4003-8004-00000000ABCD}"), "D4C3B2A120103004084000000000BADC");
    let sign = Sign::Msp { product_code: CODE.into(), patch_code: CODE.into() };
    for (state, is) in [("0x1", true), ("0x2", true), ("0x8", false)] {
        let key = format!(r"Products\{0}\Patches\{0}", "1".repeat(32));
        assert_eq!(is_present(&found(&sign, &[(&key, there(state))])), is, "{state}");
    }
}

fn variant(detection: Detection) -> Variant {
    let platform = Platform::new("cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:x86:*").unwrap();
    let payload = Payload {
        file_name: "k.exe".into(),
        digest: Digest::of(b""),
        length: 1,
        chunks: Vec::new(),
        sizes: Vec::new(),
    };
    let installer = Installer::Hotfix { kb: "KB4500331".into(), switches: Vec::new() };
    Variant { detection, ..Variant::new(VariantId::new("v1").unwrap(), vec![platform], payload, installer) }
}

#[test]
fn any_sign_is_enough_and_no_file_may_be_older() {
    let driver = r"%windir%\system32\drivers\termdd.sys";
    let variant = variant(Detection {
        any_of: vec![Sign::Hotfix { kb: "KB4500999".into() }],
        files: vec![FileVersion { path: driver.into(), version: "5.1.2600.7701".parse().unwrap() }],
    });
    let ask = |told: &[(&str, Answer)]| detected(&variant, None, &answers(told)).unwrap();
    let (own, newer) = (("KB4500331", there("0x1")), ("KB4500999", there("0x1")));
    let at = |version: &str| (driver, there(version));
    assert!(is_present(&ask(&[own.clone(), at("5.1.2600.7701")])));
    assert!(is_present(&ask(&[newer, at("5.1.2600.10000")])), "a newer patch holds it");
    assert_eq!(ask(&[own.clone(), at("5.1.2600.5512")]), Detected::Absent, "recorded, but the file is the old one");
    assert_eq!(ask(std::slice::from_ref(&own)), Detected::Absent, "recorded, but the file is gone");
    assert_eq!(ask(&[at("5.1.2600.7701")]), Detected::Absent, "the file alone shows no patch");
    assert!(matches!(ask(&[own, (driver, Answer::Unread("no script host".into()))]), Detected::Unknown { .. }));
}
