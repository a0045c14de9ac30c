use wardround_rollout_plans::model::{Payload, Platform, VariantId};
use wardround_signing::Digest;

use super::*;

const CODE: &str = "{11111111-1111-1111-1111-111111111111}";
const PATCH: &str = "{22222222-2222-2222-2222-222222222222}";
const NAME: &str = "Package_for_KB958644~31bf3856ad364e35~x86~~6.0.1.0";

fn variant(installer: Installer, file: &str, product: &str) -> Variant {
    Variant::new(
        VariantId::new("v1").unwrap(),
        vec![Platform::new(&format!("cpe:2.3:o:microsoft:{product}:*:*:*:*:*:*:x86:*")).unwrap()],
        Payload { file_name: file.into(), digest: Digest::of(b""), length: 1, chunks: Vec::new(), sizes: Vec::new() },
        installer,
    )
}

fn windows(variant: &Variant, step: Step) -> Result<String, Refused> {
    let place = Place { shell: Shell::Cmd, dir: r"C:\w\o", root: None };
    launch_lines(variant, step, place).map(|lines| lines.join("\n"))
}

fn unix(variant: &Variant, step: Step, root: Option<&str>) -> Result<String, Refused> {
    let place = Place { shell: Shell::Sh, dir: "/d/o", root };
    launch_lines(variant, step, place).map(|lines| lines.join("\n"))
}

fn msi(properties: &[&str]) -> Variant {
    let properties = properties.iter().map(|p| (*p).to_owned()).collect();
    let installer = Installer::Msi { product_code: CODE.into(), display_version: None, properties };
    variant(installer, "p.msi", "windows_xp")
}

fn hotfix(switches: &[&str]) -> Variant {
    let switches = switches.iter().map(|s| (*s).to_owned()).collect();
    variant(Installer::Hotfix { kb: "KB4500331".into(), switches }, "k.exe", "windows_xp")
}

