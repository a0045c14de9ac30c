//! The Debian package of a site node, made out of the program under test with `dpkg-deb` alone.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

#[path = "package/service.rs"]
mod service;

use std::{fs, path::Path, process::Command};

use wardround_tests::rig::{deb, require};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn said(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn the_package_holds_program_service_and_pages_and_is_the_same_each_time() {
    if require("dpkg-deb").is_none() || require("strip").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("wardround");
    said(Command::new("strip").arg("-o").arg(&program).arg(PROGRAM));
    let built = deb(&program, &dir.path().join("one"));
    let again = deb(&program, &dir.path().join("two"));
    assert!(fs::read(&built).unwrap() == fs::read(&again).unwrap(), "another package of the same program");
    assert!(built.file_name().unwrap().to_str().unwrap().starts_with(&format!("wardround-node_{VERSION}_")));

    let about = said(Command::new("dpkg-deb").arg("-I").arg(&built));
    for line in ["Package: wardround-node", &format!("Version: {VERSION}"), "postinst", "prerm", "postrm", "md5sums"] {
        assert!(about.contains(line), "{line} is not in\n{about}");
    }
    assert!(!about.contains("conffiles"), "{about}");
    let holds = said(Command::new("dpkg-deb").arg("-c").arg(&built));
    for (path, mode) in [
        ("./usr/bin/wardround", "-rwxr-xr-x root/root"),
        ("./usr/lib/systemd/system/wardround-node.service", "-rw-r--r-- root/root"),
        ("./usr/share/doc/wardround-node/copyright", "-rw-r--r-- root/root"),
        ("./usr/share/doc/wardround-node/self-update.md", "-rw-r--r-- root/root"),
        ("./usr/share/doc/wardround-node/changelog.gz", "-rw-r--r-- root/root"),
    ] {
        assert!(holds.lines().any(|line| line.starts_with(mode) && line.ends_with(path)), "{path} is not in\n{holds}");
    }
    assert!(!holds.contains("./etc/") && !holds.contains("./var/"), "{holds}");

    let root = dir.path().join("root");
    said(Command::new("dpkg-deb").arg("-x").arg(&built).arg(&root));
    let installed = root.join("usr/bin/wardround");
    assert_eq!(said(Command::new(&installed).arg("--version")).trim(), format!("wardround {VERSION}"));
    let help = said(Command::new(&installed).args(["node", "supervise", "--help"]));
    assert!(help.contains("/var/lib/wardround"), "{help}");
    let sums = dir.path().join("control");
    said(Command::new("dpkg-deb").arg("-e").arg(&built).arg(&sums));
    said(Command::new("md5sum").args(["--check", "--quiet"]).arg(sums.join("md5sums")).current_dir(&root));
    for script in ["postinst", "prerm", "postrm"] {
        said(Command::new("sh").arg("-n").arg(sums.join(script)));
    }
    service(&root, &installed);
}

/// The service starts what the package brings.
fn service(root: &Path, installed: &Path) {
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/wardround-node.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/wardround --verbose node supervise "), "{unit}");
    if require("systemd-analyze").is_none() {
        return;
    }
    // The program stands where the package was unpacked, and its pages are not on this machine.
    let unit: String = unit
        .replace("/usr/bin/wardround", &installed.display().to_string())
        .lines()
        .filter(|line| !line.starts_with("Documentation="))
        .fold(String::new(), |text, line| text + line + "\n");
    let path = root.join("wardround-node.service");
    fs::write(&path, unit).unwrap();
    let done = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&path).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("wardround")).collect();
    assert!(ours.is_empty(), "{ours:?}");
}
