//! Planted bugs: does the simulation catch what it is there to catch? Each bug of `tests/planted/bugs.txt` is planted into a copy
//! of the sources, all behind switches, so that one build shows them all; each must break the contract within some seeds.

#![expect(clippy::unwrap_used, reason = "a test: a failure is a panic that names the line")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Seeds that each bug is counted in.
const COUNTED: u64 = 16;
/// A bug that none of those shows must be caught within so many.
const SEEDS_MAX: u64 = 600;
/// What a switch is read from.
const SWITCH: &str = "WARDROUND_PLANTED";
/// What a copy is made of.
const PARTS: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "cli",
    "controller",
    "node",
    "proto",
    "rollout-plans",
    "signing",
    "tests/Cargo.toml",
    "tests/src",
];

struct Edit {
    file: String,
    find: String,
    put: String,
}

struct Bug {
    name: String,
    says: String,
    breaks: Vec<String>,
    edits: Vec<Edit>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn bugs() -> Vec<Bug> {
    let text = fs::read_to_string(root().join("tests/planted/bugs.txt")).unwrap();
    let mut bugs: Vec<Bug> = Vec::new();
    for line in text.lines().skip_while(|line| !line.starts_with("bug ")).filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap_or_else(|| panic!("{line:?} is no line of the list"));
        if word == "bug" {
            let (says, breaks, edits) = (String::new(), Vec::new(), Vec::new());
            bugs.push(Bug { name: rest.to_owned(), says, breaks, edits });
            continue;
        }
        let bug = bugs.last_mut().unwrap();
        match word {
            "says" => bug.says = rest.to_owned(),
            "breaks" => bug.breaks = rest.split(' ').map(str::to_owned).collect(),
            "file" => bug.edits.push(Edit { file: rest.to_owned(), find: String::new(), put: String::new() }),
            "find" => bug.edits.last_mut().unwrap().find = rest.to_owned(),
            "put" => {
                let put = &mut bug.edits.last_mut().unwrap().put;
                put.push_str(rest);
                put.push('\n');
            }
            other => panic!("{other:?} is no word of the list"),
        }
    }
    bugs
}

/// Copies what has changed, so that a second build has little to do; `texts` stand in the place of files of these names.
fn copy(name: &Path, texts: &BTreeMap<PathBuf, String>, to: &Path) {
    let from = root().join(name);
    if !from.is_dir() {
        let bytes = texts.get(name).map_or_else(|| fs::read(&from).unwrap(), |text| text.clone().into_bytes());
        if fs::read(to.join(name)).ok().as_ref() != Some(&bytes) {
            fs::write(to.join(name), bytes).unwrap();
        }
        return;
    }
    fs::create_dir_all(to.join(name)).unwrap();
    for entry in fs::read_dir(&from).unwrap() {
        let entry = entry.unwrap().file_name();
        if entry != "target" {
            copy(&name.join(entry), texts, to);
        }
    }
}

/// The crate of a file: the folder that holds its `src`.
fn crate_of(file: &str) -> &str {
    file.split_once("/src/").unwrap().0
}

/// Makes the copy with every bug in it, each behind its switch.
fn plant(bugs: &[Bug], copied: &Path) {
    let mut texts: BTreeMap<PathBuf, String> = BTreeMap::new();
    let read =
        |name: &Path| fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{}: {e}", name.display()));
    let mut touched = BTreeSet::new();
    for bug in bugs {
        for edit in &bug.edits {
            let name = PathBuf::from(&edit.file);
            let text = texts.entry(name.clone()).or_insert_with(|| read(&name));
            let found = text.matches(&edit.find).count();
            assert_eq!(found, 1, "{}: {:?} stands {found} times in {}", bug.name, edit.find, edit.file);
            let put = edit.put.replace("BUG", &format!("crate::planted::is({:?})", bug.name));
            *text = text.replace(&edit.find, put.trim_end());
            touched.insert(crate_of(&edit.file));
        }
    }
    for folder in &touched {
        let lib = Path::new(folder).join("src/lib.rs");
        let text = read(&lib) + "\nmod planted;\n";
        texts.insert(lib, text);
    }
    // A binary of another name, so that the real one is not overwritten; no benches, whose files are not copied.
    let manifest = PathBuf::from("tests/Cargo.toml");
    let text = read(&manifest);
    let text = text
        .split("[[bench]]")
        .next()
        .unwrap()
        .replace("publish.workspace = true", "publish.workspace = true\nautobins = false");
    let binary = "\n[[bin]]\nname = \"simulate-planted\"\npath = \"src/bin/simulate.rs\"\n";
    texts.insert(manifest, text + binary);

    fs::create_dir_all(copied.join("tests")).unwrap();
    PARTS.iter().for_each(|part| copy(Path::new(part), &texts, copied));
    let switch = format!(
        "//! Is this bug switched on?\n\npub(crate) fn is(name: &str) -> bool {{\n    static ON: std::sync::OnceLock<String> = \
         std::sync::OnceLock::new();\n    ON.get_or_init(|| std::env::var({SWITCH:?}).unwrap_or_default()) == name\n}}\n"
    );
    for folder in touched {
        fs::write(copied.join(folder).join("src/planted.rs"), &switch).unwrap();
    }
}

