//! Nodes' reports at the edges, limits across rollouts, and redundancy groups.

mod engine_support;

use engine_support::{
    WaveSpec, device, inventory, key, order, resume, rollout_id, site,
    ward::{Ward, alarms, ignored},
};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

#[test]
fn reports_come_in_order_and_once() {
    let mut ward = Ward::new();
    let body = ReportBody::Alarm { code: "disk".to_owned(), text: "full".to_owned(), device: None };
    let report = |seq| Event::Report {
        site: site("rx1"),
        seq,
        at: Timestamp(0),
        body: body.clone(),
        node_key: None,
        envelope: None,
    };
    assert!(matches!(ward.state.step(&report(1), ward.now), Err(Refusal::Duplicate { seq: 1, .. })));
    assert!(matches!(ward.state.step(&report(3), ward.now), Err(Refusal::Gap { expected: 2, .. })));
    assert_eq!(alarms(&ward.step(&report(2))), ["disk"]);
    assert_eq!(ward.state.acked_seq(&site("rx1")), 2);
    let stranger = Event::Report { site: site("rx9"), seq: 1, at: Timestamp(0), body, node_key: None, envelope: None };
    assert!(matches!(ward.state.step(&stranger, ward.now), Err(Refusal::NotFound { what: "site", .. })));
    ward.step(&Event::NodeEnrolled { site: site("rx1"), node_key: key("another") });
    assert_eq!(ward.state.acked_seq(&site("rx1")), 0);
}

/// The shell verifies a report first and has it written down later: in between another node may have enrolled.
#[test]
fn a_report_of_a_key_that_was_replaced_or_revoked_counts_no_more() {
    let mut ward = Ward::new();
    let body = ReportBody::Alarm { code: "disk".to_owned(), text: "full".to_owned(), device: None };
    let report = |seq, by: &str| Event::Report {
        site: site("rx1"),
        seq,
        at: Timestamp(0),
        body: body.clone(),
        node_key: Some(key(by)),
        envelope: None,
    };
    ward.step(&report(2, "k"));
    ward.step(&Event::NodeEnrolled { site: site("rx1"), node_key: key("another") });
    let refused = ward.state.step(&report(1, "k"), ward.now).unwrap_err();
    assert!(matches!(&refused, Refusal::AnotherNode { .. }), "{refused}");
    assert_eq!(ward.state.acked_seq(&site("rx1")), 0);
    ward.step(&report(1, "another"));
    let revoke = |by: &str| Event::NodeRevoked { site: site("rx1"), node_key: key(by), text: "stolen".to_owned() };
    assert!(matches!(ward.state.step(&revoke("k"), ward.now), Err(Refusal::AnotherNode { .. })));
    ward.step(&revoke("another"));
    for event in [report(2, "another"), revoke("another"), Event::SiteHeard { site: site("rx1") }] {
        assert!(matches!(ward.state.step(&event, ward.now), Err(Refusal::NotFound { .. })), "{event:?}");
    }
}

#[test]
fn a_site_whose_node_is_revoked_is_asked_nothing_until_another_enrols() {
    use DeploymentState::{Installing, Pending, Unknown};
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/ct", "rx1/mr"], 1, Scope::Wave);
    ward.moves("r1", "ct", Installing);
    let text = "ann: stolen from the plant room".to_owned();
    let effects = ward.step(&Event::NodeRevoked { site: site("rx1"), node_key: key("k"), text });
    let told = effects
        .iter()
        .any(|e| matches!(e, Effect::Audit { kind, text, .. } if kind == "node_revoked" && text.contains("stolen")));
    assert!(told && alarms(&effects).contains(&"unknown"), "{effects:?}");
    assert_eq!((ward.see("r1", "ct").state, ward.see("r1", "mr").state), (Unknown, Pending));
    ward.step(&Event::NodeEnrolled { site: site("rx1"), node_key: key("new") });
    assert_eq!((ward.see("r1", "ct").state, ward.see("r1", "mr").state), (Installing, Pending));
}

