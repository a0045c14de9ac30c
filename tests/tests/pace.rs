//! How fast a plan may go, who may hold it, and what is said of it before: with a real controller and real nodes.

use std::{fs, str::FromStr as _};

use wardround_tests::world::{Blueprint, World, plan, wait, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const KB: &str = "KB4500331";

#[test]
fn what_a_person_holds_waits_until_two_have_lifted_it() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    world.patch(KB, 0);
    world.rollout("r1", KB, &plan::two_waves("300ms", "{ per_site: 1 }", "wave"));
    // Before the wave has begun: a hold is for time, not for harm.
    world.run_as("cy", &["rollout", "hold", "r1", "canary", "--reason", "until Monday's clinic has used it"]).ok();
    world.run_as("ann", &["rollout", "start", "r1"]).ok();
    world.wait_deployment(60, "r1", "rx1/a", &["succeeded"]);

    let waits = wait(30, "the reason of wave full", || {
        world.api.rollout("r1").ok().and_then(|r| r.waves[1].waiting.clone()).filter(|w| w.code == "hold")
    });
    assert!(waits.text.contains("until Monday's clinic has used it"), "{waits:?}");
    let status = world.run(&["rollout", "status", "r1"]).ok();
    assert!(status.out.contains("until Monday's clinic has used it"), "{}", status.out);
    world.wait_check_ins("rx1", 3);
    assert!(world.device("rx1/b").untouched(), "{}", world.describe("r1"));

    // A controller that was killed knows it as well.
    world.crash_controller();
    world.start_controller();
    world.controller_ready();
    world.wait_connected("rx1");
    world.wait_check_ins("rx1", 3);
    assert!(world.device("rx1/b").untouched(), "{}", world.describe("r1"));

    // Whoever did not put it needs a second person.
    world.run_as("ann", &["rollout", "release", "r1", "canary", "--reason", "used since Monday", "--yes"]).ok();
    world.wait_check_ins("rx1", 3);
    assert!(world.device("rx1/b").untouched(), "{}", world.describe("r1"));
    world.run_as("ben", &["rollout", "cosign", "r1", "--yes"]).ok();
    world.wait_state(60, "r1", "completed");
    assert!(world.device("rx1/b").installed(KB));
    let held = world.api.records().unwrap().iter().filter(|r| r.text.contains("hold")).count();
    assert!(held > 0, "the audit log names the hold");
}

#[test]
fn a_region_has_no_more_in_hand_than_the_plan_says() {
    let mut world = World::new(PROGRAM);
    for (site, region) in [("rx1", "north"), ("rx2", "north"), ("rx3", "south")] {
        world.add_site(&Blueprint::new(site).region(region).device("a", "full").device("b", "full"));
    }
    world.patch(KB, 0);
    let sampler = world.sample("r1");
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 2, per_region: 1 }", "wave"));
    // The reason of the second site of the north.
    let waits = wait(60, "a device that waits for its region", || {
        world.api.deployments("r1").ok()?.into_iter().find(|d| d.reason.contains("region north"))
    });
    assert!(waits.device.starts_with("rx1/") || waits.device.starts_with("rx2/"), "{waits:?}");
    world.wait_state(120, "r1", "completed");
    let most = sampler.stop();
    assert!(most.looks > 0);
    assert!(most.total <= 2, "one in each of two regions: {most:?}");
    assert!(most.per_site.values().all(|count| *count <= 1), "{most:?}");
    assert!(world.devices().iter().all(|device| device.installed(KB)));
}