#[test]
fn lines_are_what_the_vendors_document() {
    let msp = Installer::Msp { product_code: CODE.into(), patch_code: PATCH.into(), properties: vec![] };
    let msu = |package: Option<&str>| Installer::Msu { kb: "KB958644".into(), package: package.map(str::to_owned) };
    let cab = || Installer::Cab { package: NAME.into() };
    for (variant, step, line) in [
        (
            msi(&["INSTALLLEVEL=3"]),
            Step::Install,
            r#"msiexec /i "C:\w\o\p.msi" /qn /norestart REBOOT=ReallySuppress INSTALLLEVEL="3""#,
        ),
        (
            msi(&[]),
            Step::Uninstall,
            "msiexec /x {11111111-1111-1111-1111-111111111111} /qn /norestart REBOOT=ReallySuppress",
        ),
        (
            variant(msp.clone(), "p.msp", "windows_7"),
            Step::Install,
            r#"msiexec /p "C:\w\o\p.msp" /qn /norestart REBOOT=ReallySuppress"#,
        ),
        (
            variant(msp, "p.msp", "windows_7"),
            Step::Uninstall,
            "msiexec /i {11111111-1111-1111-1111-111111111111} MSIPATCHREMOVE={22222222-2222-2222-2222-222222222222} \
             /qn /norestart REBOOT=ReallySuppress",
        ),
        (hotfix(&["/overwriteoem"]), Step::Install, r#""C:\w\o\k.exe" /quiet /norestart "/overwriteoem""#),
        (
            variant(msu(None), "k.msu", "windows_7"),
            Step::Install,
            r#"start /wait "" wusa.exe "C:\w\o\k.msu" /quiet /norestart"#,
        ),
        (
            variant(msu(Some(NAME)), "k.msu", "windows_7"),
            Step::Uninstall,
            r#"start /wait "" wusa.exe /uninstall "C:\w\o\k.msu" /quiet /norestart"#,
        ),
        (
            variant(msu(Some(NAME)), "k.msu", "windows_vista"),
            Step::Uninstall,
            r#"start /wait "" pkgmgr.exe /up:Package_for_KB958644~31bf3856ad364e35~x86~~6.0.1.0 /quiet /norestart"#,
        ),
        (
            variant(cab(), "k.cab", "windows_vista"),
            Step::Install,
            r#"start /wait "" pkgmgr.exe /ip /m:"C:\w\o\k.cab" /quiet /norestart"#,
        ),
        (
            variant(cab(), "k.cab", "windows_7"),
            Step::Install,
            r#"dism.exe /online /add-package /packagepath:"C:\w\o\k.cab" /quiet /norestart"#,
        ),
        (
            variant(cab(), "k.cab", "windows_7"),
            Step::Uninstall,
            "dism.exe /online /remove-package /packagename:Package_for_KB958644~31bf3856ad364e35~x86~~6.0.1.0 /quiet \
             /norestart",
        ),
    ] {
        assert_eq!(windows(&variant, step).unwrap(), line);
    }
    let lines = windows(&hotfix(&[]), Step::Uninstall).unwrap();
    assert!(lines.contains(r"%windir%\$NtUninstallKB4500331$\spuninst\spuninst.exe"), "{lines}");
    let script = variant(Installer::Script { interpreter: Interpreter::Sh }, "s.sh", "windows_xp");
    assert_eq!(unix(&script, Step::Uninstall, None).unwrap(), "sh '/d/o/s.sh' uninstall");
}

#[test]
fn a_linux_package_replaces_only_what_it_can_put_back() {
    let package = |replaces: Option<&str>| {
        let installer = Installer::LinuxPackage {
            manager: PackageManager::Dpkg,
            name: "openssl".into(),
            version: "1.0-2".into(),
            replaces: replaces.map(str::to_owned),
        };
        let mut variant = variant(installer, "new.deb", "windows_xp");
        variant.previous = replaces.map(|_| Payload { file_name: "old.deb".into(), ..variant.payload.clone() });
        variant
    };
    let lines = unix(&package(Some("1.0-1")), Step::Install, Some("/srv/d")).unwrap();
    assert!(
        lines.contains("!= '1.0-1'") && lines.contains("dpkg --root='/srv/d' --force-confold -i '/d/o/new.deb'"),
        "{lines}"
    );
    let lines = unix(&package(Some("1.0-1")), Step::Uninstall, None).unwrap();
    assert_eq!(lines, "DEBIAN_FRONTEND=noninteractive dpkg --force-confold --force-downgrade -i '/d/o/old.deb'");
    assert!(unix(&package(None), Step::Uninstall, None).unwrap().ends_with("dpkg -P openssl"));
    assert_eq!(staged_for(&package(Some("1")), Step::Uninstall), Staged::Previous);
    assert_eq!(staged_for(&package(None), Step::Uninstall), Staged::Nothing);
}

#[test]
fn what_would_escape_or_take_over_is_refused() {
    for property in [
        "REBOOT=Force",
        "X=a&del",
        "X=%TEMP%",
        r"X=C:\",
        "x=1",
        "X",
        "X=a\"b",
        "X=a\nb",
        "REMOVE=ALL",
        "DISABLEROLLBACK=1",
    ] {
        assert!(windows(&msi(&[property]), Step::Install).is_err(), "{property}");
    }
    for switch in ["/nobackup", "-NoBackup", "/n", "-N", "/forcerestart", "x", "/a & b", "/x", "/integrate:c", "/r"] {
        assert!(windows(&hotfix(&[switch]), Step::Install).is_err(), "{switch}");
    }
    for kb in ["4500331", "KB1$\\x", "KB", "KB123456789"] {
        let bad = variant(Installer::Hotfix { kb: kb.into(), switches: vec![] }, "k.exe", "windows_xp");
        assert!(windows(&bad, Step::Uninstall).is_err(), "{kb}");
    }
    let code = Installer::Msi { product_code: "{1} & del".into(), display_version: None, properties: vec![] };
    assert!(windows(&variant(code, "p.msi", "windows_xp"), Step::Uninstall).is_err());
    assert!(matches!(unix(&msi(&[]), Step::Install, None), Err(Refused::WrongShell { technology: "msi", .. })));
    let name = Installer::Cab { package: "Package & del".into() };
    assert!(windows(&variant(name, "k.cab", "windows_7"), Step::Uninstall).is_err());
}

#[test]
fn what_has_no_way_back_is_uninstalled_by_nobody() {
    let mut accepted = hotfix(&["/nobackup"]);
    accepted.irreversible = Some("the vendor says so".into());
    assert!(windows(&accepted, Step::Install).unwrap().ends_with(r#""/nobackup""#));
    assert!(matches!(windows(&accepted, Step::Uninstall), Err(Refused::Irreversible(_))));
    let vista = variant(Installer::Msu { kb: "KB958644".into(), package: None }, "k.msu", "windows_vista");
    assert!(matches!(windows(&vista, Step::Uninstall), Err(Refused::Irreversible(_))));
}