fn build(copied: &Path) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--package", "wardround-tests", "--bin", "simulate-planted"])
        .env("CARGO_TARGET_DIR", target)
        .current_dir(copied)
        .status()
        .unwrap();
    assert!(status.success(), "the copy with the planted bugs does not build");
    target.join("debug/simulate-planted")
}

/// Seeds in which the contract broke, with the line that broke first, as the program tells them.
fn caught(program: &Path, bug: &str, from: u64, seeds: u64, first_only: bool) -> Vec<(u64, String)> {
    let mut command = Command::new(program);
    command.args(["--from-seed", &from.to_string(), "--seeds", &seeds.to_string(), "--plain"]).env(SWITCH, bug);
    if first_only {
        command.arg("--quick");
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    let broken = told.lines().filter_map(|line| {
        let (seed, line) = line.strip_prefix("seed ")?.split_once(" breaks ")?;
        Some((seed.parse().ok()?, line.split(':').next()?.to_owned()))
    });
    let mut broken: Vec<(u64, String)> = broken.collect();
    broken.sort();
    assert_eq!(output.status.code(), Some(i32::from(!broken.is_empty())), "{bug}: {told}");
    broken
}

#[test]
fn each_planted_bug_is_caught() {
    let bugs = bugs();
    assert!(bugs.len() >= 14, "{}", bugs.len());
    let copied = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
    plant(&bugs, &copied);
    let program = build(&copied);
    assert_eq!(caught(&program, "none", 1, COUNTED, false), [], "without a bug nothing is caught");

    let (mut table, mut missed) = (String::new(), Vec::new());
    for bug in &bugs {
        let counted = caught(&program, &bug.name, 1, COUNTED, false);
        let found = if counted.is_empty() {
            caught(&program, &bug.name, COUNTED + 1, SEEDS_MAX - COUNTED, true)
        } else {
            counted.clone()
        };
        let (Some((first, line)), Bug { name, says, breaks, .. }) = (found.first(), bug) else {
            missed.push(bug.name.clone());
            continue;
        };
        writeln!(table, "| {name} | {says} | {line} | {} of {COUNTED} | {first} |", counted.len()).unwrap();
        if found.iter().all(|(_, line)| !breaks.contains(line)) {
            missed.push(format!("{name}: caught by {line}, not by {}", breaks.join(" or ")));
        }
    }
    println!("{table}");
    a_violation_is_made_smaller_and_its_line_shows_it_again(&program, "limit-total");
    assert!(missed.is_empty(), "not caught: {missed:?}\n{table}");
}

/// The printed line has the flags of the smaller run, and breaks the same line of the contract.
fn a_violation_is_made_smaller_and_its_line_shows_it_again(program: &Path, bug: &str) {
    let (seed, line) = caught(program, bug, 1, COUNTED, true).remove(0);
    let run = |arguments: &[&str]| {
        let output = Command::new(program).args(arguments).env(SWITCH, bug).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = run(&["--from-seed", &seed.to_string(), "--seeds", "1"]);
    assert!(told.contains(&format!("{line} is broken")), "{told}");
    let flags = told.lines().find_map(|l| l.split_once("--bin simulate -- ")).unwrap().1;
    assert!(flags.contains("--without"), "nothing was left out: {flags}");
    let arguments: Vec<&str> = flags.split(' ').chain(["--plain"]).collect();
    assert!(run(&arguments).contains(&format!("breaks {line}")), "{flags}");
}
