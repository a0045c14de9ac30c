//! The quickstart's files, read by those who will read them: the node's parser, the planner, and `sh`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use wardround_node::config::read_site_file;
use wardround_rollout_plans::{
    estate::Estate,
    language::parse_plan,
    model::{DeviceId, Payload},
    patch_file::parse_patch_file,
    resolve::resolve,
};
use wardround_signing::Digest;

use super::{
    estate::{self, SITES, Site},
    inspect, patches,
    patches::Written,
    viewer::{SETTINGS, render_device},
};

fn built(home: &Path) -> Vec<Site> {
    let viewers: Vec<SocketAddr> =
        (0..SITES.len()).map(|n| SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000 + n as u16))).collect();
    estate::build(home, &viewers).unwrap()
}

fn patch(written: &Written) -> wardround_rollout_plans::model::Patch {
    let yaml = std::fs::read_to_string(&written.manifest).unwrap();
    let file = parse_patch_file(&yaml, "patch.yaml").unwrap();
    let payloads = file.variants.iter().map(|variant| {
        let bytes = std::fs::read(written.manifest.with_file_name(&variant.payload.file)).unwrap();
        let digest = Digest::of(&bytes);
        Payload {
            file_name: String::new(),
            digest,
            length: bytes.len() as u64,
            chunks: vec![digest],
            sizes: Vec::new(),
        }
    });
    let payloads = payloads.collect();
    file.into_patch(payloads).unwrap()
}

#[test]
fn the_waves_are_as_told_and_the_planner_sees_the_gap() {
    let home = tempfile::tempdir().unwrap();
    let mut whole = Estate::default();
    for site in built(home.path()) {
        let file = read_site_file(&site.file).unwrap_or_else(|e| panic!("{e} ({})", e.hint));
        assert_eq!(file.inventory.systems.len(), 1);
        whole.put(file.inventory);
    }
    let yaml = std::fs::read_to_string(patches::plan(home.path(), 1000).unwrap()).unwrap();
    let plan = parse_plan(&yaml, "plan.yaml").unwrap();
    for written in [patches::good(home.path()).unwrap(), patches::bad(home.path()).unwrap()] {
        let resolved = resolve(&plan, &patch(&written), &whole).unwrap();
        let counts: Vec<usize> = resolved.waves.iter().map(Vec::len).collect();
        assert_eq!((counts.as_slice(), resolved.left_out.len()), ([2, 4, 8].as_slice(), 0));
        assert!(resolved.warnings.iter().any(|w| w.problem.message.contains("2003")), "{:?}", resolved.warnings);
        let server = DeviceId::new("rx2/archive").unwrap();
        assert!(resolved.waves[1].iter().any(|m| m.device == server && m.variant.as_str() == "server-2003"));
    }
}

/// Runs a payload as the node does, and gives its exit code.
fn run(root: &Path, written: &Written, file: &str, verb: &str) -> Option<i32> {
    let script = written.manifest.with_file_name(file);
    Command::new("sh")
        .arg(script)
        .arg(verb)
        .current_dir(root)
        .env("WARDROUND_DEVICE_ROOT", root)
        .output()
        .unwrap()
        .status
        .code()
}

#[test]
fn payloads_install_detect_and_leave_without_a_trace() {
    let home = tempfile::tempdir().unwrap();
    let sites = built(home.path());
    let (good, bad) = (patches::good(home.path()).unwrap(), patches::bad(home.path()).unwrap());
    let root = &sites[1].devices[1].1;
    let read = || std::fs::read(root.join(SETTINGS)).unwrap();
    assert_eq!((render_device(root).as_deref(), run(root, &good, "server.sh", "detect")), (Ok("2.0"), Some(1)));
    // Twice: a step that is repeated after a crash must not keep its own settings as the former ones.
    for _ in 0..2 {
        assert_eq!(run(root, &good, "server.sh", "install"), Some(0));
    }
    assert_eq!((render_device(root).as_deref(), run(root, &good, "server.sh", "detect")), (Ok("2.1"), Some(0)));
    let before = read();

    assert_eq!(run(root, &bad, "desktop.sh", "install"), Some(0));
    assert_eq!(render_device(root).as_deref(), Ok("2.2"), "right where it was built right");
    assert_eq!(run(root, &bad, "desktop.sh", "uninstall"), Some(0));
    assert_eq!(run(root, &bad, "server.sh", "install"), Some(0));
    assert_eq!(run(root, &bad, "server.sh", "detect"), Some(0), "it is installed, only wrong");
    assert!(render_device(root).unwrap_err().contains("2 of 11 grey steps"));
    assert!(!inspect::traces(&sites, bad.id.as_str(), &bad.version).is_empty());
    for _ in 0..2 {
        assert_eq!(run(root, &bad, "server.sh", "uninstall"), Some(0));
    }
    assert_eq!(run(root, &bad, "server.sh", "detect"), Some(1));
    assert_eq!(inspect::traces(&sites, bad.id.as_str(), &bad.version), Vec::<String>::new());
    assert_eq!(read(), before);
    assert_eq!(run(root, &good, "server.sh", "explode"), Some(64));
}
