//! A fixed set of seeds of the deterministic simulation: the safety contract holds, and a seed decides everything.

use std::process::Command;

use wardround_tests::sim::{Fault, MINUTE, Run, Setting, World, converge, reproduction, run, site};

/// Some tenths of a second each, without optimisation.
const SEEDS: std::ops::Range<u64> = 1..42;
/// Seeds that found something in the program.
const FOUND: [u64; 2] = [5119, 5211];

#[test]
fn the_contract_holds_in_a_fixed_set_of_seeds() {
    let setting = Setting::default();
    for seed in SEEDS.chain(FOUND) {
        if let Some(violation) = run(seed, &setting).violation {
            let again = reproduction(seed, &setting);
            let story = violation.story.join("\n");
            panic!("{} is broken: {}\n{story}\n{again}", violation.invariant, violation.sentence);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
    let setting = Setting::default();
    let first = run(7, &setting);
    assert_eq!(first, run(7, &setting));
    let other_thread = std::thread::spawn(move || run(7, &Setting::default())).join().unwrap();
    assert_eq!(first, other_thread);
    assert_ne!(first.digest, run(8, &setting).digest);
    let fewer = Setting { without: [Fault::Drops, Fault::Halts].into(), ..Setting::default() };
    assert_ne!(first.digest, run(7, &fewer).digest);
}

#[test]
fn the_program_prints_one_object_whatever_the_number_of_threads() {
    let print = |threads: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_simulate"))
            .args(["--from-seed", "3", "--seeds", "4", "--output", "json", "--threads", threads])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let (one, three) = (print("1"), print("3"));
    assert_eq!((&one["seeds"], &one["violations"]), (&4.into(), &0.into()));
    assert_eq!(one["digest"], three["digest"]);
    assert!(one["seeds_per_hour"].as_f64().unwrap() > 0.0);
    let wrong = Command::new(env!("CARGO_BIN_EXE_simulate")).args(["--without", "gravity"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

/// A scripted run: what `tests/src/sim/mod.rs` says of the world's interface.
#[test]
fn a_script_can_tell_a_story() {
    use wardround_rollout_plans::{engine::RolloutState, model::RolloutId};
    use wardround_tests::sim::{Act, Fate, What};

    let mut world = World::new(Setting::calm(), wardround_tests::sim::Random::new(1));
    let devices = [("ct-1", Some("g")), ("ct-2", Some("g"))];
    let inventory = site("rx1", &devices, &[("g", 1)], &[("pacs", false, &["ct-1", "ct-2"])]);
    // The first run of the installer on the first device fails, and changes nothing.
    world.add_site(inventory, |device| Fate {
        installs: if device.name() == "ct-1" { vec![Run::Fails] } else { Vec::new() },
        ..Fate::default()
    });
    world.power_up();
    let plan = "name: story\nwaves:\n  - name: canary\n    select: { devices: [rx1/ct-1] }\n    soak: 5m\n  - name: rest\n    \
                select: { remaining: true }\n    soak: 5m\n";
    let id = RolloutId::new("r1").unwrap();
    world.after(20_000, What::Person(Act::Draft { id: id.clone(), plan: plan.to_owned() }));
    let until = world.now() + 20 * MINUTE;
    world.run_until(until);
    let view = world.ledger().unwrap().engine().rollout(&id).unwrap();
    assert_eq!(view.state, RolloutState::Halted, "{}", view.reason);
    assert!(world.truth.devices.values().all(|device| !device.patched));
    world.heal();
    converge(&mut world);
    assert_eq!(world.violation, None);
}
