//! Style that matters is kept by a test, not by memory: who may know whom, how long a file may be, what is not written here.

#![expect(clippy::unwrap_used, reason = "a test: a file that can't be read is a failure that names the line")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use wardround_rollout_plans::model::DeploymentState;

/// Longest hand-written file, lines: beyond it a room wants its own door.
const LINES_MAX: usize = 600;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file below `dir` with one of these endings, without what is built or fetched.
fn files(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !["target", ".git", "node_modules"].contains(&name) {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|e| name.ends_with(e)) {
            found.push(path);
        }
    }
}

fn below(dir: &str, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root().join(dir), endings, &mut found);
    found.sort();
    assert!(!found.is_empty(), "nothing below {dir}");
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The lines of a source file without their comments, numbered from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).map(|(n, line)| {
        let line = if line.trim_start().starts_with("//") { "" } else { line };
        (n, line.split(" // ").next().unwrap_or(line))
    })
}

fn in_tests(path: &Path) -> bool {
    shown(path).split('/').any(|part| part == "tests" || part == "tests.rs" || part == "benches")
}

/// Dependencies of each member that end up in what is shipped: those of tests are left out.
fn members() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let shipped = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|d| d["kind"] != "dev").map(|d| text(&d["name"])).collect()
    };
    metadata["packages"].as_array().unwrap().iter().map(|p| (text(&p["name"]), shipped(p))).collect()
}

/// What each package of `Cargo.lock` depends on.
fn lock() -> BTreeMap<String, BTreeSet<String>> {
    let mut packages = BTreeMap::<String, BTreeSet<String>>::new();
    let text = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    for package in text.split("[[package]]").skip(1) {
        let quoted = |line: &str| line.split('"').nth(1).map(|s| s.split(' ').next().unwrap_or(s).to_owned());
        let name = package.lines().find(|l| l.starts_with("name = ")).and_then(quoted).unwrap();
        let dependencies = package.lines().filter(|l| l.starts_with(" \"")).filter_map(quoted);
        packages.entry(name).or_default().extend(dependencies);
    }
    packages
}

/// The TUF client keeps its times in a library of calendars. It asks no clock: `now` is passed in.
const TUF_CLIENT: [&str; 3] = ["sigstore-tuf", "sigstore-crypto", "sigstore-types"];

/// Everything that a member brings with it; of the TUF client only the client itself.
fn closure(member: &str) -> BTreeSet<String> {
    let (members, lock) = (members(), lock());
    let mut seen = BTreeSet::new();
    let mut next: Vec<String> = members[member].iter().cloned().collect();
    while let Some(name) = next.pop() {
        if seen.insert(name.clone()) && !TUF_CLIENT.contains(&name.as_str()) {
            // For our own rooms the lock file also lists what only their tests use.
            next.extend(members.get(&name).or_else(|| lock.get(&name)).into_iter().flatten().cloned());
        }
    }
    seen
}

#[test]
fn pure_rooms_know_no_runtime_store_network_or_clock() {
    // Windows are told in civil time: `rollout-plans` has the calendar, and the next test sees that it asks it for no clock.
    for (member, calendar) in [("wardround-signing", false), ("wardround-rollout-plans", true)] {
        let brought = closure(member);
        assert!(brought.contains("ed25519-dalek"), "{member}: the closure is not read rightly: {brought:?}");
        for foreign in ["tokio", "tonic", "sled", "jiff", "mio", "hyper", "prost", "axum", "chrono", "time"] {
            let known = calendar && foreign == "jiff";
            assert!(known || !brought.contains(foreign), "{member} brings {foreign} with it");
        }
    }
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("wardround-proto", &[][..]),
        ("wardround-signing", &[]),
        ("wardround-journal", &[]),
        ("wardround-chunks", &[]),
        ("wardround-rollout-plans", &["signing"]),
        ("wardround-node", &["proto", "signing", "chunks", "rollout-plans", "journal"]),
        ("wardround-controller", &["proto", "signing", "chunks", "rollout-plans", "journal"]),
        ("wardround", &["proto", "signing", "chunks", "rollout-plans", "node", "controller"]),
        (
            "wardround-tests",
            &["proto", "signing", "chunks", "rollout-plans", "journal", "node", "controller", "wardround"],
        ),
    ]);
    let members = members();
    assert_eq!(members.keys().map(String::as_str).collect::<BTreeSet<_>>(), allowed.keys().copied().collect());
    for (member, dependencies) in &members {
        for dependency in dependencies.iter().filter(|d| members.contains_key(*d)) {
            let short = dependency.strip_prefix("wardround-").unwrap_or(dependency);
            assert!(allowed[member.as_str()].contains(&short), "{member} must not know {dependency}");
        }
    }
}

