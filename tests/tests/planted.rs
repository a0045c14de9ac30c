//! Planted bugs: the simulation finds each of the mistakes in `tests/planted/`, and nothing in the program as it is.
//!
//! The sources are copied, and each mistake is written into the copy behind a switch that an environment variable turns on: so
//! one build holds them all. With no switch on, the copy must give the very bytes of the real program.

#![expect(clippy::unwrap_used, reason = "a test: what can't be read is a failure that names the line")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use serde::Deserialize;

/// Rooms whose sources are copied; of `tests` only the simulation.
const ROOMS: [&str; 8] = ["proto", "signing", "chunks", "rollout-plans", "controller", "node", "cli", "tests"];
/// Seeds in which a mistake must show itself, unless it says otherwise.
const SEEDS: u64 = 60;
/// Seeds in which the copy is compared with the program as it is.
const SEEDS_COMPARED: u64 = 8;
/// A test of the copy in which nothing stands: with it cargo chooses the features that tests of the workspace are built with,
/// so that other people's packages need not be built again.
const NOTHING: &str = "nothing";
/// Turns a mistake on, by its name.
const SWITCH: &str = "WARDROUND_PLANTED";

/// What asks for the switch, in each room that has a mistake.
const ASKS: &str = r#"
/// Is this mistake planted?
pub(crate) fn planted(name: &str) -> bool {
    static ON: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ON.get_or_init(|| std::env::var("WARDROUND_PLANTED").unwrap_or_default()) == name
}
"#;

/// A mistake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bug {
    name: String,
    /// One sentence.
    what: String,
    #[serde(default)]
    seeds: Option<u64>,
    /// A seed that found it: looked at first, which spares those before it as long as it still does.
    #[serde(default)]
    found_by: Option<u64>,
    edits: Vec<Edit>,
}

/// A piece of code, and what stands there with the mistake; `PLANTED` stands for the switch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: String,
    old: String,
    new: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// All mistakes that must be found, in the order of the contract.
fn bugs() -> Vec<Bug> {
    (1..=9).flat_map(|line| bugs_of(&format!("s{line}"))).collect()
}

fn bugs_of(file: &str) -> Vec<Bug> {
    let path = root().join(format!("tests/planted/{file}.yaml"));
    let text = fs::read_to_string(&path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Where `old` stands in `text`, whatever the spaces, line breaks and whole-line comments in it.
fn find(text: &str, old: &str) -> Vec<Range<usize>> {
    let mut signs: Vec<(usize, char)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if !line.trim_start().starts_with("//") {
            signs.extend(line.char_indices().filter(|(_, c)| !c.is_whitespace()).map(|(n, c)| (at + n, c)));
        }
        at += line.len();
    }
    let old: Vec<char> = old.chars().filter(|c| !c.is_whitespace()).collect();
    let same = |window: &&[(usize, char)]| window.iter().map(|(_, c)| *c).eq(old.iter().copied());
    let range = |w: &[(usize, char)]| {
        let (last, sign) = w[w.len() - 1];
        w[0].0..last + sign.len_utf8()
    };
    signs.windows(old.len()).filter(same).map(range).collect()
}

/// Writes all mistakes into the copied files, by their paths.
fn plant(bugs: &[Bug], files: &mut BTreeMap<String, String>) {
    let names: BTreeSet<&str> = bugs.iter().map(|b| b.name.as_str()).collect();
    assert_eq!(names.len(), bugs.len(), "two mistakes have one name");
    let mut rooms = BTreeSet::new();
    for bug in bugs {
        for Edit { file, old, new } in &bug.edits {
            let text = files.get_mut(file).unwrap_or_else(|| panic!("{}: there is no file {file}", bug.name));
            let found = find(text, old);
            assert_eq!(found.len(), 1, "{}: in {file} this stands {} times, not once: {old}", bug.name, found.len());
            assert!(new.contains("PLANTED"), "{}: nothing turns it on in {file}", bug.name);
            let asks = format!("crate::planted(\"{}\")", bug.name);
            text.replace_range(found[0].clone(), &new.replace("PLANTED", &asks));
            rooms.insert(file.split_once("src/").unwrap().0.to_owned());
        }
    }
    for room in rooms {
        files.get_mut(&format!("{room}src/lib.rs")).unwrap().push_str(ASKS);
    }
}

/// Every file below `dir`, as text, by its path from the root; not what is only for tests of a room.
fn read_below(dir: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let shown = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            let skipped = ["target", "tests/tests", "tests/planted", "tests/peers"].iter().any(|s| shown.ends_with(s));
            if !skipped {
                read_below(&path, files);
            }
        } else if let Ok(text) = fs::read_to_string(&path) {
            files.insert(shown, text);
        }
    }
}