#[test]
fn yesterdays_report_without_its_key_is_still_read() {
    let json = r#"{"event":"report","site":"rx1","seq":2,"at":5,"body":{"kind":"alarm","code":"x","text":"y"}}"#;
    let event: Event = serde_json::from_str(json).unwrap();
    assert!(matches!(&event, Event::Report { node_key: None, .. }), "{event:?}");
    Ward::new().step(&event);
}

/// None of these may hold up the reports behind them.
#[test]
fn a_report_that_makes_no_sense_is_consumed_and_changes_nothing() {
    use DeploymentState::{Downloading, Installing, Offered, Soaking, Staged};
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/ct", "rx1/mr"], 1, Scope::Wave);
    ward.moves("r1", "ct", Installing);
    let seen = ward.see("r1", "ct");
    for (id, name, attempt, state, why) in [
        ("r9", "ct", 1, Soaking, "there is no rollout"),
        ("r1", "nobody", 1, Soaking, "is not in rollout r1"),
        ("r1", "ct", 2, Soaking, "attempt 2 of rx1/ct is stale"),
        ("r1", "ct", 0, Soaking, "attempt 0 of rx1/ct is stale"),
        ("r1", "ct", 1, Staged, "can't go from installing to staged"),
        ("r1", "ct", 1, Offered, "can't go from installing to offered"),
        ("r1", "mr", 1, Downloading, "never offered"),
    ] {
        let effects = ward.attempt(id, name, attempt, state);
        let said = ignored(&effects).unwrap_or_default();
        assert!(said.contains(why), "{said:?} does not say {why:?}");
        assert_eq!(alarms(&effects).contains(&"not_offered"), name == "mr", "{effects:?}");
        assert_eq!(ward.state.acked_seq(&site("rx1")), ward.seq);
    }
    assert_eq!(ward.see("r1", "ct"), seen);
    assert_eq!(ward.see("r1", "mr").state, DeploymentState::Pending);
}

