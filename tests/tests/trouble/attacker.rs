//! An attacker with the controller's online keys, its CA and its whole store, against the image repository: each attack of
//! the TUF table. No device changes, and the node says by name what it saw.

use std::{fs, path::PathBuf};

use wardround_rollout_plans::model::{Command, DeploymentState, Directive, Report, ReportBody};
use wardround_signing::{
    Signer as _,
    tuf::{RoleName, next_version},
};
use wardround_tests::{
    evil::{CANARY, Case, People, Repository, signed},
    world::{Device, Ran, plan, try_wait, wait_until},
};

use crate::PROGRAM;

fn attack(name: &'static str) -> Case {
    Case::new(PROGRAM, name)
}

/// The node has refused the metadata for this reason; once it is honest again, an honest directive installs.
fn refused(mut case: Case, why: &str) {
    case.refuses("metadata", why);
    case.honest_words_install(&case.canary(2), "a");
}

/// A delegation with the key of `number` for `role`.
fn delegated(repository: &mut Repository, role: RoleName, number: u8, holder: &str) {
    repository.targets = next_version(&repository.targets, repository.targets.head.expires);
    repository.targets.add_key(role, People::key(number).public(), Some(holder));
}

#[test]
fn roles_that_differ_agree_on_nothing() {
    let mut case = attack("clinical signed for another rollout");
    case.publish(|repository, estate| {
        let path = repository.clinical.targets.keys().find(|path| path.starts_with("rollouts/")).unwrap().clone();
        let mut other = estate.rollout.clone();
        other.plan.description = "what Ben was shown".into();
        let bytes = serde_json::to_vec(&other).unwrap();
        repository.clinical.add_target(&path, &bytes, wardround_signing::tuf::Kind::Rollout).unwrap();
    });
    case.say(case.estate.seal(&case.canary(1)));
    case.refuses("rollout", "signed for different documents");
    case.honest_words_install(&case.canary(2), "a");
}

#[test]
fn keys_that_people_did_not_name_sign_for_nobody() {
    let case = attack("a stranger signs clinical");
    case.publish(|repository, _| drop(repository.signers.insert(RoleName::Clinical, vec![4])));
    refused(case, "clinical metadata carries 0 of the 1 valid signatures");

    let case = attack("the controller names clinical keys");
    case.publish(|repository, _| {
        delegated(repository, RoleName::Clinical, 4, "Eve Stone");
        // Of the two who must sign targets, the attacker has one.
        repository.signers.insert(RoleName::Targets, vec![People::RAE, 4]);
        repository.signers.insert(RoleName::Clinical, vec![4]);
    });
    refused(case, "targets metadata carries 1 of the 2 valid signatures");

    let case = attack("a root that one person signed");
    case.publish(|repository, _| {
        let root = next_version(&repository.root(), repository.root().head.expires);
        repository.roots.push(signed(&root, &[People::RAE]));
    });
    refused(case, "root metadata carries 1 of the 2 valid signatures");
}

/// People signed it carelessly; the rules hold all the same.
#[test]
fn one_person_is_never_two() {
    let case = attack("one key in both roles");
    case.publish(|repository, _| {
        delegated(repository, RoleName::Release, 3, "Dora Day");
        delegated(repository, RoleName::Clinical, 3, "Dora Day");
    });
    refused(case, "both release and clinical");

    let case = attack("one holder in both roles");
    case.publish(|repository, _| delegated(repository, RoleName::Clinical, 4, "ann  LEE"));
    refused(case, "the two roles need different people");

    let case = attack("the controller's key among people's");
    case.publish(|repository, estate| {
        repository.targets = next_version(&repository.targets, repository.targets.head.expires);
        repository.targets.add_key(RoleName::Clinical, estate.online.public(), Some("Con Troller"));
    });
    refused(case, "the controller must not sign for people");

    let case = attack("one key under two ids");
    case.publish(|repository, _| {
        let root = next_version(&repository.root(), repository.root().head.expires);
        // The same key object under an id of its own choice, which TUF alone would count as a second signer.
        let text = String::from_utf8(signed(&root, &[People::RAE, People::ROB])).unwrap();
        let rae = wardround_signing::tuf::TufKey::new(People::key(People::RAE).public(), None).id();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let body = &mut json["signed"];
        let key = body["keys"][rae.as_str()].clone();
        let alias = "ab".repeat(32);
        body["keys"][&alias] = key;
        body["roles"]["root"]["keyids"] = serde_json::json!([rae.as_str(), alias]);
        let canonical = wardround_signing::tuf::canonical(body).unwrap();
        let sign = |number: u8| hex::encode(People::key(number).sign(&canonical).unwrap());
        let rob = wardround_signing::tuf::TufKey::new(People::key(People::ROB).public(), None).id();
        json["signatures"] = serde_json::json!([
            {"keyid": rae.as_str(), "sig": sign(People::RAE)},
            {"keyid": rob.as_str(), "sig": sign(People::ROB)},
            {"keyid": alias, "sig": sign(People::RAE)},
        ]);
        repository.roots.push(serde_json::to_vec(&json).unwrap());
    });
    refused(case, "one key must not count twice");
}

