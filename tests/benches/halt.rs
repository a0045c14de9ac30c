//! How long a halt takes, from the command to the confirmation of every node: real processes on one machine.
//!
//! `cargo bench -p wardround-tests --bench halt -- [SITES] [ROUNDS]`; 20 sites and 10 rounds when not said. Each round is one
//! `wardround rollout halt` and a resume by two people. `on disk` begins when the controller has the halt on disk, `command`
//! when the person presses Enter: between them a passphrase is stretched by scrypt, which takes its time by design.
#![expect(clippy::unwrap_used, reason = "a benchmark: a failure is a panic that names the line")]

use std::time::Instant;

use wardround_tests::world::{Blueprint, World, plan, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");

fn main() {
    // Cargo adds "--bench".
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (sites, rounds) = (numbers.next().unwrap_or(20_usize), numbers.next().unwrap_or(10_usize));
    let mut world = World::new(PROGRAM);
    for site in 0..sites {
        world.add_site(&Blueprint::new(&format!("rx{site}")).device("a", "full"));
    }
    world.patch("KB4500331", 0);
    world.start("r1", "KB4500331", &plan::one_wave("1h", "{ per_site: 1 }", "device"));
    wait_until(300, "every device to soak", || {
        let deployments = world.api.deployments("r1").unwrap_or_default();
        deployments.len() == sites && deployments.iter().all(|d| d.state == "soaking")
    });
    let (mut on_disk, mut command) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        let halted =
            world.run_as("cy", &["rollout", "halt", "r1", "--reason", "drill", "--output", "json"]).ok().json();
        command.push(u64::try_from(begun.elapsed().as_millis()).unwrap());
        assert_eq!(halted["all_connected_confirmed"], true, "{halted}");
        assert_eq!(halted["halt"]["confirmed_sites"], sites, "{halted}");
        on_disk.push(halted["waited_ms"].as_u64().unwrap());
        world.run_by(&["ann", "ben"], &["rollout", "resume", "r1", "--reason", "drill", "--yes"]).ok();
        wait_until(30, "the rollout to run", || world.state("r1") == "running");
        world.wait_check_ins("rx0", 1);
    }
    println!("halt: {sites} sites, {rounds} rounds, milliseconds to the last confirmation");
    for (name, mut times) in [("on disk", on_disk), ("command", command)] {
        times.sort_unstable();
        println!("  {name:8} median {:5}  worst {:5}", times[times.len() / 2], times[times.len() - 1]);
    }
}