#[test]
fn another_sites_devices_and_systems_are_not_a_nodes_to_speak_of() {
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/ct", "rx2/ct"], 1, Scope::Wave);
    let foreign = ReportBody::Deployment {
        rollout: rollout_id("r1"),
        device: device("rx2/ct"),
        attempt: 1,
        state: DeploymentState::Failed,
        reason: String::new(),
        code: String::new(),
        evidence: Evidence::default(),
    };
    assert!(ignored(&ward.report(foreign.clone())).unwrap().contains("device rx2/ct does not belong to site rx1"));
    assert_eq!(alarms(&ward.report(foreign)), ["report_foreign"], "and a person hears of each");
    let blame = ReportBody::Health {
        system: SystemId::new("rx2/archive").unwrap(),
        health: Health::Unhealthy,
        blames: Some(rollout_id("r1")),
        document: None,
        probes: Vec::new(),
    };
    assert!(ignored(&ward.report(blame)).unwrap().contains("rx2/archive does not belong"));
    let inventory = inventory("rx2", &[], &[], &[]);
    assert!(
        ignored(&ward.report(ReportBody::Inventory { inventory }))
            .unwrap()
            .contains("inventory of rx2 does not belong")
    );
    assert!(ward.state.estate().site(&site("rx2")).is_none());
    let known = ward.state.estate().clone();
    let own = || engine_support::inventory("rx1", &["ct".to_owned()], &[], &[("archive", Vec::new())]);
    let mut its_device = own();
    its_device.devices[0].id = device("rx2/ct");
    let mut its_system = own();
    its_system.systems[0].id = SystemId::new("rx2/archive").unwrap();
    let names: Vec<String> = (0..=SITE_DEVICES_MAX).map(|d| format!("d{d}")).collect();
    let crowd = engine_support::inventory("rx1", &names, &[], &[]);
    for (inventory, why) in [
        (its_device, "device rx2/ct does not belong to site rx1"),
        (its_system, "clinical system rx2/archive does not belong to site rx1"),
        (crowd, "its inventory lists 5001 devices; at most 5000 are taken"),
    ] {
        let said = ignored(&ward.report(ReportBody::Inventory { inventory })).unwrap();
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(*ward.state.estate(), known);
}

#[test]
fn success_counts_when_the_engine_has_seen_the_soak() {
    use DeploymentState::{Installing, Soaking, Succeeded};
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/ct"], 1, Scope::Wave);
    ward.moves("r1", "ct", Installing);
    // The line was cut during the soak: both words arrive together.
    ward.moves("r1", "ct", Soaking);
    ward.moves("r1", "ct", Succeeded);
    assert_eq!(ward.see("r1", "ct").state, Soaking);
    let wake = ward.state.next_wake().unwrap();
    assert_eq!(wake, Timestamp(600_000));
    ward.now = Timestamp(wake.0 - 1);
    ward.step(&Event::Tick);
    assert_eq!(ward.see("r1", "ct").state, Soaking);
    ward.now = wake;
    ward.step(&Event::Tick);
    assert_eq!(ward.see("r1", "ct").state, Succeeded);
    assert_eq!(ward.state.rollout(&rollout_id("r1")).unwrap().state, RolloutState::Completed);
}

/// A few seconds between the node's count and the engine's are forgiven, no more.
#[test]
fn a_soak_ends_at_most_a_few_seconds_early() {
    use DeploymentState::{Soaking, Succeeded};
    for (at, state) in [(594_999, Soaking), (595_000, Succeeded)] {
        let mut ward = Ward::new();
        ward.start("r1", &["rx1/ct"], 1, Scope::Wave);
        ward.moves("r1", "ct", Soaking);
        ward.now = Timestamp(at);
        ward.moves("r1", "ct", Succeeded);
        assert_eq!(ward.see("r1", "ct").state, state, "after {at} ms of ten minutes");
    }
}

/// Tries in between do not renew the patience with a device that is never free.
#[test]
fn patience_counts_from_the_first_deferral() {
    use DeploymentState::{Deferred, Preflight};
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/ct"], 1, Scope::Wave);
    ward.moves("r1", "ct", Deferred);
    ward.now = Timestamp(23 * 3_600_000);
    ward.moves("r1", "ct", Preflight);
    ward.moves("r1", "ct", Deferred);
    assert_eq!(ward.state.next_wake(), Some(Timestamp(24 * 3_600_000)));
}

#[test]
fn a_clock_that_is_set_back_shortens_no_soak() {
    use DeploymentState::{Soaking, Succeeded};
    let mut ward = Ward::new();
    ward.now = Timestamp(10_000_000);
    ward.start("r1", &["rx1/ct"], 1, Scope::Wave);
    ward.now = Timestamp(0);
    ward.moves("r1", "ct", Soaking);
    ward.now = Timestamp(700_000);
    ward.moves("r1", "ct", Succeeded);
    assert_eq!(ward.see("r1", "ct").state, Soaking, "by the engine's clock no time has passed");
}

#[test]
fn a_redundancy_group_is_one_over_all_rollouts() {
    use DeploymentState::{Failed, Offered, Pending};
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/pacs1", "rx1/ct"], 2, Scope::Device);
    ward.start("r2", &["rx1/pacs2", "rx1/ct", "rx1/mr"], 3, Scope::Device);
    assert_eq!((ward.see("r1", "pacs1").state, ward.see("r1", "ct").state), (Offered, Offered));
    assert_eq!((ward.see("r2", "pacs2").state, ward.waits("r2", "pacs2")), (Pending, "redundancy_group".to_owned()));
    assert_eq!((ward.see("r2", "ct").state, ward.waits("r2", "ct")), (Pending, "concurrency".to_owned()));
    assert_eq!(ward.see("r2", "mr").state, Offered, "what is not held up goes on");
    ward.moves("r1", "pacs1", Failed);
    assert_eq!(ward.see("r2", "pacs2").state, Offered);
    assert_eq!(ward.see("r2", "ct").state, Pending);
}

#[test]
fn a_device_that_leaves_the_inventory_still_counts_in_its_group() {
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/pacs1", "rx1/pacs2"], 2, Scope::Device);
    let rest = inventory("rx1", &["pacs2@pacs".to_owned()], &[], &[]);
    ward.report(ReportBody::Inventory { inventory: rest });
    assert_eq!(ward.waits("r1", "pacs2"), "redundancy_group");
    // New limits apply at once.
    let wide = inventory("rx1", &["pacs2@pacs".to_owned()], &[("pacs", 2)], &[]);
    ward.report(ReportBody::Inventory { inventory: wide });
    assert_eq!(ward.see("r1", "pacs2").state, DeploymentState::Offered);
}

#[test]
fn a_group_is_not_taken_down_by_its_rollback_either() {
    use DeploymentState::{RolledBack, RollingBack, Soaking, Succeeded};
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/pacs1", "rx1/pacs2"], 1, Scope::Wave);
    for name in ["pacs1", "pacs2"] {
        ward.moves("r1", name, Soaking);
        ward.moves("r1", name, Succeeded);
        ward.now = ward.state.next_wake().unwrap();
        ward.step(&Event::Tick);
    }
    assert_eq!(ward.state.rollout(&r1.id).unwrap().state, RolloutState::Completed);
    // A week later somebody finds out: a completed rollout can still be taken back.
    let all = Command::RollBack { target: RollBackTarget::Rollout };
    ward.step(&order(&r1, 2, "Olu", &[Role::OnCall], all, "images are mirrored", ward.now));
    assert_eq!((ward.see("r1", "pacs1").state, ward.see("r1", "pacs2").state), (RollingBack, Succeeded));
    assert_eq!(ward.waits("r1", "pacs2"), "redundancy_group");
    let goals: Vec<_> = ward.state.directive(&site("rx1"))[0].goals.iter().map(|g| g.action).collect();
    assert_eq!(goals, [GoalAction::RollBack, GoalAction::Install], "the second is kept till its turn comes");
    ward.moves("r1", "pacs1", RolledBack);
    assert_eq!(ward.see("r1", "pacs2").state, RollingBack);
    ward.moves("r1", "pacs2", RolledBack);
    assert_eq!(ward.state.rollout(&r1.id).unwrap().state, RolloutState::RolledBack);
    assert!(ward.state.directive(&site("rx1")).is_empty());
}

#[test]
fn blame_reaches_as_far_as_the_plan_says_and_only_once() {
    use DeploymentState::{RollingBack, Soaking};
    for (scope, pacs, ct, other, state) in [
        (Scope::Device, RollingBack, Soaking, Soaking, RolloutState::Halted),
        (Scope::Site, RollingBack, RollingBack, Soaking, RolloutState::Halted),
        (Scope::Wave, RollingBack, RollingBack, RollingBack, RolloutState::Halted),
        (Scope::Rollout, RollingBack, RollingBack, RollingBack, RolloutState::RollingBack),
    ] {
        let mut ward = Ward::new();
        ward.step(&Event::NodeEnrolled { site: site("rx2"), node_key: key("k2") });
        ward.start("r1", &["rx1/pacs1", "rx1/ct", "rx2/ct"], 3, scope);
        for name in ["pacs1", "ct"] {
            ward.moves("r1", name, Soaking);
        }
        let far = ReportBody::Deployment {
            rollout: rollout_id("r1"),
            device: device("rx2/ct"),
            attempt: 1,
            state: Soaking,
            reason: String::new(),
            code: String::new(),
            evidence: Evidence::default(),
        };
        ward.step(&Event::Report {
            site: site("rx2"),
            seq: 1,
            at: Timestamp(0),
            body: far,
            node_key: None,
            envelope: None,
        });
        let blame = ReportBody::Health {
            system: SystemId::new("rx1/archive").unwrap(),
            health: Health::Unhealthy,
            blames: Some(rollout_id("r1")),
            document: None,
            probes: Vec::new(),
        };
        assert!(alarms(&ward.report(blame.clone())).contains(&"clinical_system"));
        let all = ward.state.deployments(&rollout_id("r1"), None, None, None, 9);
        let states: Vec<_> = all.iter().map(|d| d.state).collect();
        // Members stand in order: rx1/ct, rx1/pacs1, rx2/ct.
        assert_eq!(states, [ct, pacs, other], "{scope:?}");
        // With 100% wanted, a device that goes back fails the wave by its gate even for the narrowest scope.
        assert_eq!(ward.state.rollout(&rollout_id("r1")).unwrap().state, state, "{scope:?}");
        let before = serde_json::to_value(ward.state.directive(&site("rx1"))).unwrap();
        assert!(alarms(&ward.report(blame)).is_empty(), "the same blame again is no news");
        assert_eq!(serde_json::to_value(ward.state.directive(&site("rx1"))).unwrap(), before);
    }
}

#[test]
fn a_silent_site_gets_nothing_new_and_is_no_success() {
    use DeploymentState::{Installing, Offered, Pending, Soaking, Succeeded, Unknown};
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/ct", "rx1/mr"], 1, Scope::Device);
    ward.moves("r1", "ct", Installing);
    let effects = ward.step(&Event::SiteSilent { site: site("rx1") });
    assert_eq!(alarms(&effects), ["unknown"]);
    assert!(alarms(&ward.step(&Event::SiteSilent { site: site("rx1") })).is_empty());
    assert_eq!((ward.see("r1", "ct").state, ward.waits("r1", "mr")), (Unknown, "silent_sites".to_owned()));
    // A late report replaces unknown, and still nothing new is offered.
    ward.moves("r1", "ct", Soaking);
    assert_eq!(ward.see("r1", "ct").state, Soaking);
    ward.now = Timestamp(600_000);
    ward.moves("r1", "ct", Succeeded);
    assert_eq!((ward.see("r1", "ct").state, ward.see("r1", "mr").state), (Succeeded, Pending));
    ward.step(&Event::SiteHeard { site: site("rx1") });
    assert_eq!(ward.see("r1", "mr").state, Offered);
}

#[test]
fn halts_are_confirmed_for_the_latest_only() {
    let mut ward = Ward::new();
    let r1 = ward.start("r1", &["rx1/ct"], 1, Scope::Device);
    let known = |counter| ReportBody::HaltKnown { rollout: rollout_id("r1"), counter };
    assert!(ignored(&ward.report(known(1))).is_some(), "nothing was halted");
    ward.step(&order(&r1, 2, "Olu", &[Role::OnCall], Command::Halt, "", ward.now));
    ward.step(&order(&r1, 3, "Olu", &[Role::OnCall], Command::Halt, "", ward.now));
    let confirmed = |ward: &Ward| ward.state.rollout(&rollout_id("r1")).unwrap().halt.confirmed;
    ward.report(known(2));
    assert!(confirmed(&ward).is_empty());
    ward.report(known(3));
    assert_eq!(confirmed(&ward), [site("rx1")]);
}

#[test]
fn steps_that_never_end_raise_an_alarm_once() {
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/ct"], 1, Scope::Device);
    ward.moves("r1", "ct", DeploymentState::Installing);
    ward.now = ward.state.next_wake().unwrap();
    // Twice 30 min of install and 15 min of reboot, and 10 min of silence, as the plan's defaults say.
    assert_eq!(ward.now, Timestamp(100 * 60_000));
    assert_eq!(alarms(&ward.step(&Event::Tick)), ["overdue"]);
    assert_eq!(ward.state.next_wake(), None);
    assert_eq!(ward.see("r1", "ct").state, DeploymentState::Installing, "an alarm decides nothing");
}

/// A node is another party: what it says of a device is kept in memory, in snapshots and in views.
#[test]
fn what_a_node_says_is_kept_within_limits() {
    let long = || "x".repeat(100_000);
    let probe = |at: u32| ProbeAnswer {
        system: SystemId::new("rx1/archive").unwrap(),
        probe: long(),
        at: Timestamp(0),
        took_ms: at,
        ok: false,
        answer: long(),
    };
    let mut ward = Ward::new();
    ward.start("r1", &["rx1/ct"], 1, Scope::Wave);
    ward.report(ReportBody::Deployment {
        rollout: rollout_id("r1"),
        device: device("rx1/ct"),
        attempt: 1,
        state: DeploymentState::Soaking,
        reason: long(),
        code: long(),
        evidence: Evidence {
            before: Some(Detected::Present { proof: long() }),
            after: Some(Detected::Unknown { why: long() }),
            probes: (0..100).map(probe).collect(),
            output: long(),
            ..Evidence::default()
        },
    });
    let seen = ward.see("r1", "ct");
    assert_eq!(seen.reason.len(), EVIDENCE_TEXT_MAX);
    let kept = serde_json::to_vec(&seen.evidence).unwrap().len();
    assert!(kept < 40 * EVIDENCE_TEXT_MAX, "{kept} bytes of evidence are kept");
    assert!(seen.evidence.probes.len() == 16 && seen.evidence.probes[0].took_ms == 0);
    let effects = ward.report(ReportBody::Health {
        system: SystemId::new("rx1/archive").unwrap(),
        health: Health::Unhealthy,
        blames: Some(rollout_id("r1")),
        document: None,
        probes: vec![probe(0)],
    });
    for effect in effects {
        let bytes = serde_json::to_vec(&effect).unwrap().len();
        assert!(bytes < 2 * EVIDENCE_TEXT_MAX, "{bytes} bytes in one effect");
    }
}

/// The patch has made the archive worse through its first server. The plan takes back no more than that server, and its
/// gate lets the wave go on; the archive's other server must not get the same patch a minute later.
#[test]
fn a_blamed_system_is_not_harmed_again_through_its_next_device() {
    use DeploymentState::{Offered, RolledBack, RollingBack, Skipped, Soaking};
    let archive = |ward: &mut Ward, system: &str| {
        ward.moves("r1", "pacs1", Soaking);
        ward.report(ReportBody::Health {
            system: SystemId::new(system).unwrap(),
            health: Health::Unhealthy,
            blames: Some(rollout_id("r1")),
            document: None,
            probes: Vec::new(),
        });
        assert_eq!(ward.see("r1", "pacs1").state, RollingBack);
        ward.moves("r1", "pacs1", RolledBack);
        assert_eq!(ward.state.rollout(&rollout_id("r1")).unwrap().state, RolloutState::Running);
    };
    let devices = ["rx1/mr", "rx1/pacs1", "rx1/pacs2"];
    let narrow = |ward: &mut Ward| {
        let wave = WaveSpec::new("all", &devices).success(0);
        ward.start_wave("r1", wave, 3, Scope::Device);
        assert_eq!(ward.see("r1", "pacs2").state, DeploymentState::Pending, "its group is held");
    };
    let mut ward = Ward::new();
    narrow(&mut ward);
    archive(&mut ward, "rx1/archive");
    let spared = ward.see("r1", "pacs2");
    assert_eq!(spared.state, Skipped);
    assert!(spared.reason.contains("rx1/archive got worse"), "{}", spared.reason);
    assert_eq!(ward.see("r1", "mr").state, Offered, "the archive does not need it");
    // When it can't be told what the system needs, it is the whole site.
    let mut ward = Ward::new();
    narrow(&mut ward);
    archive(&mut ward, "rx1/unheard-of");
    assert_eq!(ward.see("r1", "pacs2").state, Skipped);
}

/// While a rollout stands no node may try a deferred device again: a weekend's halt must not use up its patience, fail
/// the wave and have all of it taken back.
#[test]
fn patience_with_a_deferral_does_not_run_out_while_the_rollout_stands() {
    use DeploymentState::Deferred;
    for stop in [Command::Halt, Command::Pause] {
        let mut ward = Ward::new();
        let r1 = ward.start("r1", &["rx1/ct"], 1, Scope::Wave);
        ward.moves("r1", "ct", Deferred);
        ward.step(&order(&r1, 2, "Ann", &[Role::Release], stop, "", ward.now));
        for _ in 0..3 {
            ward.now = ward.state.next_wake().unwrap();
            ward.step(&Event::Tick);
            assert_eq!((ward.see("r1", "ct").state, ward.goal()), (Deferred, GoalAction::Install));
            assert_eq!(ward.waits("r1", "ct"), "resume", "were the device free, nothing would happen");
        }
        let resume = resume(&ward.state, &r1.id);
        ward.step(&order(&r1, 3, "Ann", &[Role::Release], resume, "", ward.now));
        assert_eq!(ward.waits("r1", "ct"), "device");
        ward.now = ward.state.next_wake().unwrap();
        ward.step(&Event::Tick);
        assert_eq!(ward.goal(), GoalAction::Withdraw, "it is given up once it could be tried");
    }
}
