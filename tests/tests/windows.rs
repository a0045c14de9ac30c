//! Maintenance windows and change freezes, with a real controller and real nodes.

use serde_json::{Value, json};
use wardround_tests::world::{Blueprint, World, plan, wait, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wardround-under-test");
const KB: &str = "KB4500331";

/// Hours of a site that allows no work now, nor for hours.
fn closed() -> Value {
    let (from, to) = plan::closed_window();
    json!({ "time_zone": "Etc/UTC", "windows": [{ "from": from, "to": to }] })
}

fn open() -> Value {
    json!({ "time_zone": "Etc/UTC" })
}

/// What a device waits for, in the words of API and CLI.
fn reason(world: &World, rollout: &str, device: &str) -> String {
    world.deployment(rollout, device).map(|d| d.reason).unwrap_or_default()
}

#[test]
fn a_site_whose_window_is_closed_waits_and_holds_nobody_up() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full").hours(closed()));
    world.add_site(&Blueprint::new("rx2").device("b", "full"));
    world.patch(KB, 0);
    // One device in hand in all, and rx1's would be the first.
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 1, total: 1 }", "wave"));
    world.wait_deployment(60, "r1", "rx2/b", &["succeeded"]);

    let waits = wait(20, "the reason of rx1/a", || {
        Some(reason(&world, "r1", "rx1/a")).filter(|reason| reason.contains("window opens at"))
    });
    assert!(waits.starts_with("site rx1: ") && waits.ends_with("it is outside the site's windows"), "{waits}");
    let wave = world.api.rollout("r1").unwrap().waves[0].waiting.clone().unwrap();
    assert_eq!(wave.code, "window", "{wave:?}");
    assert!(wave.until_ms > wave.since_ms, "{wave:?}");
    let status = world.run(&["rollout", "status", "r1"]).ok();
    assert!(status.out.contains("site rx1: window opens at"), "{}", status.out);
    let site = world.run(&["site", "show", "rx1", "--output", "json"]).ok().json();
    assert_eq!(site["time_zone"], "Etc/UTC", "{site}");
    world.wait_check_ins("rx1", 3);
    assert!(world.device("rx1/a").untouched(), "{}", world.describe("r1"));

    // The site engineer opens it: that counts at once.
    world.site("rx1").set_hours(&open());
    world.wait_state(60, "r1", "completed");
    assert!(world.device("rx1/a").installed(KB));
}

#[test]
fn a_window_that_closes_after_the_offer_holds_the_node_itself() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full"));
    let device = world.device("rx1/a");
    device.close("preflight");
    world.patch(KB, 0);
    world.start("r1", KB, &plan::one_wave("300ms", "{ per_site: 1 }", "wave"));
    // It is offered, staged, and being asked whether it is in use.
    device.wait_held("preflight");
    world.site("rx1").set_hours(&closed());
    wait_until(30, "the site's new hours at the controller", || {
        world.api.site("rx1").is_ok_and(|answer| answer.site.is_some_and(|site| !site.windows.is_empty()))
    });
    device.open("preflight");
    wait_until(60, "the node's word that the window is closed", || {
        reason(&world, "r1", "rx1/a").contains("window closed until")
    });
    assert_eq!(world.deployment("r1", "rx1/a").unwrap().state, "deferred");
    world.wait_check_ins("rx1", 3);
    assert_eq!(device.installs(), 0, "{}", world.describe("r1"));
    // A node that begins anew knows it as well.
    world.site_mut("rx1").node().kill9();
    world.start_node("rx1");
    world.wait_connected("rx1");
    world.wait_check_ins("rx1", 3);
    assert_eq!(device.installs(), 0, "{}", world.describe("r1"));

    world.site("rx1").set_hours(&open());
    world.wait_state(60, "r1", "completed");
    assert_eq!(device.installs(), 1);
}

#[test]
fn a_freeze_of_the_signed_plan_holds_and_another_rollout_goes_on() {
    let mut world = World::new(PROGRAM);
    world.add_site(&Blueprint::new("rx1").device("a", "full"));
    world.patch(KB, 0);
    let today = |days: i64| {
        let now = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
        now.saturating_add(jiff::Span::new().days(days)).to_string()
    };
    let open = plan::one_wave("300ms", "{ per_site: 1 }", "wave");
    let freeze = format!("freezes: [{{ from: {}, to: {}, reason: the new PACS goes live }}]\n", today(-1), today(2));
    world.start("r1", KB, &format!("{freeze}{open}"));
    wait_until(20, "the reason of rx1/a", || reason(&world, "r1", "rx1/a").contains("(the new PACS goes live)"));
    world.wait_check_ins("rx1", 3);
    assert!(world.device("rx1/a").untouched(), "{}", world.describe("r1"));
    // What waits for its window holds no device: another rollout has it.
    world.start("r2", KB, &open);
    world.wait_state(60, "r2", "completed");
    assert!(world.device("rx1/a").installed(KB));
}