#[test]
fn the_tuf_client_is_known_to_one_module_alone() {
    // Put together here, so that this file does not find itself.
    let client = ["sigstore", "_"].concat();
    for path in below(".", &[".rs"]).into_iter().filter(|path| !shown(path).starts_with("signing/src/tuf/")) {
        for (number, line) in code(&fs::read_to_string(&path).unwrap()) {
            assert!(!line.contains(&client), "{}:{number}: only signing/src/tuf may know it: {line}", shown(&path));
        }
    }
}

#[test]
fn pure_rooms_reach_for_nothing_outside() {
    let forbidden =
        ["SystemTime", "Instant::now", "std::fs", "std::net", "std::process", "std::env", "rand::", "tokio::"];
    // What the calendar offers beside its arithmetic: clocks, and the machine's own zone and rules.
    let of_calendar =
        ["Timestamp::now", "ZonedDateTime::now", "TimeZone::system", "TimeZone::get", "tz::db", "from_env"];
    for path in ["signing/src", "rollout-plans/src"].iter().flat_map(|dir| below(dir, &[".rs"])) {
        if in_tests(&path) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in code(text.split("#[cfg(test)]\nmod tests {").next().unwrap()) {
            for word in forbidden.into_iter().chain(of_calendar) {
                let at = line.find(word);
                let whole = at.is_some_and(|at| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
                assert!(!whole, "{}:{number}: {word} in a pure room: {line}", shown(&path));
            }
        }
    }
}

#[test]
fn files_are_of_a_readable_length() {
    for path in below(".", &[".rs"]) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(
            lines <= LINES_MAX,
            "{} has {lines} lines; more than {LINES_MAX} want a room of their own",
            shown(&path)
        );
    }
}

/// Copies that editors, `patch` and merges leave beside what they change.
#[test]
fn no_leftovers_stand_beside_the_sources() {
    let mut found = Vec::new();
    files(root(), &[".orig", ".rej", ".bak", ".swp", "~"], &mut found);
    let found: Vec<String> = found.iter().map(|path| shown(path)).collect();
    assert!(found.is_empty(), "delete them: {}", found.join(", "));
}

#[test]
fn nothing_is_left_open_or_silenced() {
    // Put together here, so that this file does not find itself.
    let words = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let (silenced, silenced_file) = (["#", "[allow("].concat(), ["#", "![allow("].concat());
    for path in below(".", &[".rs"]) {
        for (number, line) in code(&fs::read_to_string(&path).unwrap()) {
            let place = || format!("{}:{number}: {line}", shown(&path));
            assert!(!words.iter().any(|w| line.contains(w.as_str())), "unfinished: {}", place());
            assert!(!line.contains(&silenced), "use #[expect(…, reason = …)]: {}", place());
            assert!(!line.contains(&silenced_file) || line.contains("reason = "), "without a reason: {}", place());
        }
    }
}

