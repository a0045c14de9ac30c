//! Payloads on their way from the controller to a site: what a newer build costs on the line, what a site's limit does, and how
//! much memory it takes.
#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::{
    collections::HashSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use wardround_chunks::cut;
use wardround_signing::Digest;
use wardround_tests::{
    rig::require,
    world::{Blueprint, World, payload, plan, wait_until},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const MIB: u64 = 1024 * 1024;

/// splitmix64: without a pattern, the same on every machine.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut data: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
    data.truncate(bytes);
    data
}

/// A newer build: 5 % of it in four regions, and two insertions.
fn newer(old: &[u8]) -> Vec<u8> {
    let mut new = old.to_vec();
    let part = old.len() / 16;
    for (place, bytes) in [(2, 5_000), (5, 40_001), (7, 300_000), (12, 494_000)] {
        let bytes = bytes * old.len() / (16 << 20);
        new[place * part..place * part + bytes].copy_from_slice(&noise(bytes, place as u64));
    }
    for place in [4, 14] {
        new.splice(place * part..place * part, noise(1_001, place as u64));
    }
    new
}

/// Imports the device's script with `content` behind it, signed by both roles.
fn patch(world: &World, id: &str, content: &[u8]) -> u64 {
    let folder = world.dir().join("distribution");
    fs::create_dir_all(&folder).unwrap();
    // The shell reads no further than the script's last line, which is an exit.
    let script = [payload(id, 0).as_slice(), content].concat();
    fs::write(folder.join(format!("{id}.sh")), &script).unwrap();
    let manifest = folder.join(format!("{id}.yaml"));
    let text = format!(
        "id: {id}\ntitle: A payload\nseverity: high\nvariants:\n  - id: any\n    platforms: \
         ['cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*']\n    payload: {{ file: {id}.sh }}\n    installer: \
         {{ technology: script, interpreter: sh }}\n"
    );
    fs::write(&manifest, text).unwrap();
    world.patch_by(id, &manifest);
    script.len() as u64
}

/// Bytes that went down to a site while a rollout came to its end.
fn moved(world: &mut World, rollout: &str, patch: &str) -> u64 {
    let before = world.site("rx1").link.as_ref().unwrap().bytes_down();
    world.start(rollout, patch, &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    world.wait_state(120, rollout, "completed");
    world.site("rx1").link.as_ref().unwrap().bytes_down() - before
}

#[test]
fn a_newer_build_costs_little_on_the_line_also_after_a_restart() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").linked());
    let old = noise(16 << 20, 1);
    let bytes = patch(&world, "KB1000001", &old);
    let whole = moved(&mut world, "r1", "KB1000001");
    assert!(whole > bytes, "{whole} for {bytes}");
    world.site_mut("rx1").node().kill9();
    world.start_node("rx1");
    world.wait_connected("rx1");
    let bytes = patch(&world, "KB1000002", &newer(&old));
    let cost = moved(&mut world, "r2", "KB1000002");
    // With everything else that was said meanwhile.
    assert!(cost * 10 < bytes, "{cost} of {bytes} bytes");
    assert_eq!(world.device("rx1/a").installs(), 2);
}

/// Highest resident memory of a process so far, bytes.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn neither_side_holds_a_payload_in_memory() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full"));
    let content = noise(192 << 20, 2);
    let controller = world.controller().id();
    let node = world.site_mut("rx1").node().id();
    let before = (peak(controller), peak(node));
    let bytes = patch(&world, "KB1000001", &content);
    world.start("r1", "KB1000001", &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    world.wait_state(240, "r1", "completed");
    let grew = (peak(controller) - before.0, peak(node) - before.1);
    println!("{} MiB: controller +{} KiB, node +{} KiB at most", bytes / MIB, grew.0 / 1024, grew.1 / 1024);
    assert!(grew.0 < 96 * MIB && grew.1 < 64 * MIB, "controller +{}, node +{} bytes", grew.0, grew.1);
}