/// A node that knows what is newest takes nothing older, whoever signs the way back to it.
#[test]
fn metadata_never_goes_back() {
    for (name, back) in [("the timestamp rolled back", 1), ("the release role rolled back", 9)] {
        let case = attack(name);
        for _ in 0..3 {
            case.publish(|_, _| {});
        }
        case.check_ins(2);
        // The whole of an old publication; or old people's files under a new snapshot and timestamp.
        case.publish(|repository, _| {
            repository.version = 1;
            repository.publication = Some(back);
        });
        case.go_on_above(9);
        refused(case, "a rollback");
    }
}

#[test]
fn files_of_different_publications_do_not_mix() {
    let case = attack("mix and match");
    let old = case.evil.with(|served| served.metadata["1.release.json"].clone());
    case.publish(|repository, _| repository.release.targets.clear());
    case.evil.with(|served| served.metadata.insert("2.release.json".to_owned(), old));
    refused(case, "release.json");

    let case = attack("a bundle with a file missing");
    case.publish(|_, _| {});
    case.evil.with(|served| served.metadata.remove("2.clinical.json"));
    refused(case, "clinical.json is missing");
}

#[test]
fn endless_and_slow_metadata_end_by_themselves() {
    let case = attack("endless data");
    case.publish(|_, _| {});
    case.evil.with(|served| served.metadata.insert("timestamp.json".to_owned(), vec![b' '; 20_000_000]));
    refused(case, "endless data");

    let case = attack("slow retrieval");
    case.publish(|_, _| {});
    case.evil.with(|served| served.stalled = Some("timestamp.json".to_owned()));
    let slow =
        || case.evil.refusals().into_iter().any(|(what, why)| what == "metadata" && why.contains("slow retrieval"));
    wait_until(150, "the node to give up and say so", slow);
    case.honest_words_install(&case.canary(1), "a");
}

/// The freeze: nothing wrong is served, only nothing newer.
#[test]
fn a_node_that_is_kept_from_news_begins_nothing_new() {
    let case = attack("freeze");
    case.publish(|repository, _| repository.timestamp_life_s = 2);
    let stale = || case.evil.refusals().into_iter().any(|(what, why)| what == "metadata" && why.contains("expired at"));
    wait_until(60, "the timestamp to expire", stale);
    refused(case, "timestamp metadata expired at");

    let mut case = attack("a newer version that is never shown");
    case.check_ins(2);
    case.evil.with(|served| served.timestamp_version = 7);
    case.check_ins(2);
    case.refuses("metadata", "speaks of timestamp metadata of version 7");
}