/// A test waits for a condition until a deadline; it never hopes that a pause was long enough.
#[test]
fn tests_do_not_sleep_except_between_looks_at_a_condition() {
    let pauses = ["thread", "time"].map(|from| format!("{from}::sleep("));
    for path in below(".", &[".rs"]) {
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let tests_from = if in_tests(&path) || shown(&path).starts_with("tests/") {
            0
        } else {
            let opens_tests = |pair: &[&str]| {
                pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod ") && pair[1].ends_with('{')
            };
            lines.windows(2).position(opens_tests).map_or(lines.len(), |at| at + 1)
        };
        for (number, line) in code(&text).filter(|(n, _)| *n > tests_from) {
            if pauses.iter().any(|p| line.contains(p.as_str())) {
                let around = &lines[number.saturating_sub(16)..lines.len().min(number + 6)];
                let bounded = around
                    .iter()
                    .any(|l| ["deadline", "until", "Instant::now() >=", "stop"].iter().any(|w| l.contains(w)));
                assert!(bounded, "{}:{number}: a pause without a deadline near it: {line}", shown(&path));
            }
        }
    }
}

/// A dependency is a promise to keep up with it: each has its reason, or stands in the list that the user named.
#[test]
fn every_dependency_has_its_reason() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, after) = text.split_once("[workspace.dependencies]\n").unwrap();
    let mut named = false;
    let mut counted = 0;
    for line in after.lines().take_while(|l| !l.starts_with('[')) {
        if let Some(section) = line.strip_prefix("# ") {
            named = section.starts_with("Our own") || section.starts_with("The user's named");
        } else if let Some((name, rest)) = line.split_once(" = ") {
            counted += 1;
            assert!(named || rest.contains(" # "), "{name} has no reason in Cargo.toml");
        }
    }
    assert!(counted > 40, "{counted}");
}

/// Members take versions and lints from the root, so that there is one place to look.
#[test]
fn members_inherit() {
    for path in below(".", &["Cargo.toml"]) {
        let text = fs::read_to_string(&path).unwrap();
        if text.contains("[workspace]") {
            continue;
        }
        assert!(text.contains("[lints]\nworkspace = true"), "{} does not inherit the lints", shown(&path));
        let own = text.lines().find(|l| l.contains("version = \""));
        assert_eq!(own, None, "{} names a version of its own", shown(&path));
    }
}

/// Whoever meets a state in the console must find it in the documentation.
#[test]
fn every_state_of_a_deployment_is_documented() {
    let mut text = fs::read_to_string(root().join("README.md")).unwrap();
    for path in below("docs", &[".md"]) {
        text.push_str(&fs::read_to_string(path).unwrap());
    }
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for state in DeploymentState::ALL {
        assert!(words.contains(state.word()), "the state {} stands neither in README.md nor in docs/", state.word());
    }
}

/// On-call looks an alarm up by its code.
#[test]
fn every_alarm_that_is_raised_is_documented() {
    let page = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let mut raised = BTreeSet::from(["needs_person".to_owned()]);
    for path in ["rollout-plans/src", "controller/src"].iter().flat_map(|dir| below(dir, &[".rs"])) {
        let text = fs::read_to_string(&path).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let packed: String = shipped.split_whitespace().collect();
        let codes =
            packed.split(".alarm(").skip(1).filter_map(|call| call.split('"').nth(usize::from(call.starts_with('"'))));
        raised.extend(codes.filter(|c| c.chars().all(|c| c.is_ascii_lowercase() || c == '_')).map(str::to_owned));
    }
    assert!(raised.contains("wave_failed") && raised.len() > 5, "{raised:?}");
    for code in raised {
        assert!(page.contains(&format!("| `{code}` |")), "docs/operations.md does not explain the alarm {code}");
    }
}

/// Whoever asks why nothing happens looks the reason up by its code.
#[test]
fn every_reason_to_wait_is_documented() {
    let page = fs::read_to_string(root().join("docs/states.md")).unwrap();
    let text = fs::read_to_string(root().join("rollout-plans/src/engine/reason.rs")).unwrap();
    let (_, from) = text.split_once("pub fn code(&self)").unwrap();
    let (table, _) = from.split_once("\n    }\n").unwrap();
    let codes: Vec<&str> = table.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert!(codes.contains(&"silent_sites") && codes.len() > 20, "{codes:?}");
    for code in codes {
        assert!(page.contains(&format!("`{code}`")), "docs/states.md does not explain the reason {code}");
    }
}