#[test]
fn a_site_is_obeyed_in_how_fast_it_may_be_filled() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").linked());
    // Nothing at all.
    world.site("rx1").set_bandwidth(&json!({ "limit": "0" }));
    said(&mut world, "the site file has changed", 1);
    patch(&world, "KB1000001", &noise(3 << 20, 3));
    let before = world.site("rx1").link.as_ref().unwrap().bytes_down();
    world.start("r1", "KB1000001", &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    said(&mut world, "the site file allows no fetch at this hour", 1);
    assert!(world.site("rx1").link.as_ref().unwrap().bytes_down() - before < MIB);
    // 1 MB in a second: three of them.
    world.site("rx1").set_bandwidth(&json!({ "limit": "8Mbit/s" }));
    said(&mut world, "the site file has changed", 2);
    let begun = Instant::now();
    world.wait_state(120, "r1", "completed");
    assert!(begun.elapsed() > Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// Waits until the node has said this so often.
fn said(world: &mut World, words: &str, times: usize) {
    wait_until(60, words, || world.site_mut("rx1").node().log().matches(words).count() >= times);
}

/// Bytes of the chunks of the second that the first has not got.
fn cost(old: &Path, new: &Path) -> (u64, u64) {
    let chunks = |path: &Path| -> Vec<Vec<u8>> {
        let bytes = fs::read(path).unwrap();
        cut(bytes.as_slice(), bytes.len() as u64).map(Result::unwrap).collect()
    };
    let known: HashSet<Digest> = chunks(old).iter().map(|chunk| Digest::of(chunk)).collect();
    let new = chunks(new);
    let fresh = new.iter().filter(|chunk| !known.contains(&Digest::of(chunk)));
    (fresh.map(|chunk| chunk.len() as u64).sum(), new.iter().map(|chunk| chunk.len() as u64).sum())
}

/// docs/distribution.md says what is saved on packages whose content is compressed: this is where it was measured.
#[test]
fn a_newer_build_of_a_compressed_package_costs_nearly_all_of_it_once_something_was_inserted() {
    if require("wixl").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Words that repeat, as in programs: the cabinet shrinks them.
    let words = noise(32 * 1024, 4);
    let words: Vec<&[u8]> = words.chunks(8).collect();
    let picks = noise(2 << 20, 5);
    let old: Vec<u8> =
        picks.chunks_exact(2).flat_map(|n| words[usize::from(n[0]) * 16 + usize::from(n[1] & 15)]).copied().collect();
    let mut replaced = old.clone();
    let part = old.len() / 8;
    for place in 0..4 {
        let at = place * 2 * part;
        replaced.copy_within(at + part..at + part + old.len() / 80, at);
    }
    let mut inserted = replaced.clone();
    inserted.splice(1_000..1_000, *b"seventeen bytes!!");
    let build = |name: &str, number: u32, content: &[u8]| {
        let source = format!("{name}.dll");
        fs::write(dir.path().join(&source), content).unwrap();
        let path = dir.path().join(format!("{name}.msi"));
        wardround_tests::rig::Msi::pack(dir.path(), &path, ("Bench", number, &format!("1.0.{number}")), &source);
        path
    };
    let packages = [build("old", 1, &old), build("replaced", 2, &replaced), build("inserted", 3, &inserted)];
    let plain = cost(&dir.path().join("old.dll"), &dir.path().join("inserted.dll"));
    let costs = [cost(&packages[0], &packages[1]), cost(&packages[0], &packages[2])];
    let percent = |(cost, whole): (u64, u64)| cost * 100 / whole;
    println!(
        "not packed {} %; in an MSI with a compressed cabinet: replaced in place {} %, with an insertion at the front {} %",
        percent(plain),
        percent(costs[0]),
        percent(costs[1])
    );
    assert!(percent(plain) < 15 && percent(costs[1]) > 80, "{plain:?} {costs:?}");
}