/// Hole A end to end: the cache is torn, and then the old world is served.
#[test]
fn a_torn_cache_is_no_way_back() {
    let mut case = attack("torn cache");
    let old = case.evil.with(|served| served.metadata.clone());
    case.publish(|_, _| {});
    case.publish(|_, _| {});
    case.check_ins(2);
    case.site.node().kill9();
    let trust = case.site.state().join("trust");
    let torn = |start: &str| -> Vec<PathBuf> {
        let files = fs::read_dir(&trust).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(start)).collect()
    };
    for path in torn("timestamp.").into_iter().chain(torn("snapshot.")) {
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..20]).unwrap();
    }
    case.start_node();
    let ended = try_wait(30, || case.site.node().ended());
    assert!(ended.is_some_and(|status| !status.success()), "a node with a torn store does not run");
    let log = case.site.node().log();
    assert!(log.contains("has 20 of its") && log.contains("reanchor"), "{log}");

    let state = case.site.state().display().to_string();
    let done: Ran = case.run(&["node", "reanchor", "--state", &state]).ok();
    assert!(done.out.contains("damaged"), "{}", done.out);
    case.evil.with(|served| served.metadata = old);
    case.start_node();
    let directive: Directive = case.canary(1);
    case.say(case.estate.seal(&directive));
    case.refuses("metadata", "a rollback");
    case.honest_words_install(&case.canary(2), "a");
}

/// A halt that the node knows of holds, whatever later directives leave out.
#[test]
fn a_halt_that_is_withheld_later_holds() {
    let mut case = attack("a withheld halt");
    let estate = &case.estate;
    let halt = estate.order(2, Command::Halt, &estate.people.ben);
    let goal = || vec![estate.goal(CANARY)];
    // The mode lies from the beginning.
    let told = estate.directive(1, vec![estate.start(), halt.clone()], goal());
    let hidden = estate.seal(&estate.directive(2, vec![estate.start()], goal()));
    let lifted = Command::Resume { lifts: vec![halt.digest()] };
    let alone = estate.order(3, lifted.clone(), &estate.people.ann);
    let alone = estate.seal(&estate.directive(3, vec![estate.start(), alone], goal()));
    let resume = estate.order_of(4, lifted, &[&estate.people.ann, &estate.people.ben]);
    let honest = estate.directive(4, vec![estate.start(), halt, resume], goal());
    case.say(estate.seal(&told));
    wait_until(30, "the halt to be known", || {
        let known = |report: &Report| matches!(report.body, ReportBody::HaltKnown { counter: 2, .. });
        case.evil.with(|served| served.reports.iter().any(known))
    });
    case.say(hidden);
    case.check_ins(3);
    case.site.node().kill9();
    case.start_node();
    case.check_ins(3);
    assert!(case.site.devices.iter().all(Device::untouched), "a halt was forgotten");
    case.say(alone);
    case.refuses("order", "a second person must sign");
    case.honest_words_install(&honest, "a");
}

/// A root that breaks a rule is found out before the node is anybody.
#[test]
fn enrolment_refuses_another_root() {
    let case = attack("another root");
    let state = case.site.state().parent().unwrap().join("second").display().to_string();
    let url = format!("https://127.0.0.1:{}", case.evil.port);
    let mut parts: Vec<String> = case.evil.token.split('.').map(str::to_owned).collect();
    *parts.last_mut().unwrap() = "cd".repeat(32);
    let token = parts.join(".");
    let refused = case.run(&["node", "enrol", "--controller", &url, "--token", &token, "--state", &state]);
    assert_ne!(refused.code, Some(0));
    assert!(refused.err.contains("other root metadata than the token pins"), "{}", refused.err);
    assert!(!std::path::Path::new(&state).join("identity").exists());
}

/// The node goes by the windows that people signed and by its own clock, whatever the controller makes of them.
#[test]
fn an_offer_outside_the_signed_windows_installs_nothing() {
    let (from, to) = plan::closed_window();
    let closed = format!("windows: [{{ from: \"{from}\", to: \"{to}\" }}]\nwaves:");
    let mut case = Case::planned(PROGRAM, "closed window", |plan| plan.replacen("waves:", &closed, 1));
    case.say(case.estate.seal(&case.canary(1)));
    let told = |report: &Report| match &report.body {
        ReportBody::Deployment { state: DeploymentState::Deferred, code, reason, .. } => {
            code == "window_closed" && reason.contains("it is outside the plan's windows")
        }
        _ => false,
    };
    wait_until(60, "the node's word that the window is closed", || {
        case.evil.with(|served| served.reports.iter().any(told))
    });
    // A newer directive, and a new start of the node, open no window.
    case.say(case.estate.seal(&case.canary(2)));
    case.check_ins(3);
    case.site.node().kill9();
    case.start_node();
    case.check_ins(3);
    assert!(case.site.devices.iter().all(|d| d.installs() == 0));
}