fn sources() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    ROOMS.iter().for_each(|room| read_below(&root().join(room), &mut files));
    files.retain(|path, _| {
        let kept = path.starts_with("tests/src/sim/") || path == "tests/src/bin/simulate.rs";
        kept || !path.starts_with("tests/")
    });
    // Those that are not found are planted too, though nothing is asked of them: so they still fit what stands there.
    let all: Vec<Bug> = bugs().into_iter().chain(bugs_of("open")).collect();
    plant(&all, &mut files);
    for path in ["Cargo.toml", "Cargo.lock"] {
        files.insert(path.to_owned(), fs::read_to_string(root().join(path)).unwrap());
    }
    // The simulation does not need the program. All else stays, so that what it stands on is built with the same features.
    let manifest = fs::read_to_string(root().join("tests/Cargo.toml")).unwrap();
    let manifest = manifest.replace("wardround = { path = \"../cli\" }\n", "");
    files.insert("tests/Cargo.toml".to_owned(), manifest.split("[[bench]]").next().unwrap().to_owned());
    files.insert(format!("tests/tests/{NOTHING}.rs"), String::new());
    files.insert("tests/src/lib.rs".to_owned(), "//! The simulation.\n\npub mod sim;\n".to_owned());
    files
}

/// Writes what differs, so that a second build finds most things done.
fn write(files: &BTreeMap<String, String>, to: &Path) {
    for (path, text) in files {
        let path = to.join(path);
        if fs::read_to_string(&path).is_ok_and(|known| known == *text) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// The folder of this build, such as `target/debug`.
fn profile_dir() -> PathBuf {
    let mut dir = std::env::current_exe().unwrap();
    while dir.file_name().is_some_and(|name| name != "deps") {
        dir.pop();
    }
    dir.pop();
    dir
}

/// Gives the copy's build what is built already of other people's packages: links of the files, copies of the small notes.
fn lend(from: &Path, to: &Path) {
    let Ok(notes) = fs::read_dir(from.join(".fingerprint")) else { return };
    let foreign: BTreeSet<String> = notes
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.starts_with("wardround"))
        .collect();
    let marks: BTreeSet<&str> = foreign.iter().filter_map(|name| Some(name.rsplit_once('-')?.1)).collect();
    for name in &foreign {
        copy_below(&from.join(".fingerprint").join(name), &to.join(".fingerprint").join(name), false);
        copy_below(&from.join("build").join(name), &to.join("build").join(name), true);
    }
    fs::create_dir_all(to.join("deps")).unwrap();
    for entry in fs::read_dir(from.join("deps")).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let stem = name.split('.').next().unwrap_or_default();
        if stem.rsplit_once('-').is_some_and(|(_, mark)| marks.contains(mark)) {
            lend_file(&entry.path(), &to.join("deps").join(name));
        }
    }
}

fn copy_below(from: &Path, to: &Path, links: bool) {
    let Ok(entries) = fs::read_dir(from) else { return };
    fs::create_dir_all(to).unwrap();
    for entry in entries.flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_below(&path, &to, links);
        } else if links {
            lend_file(&path, &to);
        } else if !to.exists() {
            copy(&path, &to);
        }
    }
}

fn lend_file(from: &Path, to: &Path) {
    if !to.exists() && fs::hard_link(from, to).is_err() {
        copy(from, to);
    }
}

/// With the time of the original, by which cargo judges what is fresh.
fn copy(from: &Path, to: &Path) {
    if fs::copy(from, to).is_ok()
        && let (Ok(file), Ok(Ok(at))) = (fs::File::open(to), fs::metadata(from).map(|m| m.modified()))
    {
        drop(file.set_modified(at));
    }
}

