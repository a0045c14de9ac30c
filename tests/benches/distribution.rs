//! What distribution costs: the speed of one node beside a bare tonic stream, what a newer build costs, and memory.
//!
//! `cargo bench -p wardround-tests --bench distribution -- [MIB] [ROUNDS]`; 500 MiB and 5 rounds when not said. The controller
//! is a process of its own; the node's side runs in this one, on the same machine. The bare stream is tonic with the same mutual
//! TLS and chunks of 256 KiB out of memory, each hashed with SHA-256 on arrival: nothing is read, compared, or written. What the
//! disk does alone, a file of that size written and synced, stands beside it. They take turns, so that a busy machine slows all.
#![expect(clippy::unwrap_used, reason = "a benchmark: a failure is a panic that names the line")]

#[path = "distribution/bare.rs"]
mod bare;
#[path = "distribution/content.rs"]
mod content;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use wardround_rollout_plans::model::{Patch, Payload};
use wardround_tests::world::{Blueprint, World};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const MIB: u64 = 1024 * 1024;

/// As in the program that ships.
#[global_allocator]
static ALLOCATOR: wardround::Allocator = wardround::Allocator;

fn main() {
    // Cargo adds "--bench".
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (mib, rounds) = (numbers.next().unwrap_or(500_u64), numbers.next().unwrap_or(5_u64));
    let mut world = World::new(PROGRAM);
    world.lay_out_site(&Blueprint::new("rx1"));
    world.enrol("rx1");
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();

    let begun = Instant::now();
    let old = home.path().join("old.bin");
    content::build(&old, mib * MIB);
    let first = import(&world, &old, "KB1");
    println!("import of {mib} MiB without a pattern: {:.1} s", begun.elapsed().as_secs_f64());

    let node = |name: &str| enrolled(&world, home.path(), name);
    let (mut own, mut bare, mut disk) = (Vec::new(), Vec::new(), Vec::new());
    let bed = runtime.block_on(bare::Bed::new());
    for round in 0..rounds {
        bare.push(speed(mib, runtime.block_on(bed.run(mib * MIB))));
        disk.push(speed(mib, written(&home.path().join("alone.bin"), mib)));
        let state = node(&format!("round{round}"));
        // The highest resident memory is counted anew from here on: proc(5), clear_refs.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = resident("VmRSS:");
        let begun = Instant::now();
        runtime.block_on(wardround_node::prefetch(&state, &first)).unwrap();
        own.push(speed(mib, begun.elapsed()));
        println!(
            "  round {round}: node {:4.0} MB/s, bare {:4.0} MB/s, disk {:4.0} MB/s; the node took {:.1} MiB more of memory",
            own[own.len() - 1],
            bare[bare.len() - 1],
            disk[disk.len() - 1],
            resident("VmHWM:").saturating_sub(before) as f64 / 1024.0
        );
        fs::remove_dir_all(&state).unwrap();
    }
    let (own, bare, disk) = (median(own), median(bare), median(disk));
    println!(
        "one node, {mib} MiB over mTLS: {own:.0} MB/s; bare tonic with SHA-256: {bare:.0} MB/s; {:.0} %; the disk alone: {disk:.0} MB/s",
        own * 100.0 / bare
    );

    println!("a newer build, 5 % of its content changed:");
    for (name, kib) in [
        ("regions of 4 KiB to 1 MiB, as many short as long", (4, 1024)),
        ("all of 64 KiB", (64, 64)),
        ("all of 16 KiB", (16, 16)),
    ] {
        let new = home.path().join("new.bin");
        let changed = content::change(&old, &new, kib);
        let second = import(&world, &new, &format!("KB{}", kib.0 * 2000 + kib.1));
        let state = node(&format!("newer{}-{}", kib.0, kib.1));
        runtime.block_on(wardround_node::prefetch(&state, &first)).unwrap();
        let (cost, took) = (missing(&first, &second), Instant::now());
        runtime.block_on(wardround_node::prefetch(&state, &second)).unwrap();
        println!(
            "  {name}: {:.1} MiB in {} places, {:.1} MiB fetched, {:.1} % of its bytes, in {:.2} s",
            changed.bytes as f64 / MIB as f64,
            changed.places,
            cost as f64 / MIB as f64,
            cost as f64 * 100.0 / second.length as f64,
            took.elapsed().as_secs_f64()
        );
        fs::remove_dir_all(&state).unwrap();
    }
}

/// How long a file of that size takes, synced.
fn written(path: &Path, mib: u64) -> Duration {
    let block = vec![7; MIB as usize];
    let begun = Instant::now();
    let mut file = fs::File::create(path).unwrap();
    (0..mib).for_each(|_| file.write_all(&block).unwrap());
    file.sync_all().unwrap();
    let took = begun.elapsed();
    fs::remove_file(path).unwrap();
    took
}

/// Of this process, KiB: proc(5), status.
fn resident(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    value.trim().trim_end_matches(" kB").parse().unwrap()
}

fn speed(mib: u64, took: Duration) -> f64 {
    (mib * MIB) as f64 / 1e6 / took.as_secs_f64()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Bytes of the chunks of `new` that `old` has not got. What they take on the line is less where they shrink.
fn missing(old: &Payload, new: &Payload) -> u64 {
    let known: std::collections::HashSet<_> = old.chunks.iter().collect();
    new.spans().unwrap().iter().filter(|span| !known.contains(&span.digest)).map(|span| u64::from(span.bytes)).sum()
}

/// A state folder with the identity of the site's node, and nothing else.
fn enrolled(world: &World, home: &Path, name: &str) -> PathBuf {
    let (state, identity) = (home.join(name), Path::new("identity"));
    fs::create_dir_all(state.join(identity)).unwrap();
    for entry in fs::read_dir(world.site("rx1").state().join(identity)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), state.join(identity).join(entry.file_name())).unwrap();
    }
    state
}

fn import(world: &World, file: &Path, id: &str) -> Payload {
    let manifest = file.with_file_name(format!("{id}.yaml"));
    let name = file.file_name().unwrap().to_str().unwrap();
    let text = format!(
        "id: {id}\ntitle: A payload\nseverity: low\nvariants:\n  - id: any\n    platforms: \
         ['cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*']\n    payload: {{ file: {name} }}\n    installer: \
         {{ technology: script, interpreter: sh }}\n"
    );
    fs::write(&manifest, text).unwrap();
    world.run(&["patch", "import", &manifest.display().to_string()]).ok();
    let shown = world.run(&["patch", "show", id, "--output", "json"]).ok().json();
    let patch: Patch = serde_json::from_value(shown["document"].clone()).unwrap();
    patch.variants[0].payload.clone()
}