#[test]
fn a_preview_says_who_and_when_and_stores_nothing() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "canary").device("b", "full"));
    world.add_site(&Blueprint::new("rx2").device("c", "full"));
    world.patch(KB, 0);
    let file = world.dir().join("plan.yaml");
    fs::write(&file, plan::two_waves("1h", "{ per_site: 1 }", "wave")).unwrap();
    let (file, svg) = (file.display().to_string(), world.dir().join("plan.svg"));
    let svg_name = svg.display().to_string();
    let start = "2027-01-11T09:00:00Z";
    let asked = ["plan", "preview", &file, "--patch", KB, "--start", start, "--svg", &svg_name, "--output", "json"];
    let shown = world.run(&asked).ok().json();
    let devices = |wave: usize| -> Vec<&str> {
        shown["waves"][wave]["devices"].as_array().unwrap().iter().map(|d| d["device"].as_str().unwrap()).collect()
    };
    assert_eq!((devices(0), devices(1)), (vec!["rx1/a"], vec!["rx1/b", "rx2/c"]));
    let forecast = &shown["forecast"];
    let begins = jiff::Timestamp::from_str(start).unwrap().as_millisecond();
    assert_eq!(forecast["start_ms"], begins, "{forecast}");
    // Two soaks of an hour, one after the other, and nobody to wait for.
    let hours = |run: &str| forecast[run]["ended_ms"].as_f64().unwrap() / 3_600_000.0;
    assert!((2.0..2.5).contains(&hours("earliest")), "{forecast}");
    assert!(hours("expected") >= hours("earliest"), "{forecast}");
    let picture = fs::read_to_string(&svg).unwrap();
    assert!(picture.contains("<svg ") && picture.contains("canary") && picture.ends_with("</svg>\n"), "{picture}");
    assert!(world.api.rollout("r1").is_err(), "a preview makes no rollout");

    // In a plan's simulation on this very estate a patch that breaks everything does not come past the canary.
    let bad =
        ["plan", "simulate", &file, "--patch", KB, "--estate", "controller", "--bad-patch", "100%", "--seeds", "5"];
    let mut asked = bad.to_vec();
    asked.extend(["--start", start, "--output", "json"]);
    let simulated = world.run(&asked).ok().json();
    assert_eq!(simulated["devices"], 3, "{simulated}");
    assert_eq!(simulated["many"]["ends"], serde_json::json!({ "stopped": 5 }), "{simulated}");
    let worst = |what: &str| simulated["many"]["spreads"][what]["worst"].clone();
    assert_eq!((worst("reached"), worst("still_harmed")), (1.into(), 0.into()), "{simulated}");
    wait_until(20, "the sites to be as they were", || world.devices().iter().all(|device| device.untouched()));
}

#[test]
fn a_preview_that_can_not_be_says_why() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full"));
    world.patch(KB, 0);
    let plan = world.dir().join("plan.yaml");
    fs::write(&plan, plan::one_wave("1h", "{ per_site: 1 }", "wave")).unwrap();
    let plan = plan.display().to_string();
    let far = ["plan", "preview", &plan, "--patch", KB, "--start", "2099-01-01T00:00:00Z"];
    world.run(&far).ends(1, "a start lies within the next ten years");

    // Patches that require one another: none could be the first.
    fs::write(world.dir().join("fix.exe"), "MZ").unwrap();
    for (kb, other) in [("KB1000001", "KB1000002"), ("KB1000002", "KB1000001")] {
        let file = world.dir().join(format!("{kb}.yaml"));
        let manifest = format!(
            "id: {kb}\ntitle: T\nseverity: low\nrequires: [{other}]\nvariants:\n  - id: xp\n    platforms: \
             ['cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*']\n    payload: {{ file: fix.exe }}\n    installer: \
             {{ technology: hotfix, kb: {kb} }}\n"
        );
        fs::write(&file, manifest).unwrap();
        world.run(&["patch", "import", &file.display().to_string()]).ok();
    }
    let circle =
        "KB1000001 requires KB1000002, KB1000002 requires KB1000001: none of them could be the first on a device";
    world.run(&["plan", "preview", &plan, "--patch", "KB1000001"]).fails(3, circle, "import one of them anew");
    for person in ["ann", "ben"] {
        world.run_as(person, &["patch", "sign", "KB1000001", "--yes"]).ok();
    }
    let create = ["rollout", "create", "--patch", "KB1000001", "--plan", &plan, "--id", "r1"];
    world.run(&create).fails(3, circle, "import one of them anew");
}