/// Builds the copy, and gives the program.
fn build() -> PathBuf {
    let profile = profile_dir();
    let release = profile.ends_with("release");
    let home = root().join("target/planted");
    let (sources_dir, target) = (home.join("sources"), home.join("target"));
    write(&sources(), &sources_dir);
    let built = target.join(if release { "release" } else { "debug" });
    if !built.join("deps").exists() {
        lend(&profile, &built);
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--offline", "--quiet", "--workspace", "--bin", "simulate", "--test", NOTHING]);
    if release {
        cargo.arg("--release");
    }
    cargo.current_dir(&sources_dir).env("CARGO_TARGET_DIR", &target).env("CARGO_INCREMENTAL", "0");
    let output = cargo.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the copy with its mistakes can't be built:\n{errors}");
    built.join("simulate")
}

/// What a run of the program came to.
#[derive(Debug, Default)]
struct Ran {
    /// Seeds that broke a line of the contract, with the line; in the order of the seeds.
    broken: Vec<(u64, String)>,
    digest: String,
    told: String,
}

fn simulate(program: &Path, bug: &str, from: u64, seeds: u64, quick: bool) -> Ran {
    let mut run = Command::new(program);
    let (from, seeds) = (from.to_string(), seeds.to_string());
    run.args(["--from-seed", &from, "--seeds", &seeds, "--output", "json", "--plain", "--threads", "1"]);
    if quick {
        run.arg("--quick");
    }
    let output = run.env(SWITCH, bug).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
    let digest = printed.map_or_else(String::new, |p| p["digest"].as_str().unwrap().to_owned());
    let line = |line: &str| {
        let (seed, rest) = line.strip_prefix("seed ")?.split_once(" breaks ")?;
        Some((seed.parse().ok()?, rest.split_once(':')?.0.to_owned()))
    };
    let mut broken: Vec<(u64, String)> = told.lines().filter_map(line).collect();
    broken.sort();
    Ran { broken, digest, told }
}

/// Does it for each mistake, on all cores; the answers in the order of the mistakes.
fn each<T: Send>(bugs: &[Bug], act: impl Fn(&Bug) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, T>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, bug)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, bugs.get(at)?)))
                {
                    let answer = act(bug);
                    done.lock().unwrap().insert(at, answer);
                }
            });
        }
    });
    done.into_inner().unwrap().into_values().collect()
}

#[test]
fn the_simulation_finds_each_planted_bug() {
    let bugs = bugs();
    let begun = Instant::now();
    let program = build();
    println!("built in {} s", begun.elapsed().as_secs());
    let real = Path::new(env!("CARGO_BIN_EXE_simulate"));
    let (as_is, copy) =
        (simulate(real, "", 1, SEEDS_COMPARED, false), simulate(&program, "", 1, SEEDS_COMPARED, false));
    assert!(copy.broken.is_empty(), "nothing is planted, and yet: {}", copy.told);
    assert_eq!(as_is.digest, copy.digest, "with nothing planted the copy is another program");
    let missed: Vec<String> = each(&bugs, |bug| {
        let known = bug.found_by.map(|seed| simulate(&program, &bug.name, seed, 1, true));
        let ran = known
            .filter(|ran| !ran.broken.is_empty())
            .unwrap_or_else(|| simulate(&program, &bug.name, 1, bug.seeds.unwrap_or(SEEDS), true));
        let Some((seed, line)) = ran.broken.first().filter(|(_, line)| line.starts_with('S')) else {
            return Some(format!("{}: not found; {}\n{}", bug.name, bug.what, ran.told));
        };
        println!("{}: {line} in seed {seed}", bug.name);
        None
    })
    .into_iter()
    .flatten()
    .collect();
    println!("all of it took {} s", begun.elapsed().as_secs());
    assert!(missed.is_empty(), "{} of {} are not found:\n{}", missed.len(), bugs.len(), missed.join("\n"));
}

/// The table of `docs/simulation.md`: `cargo test -p wardround-tests --test planted -- --ignored --nocapture`.
#[test]
#[ignore = "minutes; prints the table of the page"]
fn in_how_many_seeds_each_is_found() {
    const COUNTED: u64 = 200;
    let bugs: Vec<Bug> = bugs().into_iter().chain(bugs_of("open")).collect();
    let program = build();
    let ran = each(&bugs, |bug| simulate(&program, &bug.name, 1, COUNTED, false));
    for (bug, ran) in bugs.iter().zip(ran) {
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        ran.broken.iter().for_each(|(_, line)| *lines.entry(line.clone()).or_default() += 1);
        let shown: Vec<String> = lines.iter().map(|(line, count)| format!("{line} {count}")).collect();
        let first = ran.broken.first().map_or("never".to_owned(), |(seed, _)| seed.to_string());
        println!("| `{}` | {} | {} | {first} |", bug.name, bug.what, shown.join(", "));
    }
}

#[test]
fn code_is_found_whatever_its_form() {
    let text = "fn a() {\n    // Why.\n    if held {\n        // Because.\n        go( 1 );\n    }\n}\n";
    let found = find(text, "if held { go(1); }");
    assert_eq!(found.len(), 1);
    assert!(text[found[0].clone()].starts_with("if held") && text[found[0].clone()].ends_with('}'));
    assert_eq!(find(text, "if held { go(2); }"), []);
    assert_eq!(find("a b a b", "a b").len(), 2);
}
