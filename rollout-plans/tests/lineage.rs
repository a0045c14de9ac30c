//! Patches that require or replace one another, and several variants of one: who is left out, and what the engine lets run.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

mod common;
mod engine_support;

use std::collections::BTreeMap;

use common::{estate, patch, plan, three_sites};
use engine_support::{WaveSpec, amended, created, device, next_version, order, rollout, rollout_id, ward::Ward};
use wardround_rollout_plans::{
    engine::{Event, RolloutState},
    estate::{Estate, KnownPatches},
    model::*,
    patch_file::{lint_patch, parse_patch_file},
    resolve::resolve,
};
use wardround_signing::Role;

fn id(text: &str) -> PatchId {
    text.parse().unwrap()
}

fn requiring(ids: &[&str]) -> Patch {
    let sign = |id: &&str| Prerequisite { patch: id.parse().unwrap(), sign: Sign::Hotfix { kb: (*id).to_owned() } };
    Patch { requires: ids.iter().map(sign).collect(), ..patch() }
}

const MANIFEST: &str = "id: KB4500331\ntitle: T\nseverity: low\nREQUIRES\nvariants:\n  - id: a\n    platforms: ['cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:x86:*']\n    payload: { file: a.exe }\n    installer: { technology: hotfix, kb: KB4500331 }\n";

#[test]
fn a_manifest_says_what_must_be_there_and_what_shows_it() {
    let read = |requires: &str| parse_patch_file(&MANIFEST.replace("REQUIRES", requires), "patch.yaml");
    let code = "{90120000-0030-0000-0000-0000000FF1CE}";
    let good = format!(
        "requires: [KB936929, {{ id: console-2, product_code: '{code}', display_version: '2.0' }}, {{ id: sp3, kb: KB936930 }}]"
    );
    let hotfix =
        |id: &str, kb: &str| Prerequisite { patch: id.parse().unwrap(), sign: Sign::Hotfix { kb: kb.to_owned() } };
    let msi = Sign::Msi { product_code: code.to_owned(), display_version: Some("2.0".to_owned()) };
    let console = Prerequisite { patch: id("console-2"), sign: msi };
    let expected = [hotfix("KB936929", "KB936929"), console, hotfix("sp3", "KB936930")];
    assert_eq!(read(&good).unwrap().requires, expected);
    assert_eq!(read("").unwrap().requires, []);
    let wrong = |requires: &str| read(requires).unwrap_err()[0].message.clone();
    assert!(wrong("requires: [KB4500331]").contains("itself"));
    assert!(wrong("requires: [KB936929, KB936929]").contains("twice"));
    assert!(wrong("requires: [sp3]").contains("not a KB number"));
    assert!(wrong("requires: [{ id: x, kb: KB936929, display_version: '1' }]").contains("not clear"));
    assert!(wrong("supersedes: [KB936929]\nrequires: [KB936929]").contains("what is replaced is not required"));
    // The same for a document that no manifest stands behind, and what only devices with a registry can tell.
    let mut odd = requiring(&["KB4500331"]);
    assert!(lint_patch(&odd)[0].contains("itself"), "{:?}", lint_patch(&odd));
    odd = requiring(&["KB936929"]);
    assert_eq!(lint_patch(&odd), [""; 0]);
    odd.variants[0].installer = Installer::Script { interpreter: Interpreter::Sh };
    assert!(lint_patch(&odd)[0].contains("only Windows"), "{:?}", lint_patch(&odd));
    let text = serde_json::to_string(&patch()).unwrap();
    assert!(!text.contains("requires"), "no trace of none");
}

/// Who is left out of a wave that takes everything, and why; devices that no variant fits aside.
fn left_out(patch: &Patch, known: Estate) -> Vec<String> {
    let parsed = plan("waves:\n  - { name: all, select: { remaining: true }, soak: 8h }\n");
    let resolution = resolve(&parsed, patch, &known).unwrap();
    let left = resolution.left_out.iter().filter(|(_, why)| !why.contains("variant"));
    left.map(|(device, why)| format!("{device}: {why}")).collect()
}

fn with(devices: &[(&str, &str)]) -> Estate {
    let mut known = three_sites();
    for (name, patch) in devices {
        let mut site = known.site(&device(name).site()).unwrap().clone();
        let found = site.devices.iter_mut().find(|d| d.id == device(name)).unwrap();
        found.patches.push(id(patch));
        known.put(site);
    }
    known
}

#[test]
fn a_device_that_lacks_what_is_required_is_left_out() {
    let patch = requiring(&["KB936929", "KB936930"]);
    let why = |of: &str| {
        let known = with(&[("rx1/ct-01", "KB936929"), ("rx1/ct-01", "KB936930"), ("rx1/ct-02", "KB936929")]);
        let both = || [id("KB936929"), id("KB936930")].into_iter().collect();
        let known = known.knowing(KnownPatches {
            brought: [(device("rx2/mr-01"), both())].into(),
            coming: [(device("ry1/ct-01"), both())].into(),
            ..KnownPatches::default()
        });
        left_out(&patch, known).into_iter().find(|line| line.starts_with(of))
    };
    assert_eq!(why("rx1/ct-01"), None, "its site file names both");
    assert_eq!(why("rx2/mr-01"), None, "a rollout has brought them");
    assert_eq!(why("ry1/ct-01"), None, "a rollout is to bring them: the engine lets it wait");
    let lacks = "KB4500331 requires KB936930, and nothing says that it is there or on its way";
    assert_eq!(why("rx1/ct-02"), Some(format!("rx1/ct-02: {lacks}")));
    assert!(why("rx2/lab-01").unwrap().contains("requires KB936929"), "unknown counts as absent");
}

#[test]
fn a_device_with_a_patch_that_replaces_this_one_is_left_out() {
    let all: BTreeMap<PatchId, Vec<PatchId>> = [
        (id("KB2"), vec![id("KB4500331")]),
        (id("KB3"), vec![id("KB2")]),
        (id("KB4"), vec![id("KB9")]),
        (id("KB4500331"), vec![id("KB3")]),
    ]
    .into();
    let superseding = KnownPatches::replacing(&id("KB4500331"), &all);
    assert_eq!(
        superseding.iter().map(PatchId::as_str).collect::<Vec<_>>(),
        ["KB2", "KB3"],
        "one over another, no circle"
    );
    let known = with(&[("rx1/ct-01", "KB3"), ("rx1/ct-02", "KB4")]);
    let brought = [(device("ry1/ct-01"), [id("KB2")].into_iter().collect())].into();
    let known = known.knowing(KnownPatches { brought, superseding, ..KnownPatches::default() });
    assert_eq!(
        left_out(&patch(), known),
        ["rx1/ct-01: KB3 is there, which replaces KB4500331", "ry1/ct-01: KB2 is there, which replaces KB4500331"]
    );
}

/// Each device gets the variant of its own language and service pack; what nobody knows of it fits `*` alone.
#[test]
fn each_device_gets_the_variant_of_its_platform() {
    let cpe = |sp: &str, language: &str| format!("cpe:2.3:o:microsoft:windows_xp:-:{sp}:*:{language}:*:*:x86:*");
    let mut of = patch();
    let spare = of.variants.pop().unwrap();
    of.variants.clear();
    for (name, sp, language) in [("sp2-en", "sp2", "en"), ("sp3-en", "sp3", "en"), ("sp3-de", "sp3", "de")] {
        let platforms = vec![cpe(sp, language).parse().unwrap()];
        of.variants.push(Variant { id: VariantId::new(name).unwrap(), platforms, ..spare.clone() });
    }
    assert_eq!(lint_patch(&of), [""; 0]);
    let [en, de, sp2, unknown] = [cpe("sp3", "en"), cpe("sp3", "de"), cpe("sp2", "en"), cpe("sp3", "*")];
    let site = common::site(
        "rx1",
        "north",
        &[("a", &de, "", ""), ("b", &en, "", ""), ("c", &sp2, "", ""), ("d", &unknown, "", "")],
    );
    let parsed = plan("waves:\n  - { name: all, select: { remaining: true }, soak: 8h }\n");
    let resolution = resolve(&parsed, &of, &estate([site.clone()])).unwrap();
    let variants: Vec<String> =
        resolution.members().iter().map(|m| format!("{} {}", m.device.name(), m.variant)).collect();
    assert_eq!(variants, ["a sp3-de", "b sp3-en", "c sp2-en"]);
    assert!(resolution.left_out[0].1.contains("no variant for"), "an unknown language is not guessed");
    // Two variants for one device: refused at import, and once more for a document that came another way.
    of.variants[0].platforms = vec!["cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:*:*:x86:*".parse().unwrap()];
    assert!(lint_patch(&of).iter().any(|fault| fault.contains("chance")), "{:?}", lint_patch(&of));
    let problems = resolve(&parsed, &of, &estate([site])).unwrap_err();
    assert!(
        problems[0].message.contains("rx1/a is covered by two variants of KB4500331: sp2-en and sp3-de"),
        "{problems:?}"
    );
}

/// A rollout of this patch on devices of site rx1, signed.
fn signed(ward: &mut Ward, name: &str, patch: &str, devices: &[&str], requires: &[&str], replaces: &[&str]) -> Rollout {
    let limits = Limits { per_site: Some(4), ..Limits::default() };
    let (mut document, members) = rollout(name, &[WaveSpec::new("all", devices)], limits, Scope::Wave);
    document.patch = id(patch);
    document.requires = requires.iter().map(|patch| id(patch)).collect();
    document.supersedes = replaces.iter().map(|patch| id(patch)).collect();
    ward.step(&created(&document, &members));
    ward.step(&Event::RolloutSigned { rollout: document.id.clone() });
    document
}

fn start(ward: &Ward, document: &Rollout) -> Event {
    let counter = ward.state.rollout(&document.id).unwrap().order_counter + 1;
    order(document, counter, "Ann", &[Role::Release], Command::Start, "", ward.now)
}

#[test]
fn of_two_patches_that_replace_one_another_only_one_is_under_way_on_a_device() {
    for newer_first in [true, false] {
        let mut ward = Ward::new();
        let newer = signed(&mut ward, "newer", "KB2", &["rx1/ct", "rx1/mr"], &[], &["KB1"]);
        let older = signed(&mut ward, "older", "KB1", &["rx1/mr", "rx1/pacs1"], &[], &[]);
        let (first, second) = if newer_first { (&newer, &older) } else { (&older, &newer) };
        ward.step(&start(&ward, first));
        let why = ward.state.check(&start(&ward, second), ward.now).unwrap_err().to_string();
        assert!(why.contains("has rx1/mr too: KB2 replaces KB1"), "{why}");
        ward.order(first, &[Role::Release], Command::Halt);
        assert!(ward.state.check(&start(&ward, second), ward.now).is_err(), "what stands may go on");
        ward.order(first, &[Role::Release], Command::Cancel);
        ward.step(&start(&ward, second));
        assert_eq!(ward.state.rollout(&second.id).unwrap().state, RolloutState::Running);
    }
    // Without a common device they don't meet, until an amendment would make them.
    let mut ward = Ward::new();
    let newer = signed(&mut ward, "newer", "KB2", &["rx1/ct"], &[], &["KB1"]);
    let older = signed(&mut ward, "older", "KB1", &["rx1/mr"], &[], &[]);
    ward.step(&start(&ward, &newer));
    ward.step(&start(&ward, &older));
    let (next, members) = next_version(&newer, &[vec![device("rx1/ct"), device("rx1/mr")]]);
    let why = ward.state.check(&amended(&next, &members), ward.now).unwrap_err().to_string();
    assert!(why.contains("has rx1/mr too"), "{why}");
}

#[test]
fn a_device_waits_for_the_rollout_that_brings_what_its_patch_requires() {
    let mut ward = Ward::new();
    let base = signed(&mut ward, "base", "KB1", &["rx1/ct", "rx1/mr", "rx1/pacs1"], &[], &[]);
    let next = signed(&mut ward, "next", "KB2", &["rx1/ct", "rx1/mr", "rx1/pacs2"], &["KB1"], &[]);
    ward.step(&start(&ward, &base));
    ward.step(&start(&ward, &next));
    let seen = |ward: &Ward, name: &str| ward.see("next", name);
    let waiting = seen(&ward, "ct").waiting.unwrap().on;
    assert_eq!(waiting.to_string(), "rollout base must bring KB1 to the device first, which the patch requires");
    assert_eq!(ward.waits("next", "mr"), "prerequisite");
    assert_eq!(ward.waits("next", "pacs2"), "redundancy_group", "no rollout is to bring it there: the node looks");
    ward.succeed("base", "ct");
    assert_eq!(seen(&ward, "ct").state, DeploymentState::Offered, "it is there now");
    assert_eq!(ward.waits("next", "mr"), "prerequisite");
    // Whatever becomes of it, the device waits no longer; its node looks, and skips where it is missing.
    ward.order(&base, &[Role::Release], Command::Cancel);
    assert_eq!(
        seen(&ward, "mr").state,
        DeploymentState::Pending,
        "the device is in hand until its node has withdrawn it"
    );
    ward.moves("base", "mr", DeploymentState::Failed);
    assert_eq!(seen(&ward, "mr").state, DeploymentState::Offered);
}

/// The rollout that brings it begins later: what has not been offered by then waits, also in a state that was loaded.
#[test]
fn a_rollout_that_begins_later_is_waited_for() {
    let mut ward = Ward::new();
    let base = signed(&mut ward, "base", "KB1", &["rx1/ct", "rx1/mr"], &[], &[]);
    let (mut document, members) =
        rollout("next", &[WaveSpec::new("all", &["rx1/ct", "rx1/mr"])], Limits::default(), Scope::Wave);
    (document.patch, document.requires) = (id("KB2"), vec![id("KB1")]);
    ward.step(&created(&document, &members));
    ward.step(&Event::RolloutSigned { rollout: rollout_id("next") });
    ward.step(&start(&ward, &document));
    assert_eq!(
        (ward.see("next", "ct").state, ward.waits("next", "mr").as_str()),
        (DeploymentState::Offered, "concurrency")
    );
    ward.step(&start(&ward, &base));
    ward.moves("next", "ct", DeploymentState::Skipped);
    assert_eq!(ward.waits("next", "mr"), "prerequisite");
    let loaded: wardround_rollout_plans::engine::State =
        serde_json::from_str(&serde_json::to_string(&ward.state).unwrap()).unwrap();
    let waits = loaded.deployments(&rollout_id("next"), None, None, None, 9);
    assert_eq!(waits[1].waiting.as_ref().map(|w| w.on.code()), Some("prerequisite"));
}

#[test]
fn rollouts_that_would_wait_for_one_another_are_not_under_way_together() {
    let mut ward = Ward::new();
    // Something else has the device in hand, so that all others are pending there.
    let z = signed(&mut ward, "z", "KB9", &["rx1/mr"], &[], &[]);
    let a = signed(&mut ward, "a", "KB1", &["rx1/ct", "rx1/mr"], &["KB2"], &[]);
    let b = signed(&mut ward, "b", "KB2", &["rx1/mr"], &["KB3"], &[]);
    let c = signed(&mut ward, "c", "KB3", &["rx1/mr", "rx1/pacs1"], &["KB1"], &[]);
    for first in [&z, &a, &b] {
        ward.step(&start(&ward, first));
    }
    assert_eq!((ward.waits("a", "mr").as_str(), ward.waits("b", "mr").as_str()), ("prerequisite", "concurrency"));
    let why = ward.state.check(&start(&ward, &c), ward.now).unwrap_err().to_string();
    let words = "in a circle on rx1/mr with a, b: KB3 requires KB1, KB1 requires KB2, KB2 requires KB3, so that each would wait \
                 for the next for ever; let a end, or cancel it, first";
    assert!(why.contains(words), "{why}");
    // Who has begun waits no more: its node looks for itself.
    ward.succeed("z", "mr");
    assert_eq!(ward.see("b", "mr").state, DeploymentState::Offered);
    ward.step(&start(&ward, &c));
    assert_eq!(ward.waits("c", "mr"), "prerequisite");

    // Two of them on different devices don't meet, until an amendment would make them.
    let mut ward = Ward::new();
    let z = signed(&mut ward, "z", "KB9", &["rx1/mr"], &[], &[]);
    let a = signed(&mut ward, "a", "KB1", &["rx1/ct"], &["KB2"], &[]);
    let b = signed(&mut ward, "b", "KB2", &["rx1/mr"], &["KB1"], &[]);
    for first in [&z, &a, &b] {
        ward.step(&start(&ward, first));
    }
    let (next, members) = next_version(&a, &[vec![device("rx1/ct"), device("rx1/mr")]]);
    let why = ward.state.check(&amended(&next, &members), ward.now).unwrap_err().to_string();
    assert!(why.contains("in a circle on rx1/mr with b: KB1 requires KB2, KB2 requires KB1"), "{why}");
}

#[test]
fn patches_that_require_one_another_are_found_with_the_way_round() {
    let all = |pairs: &[(&str, &[&str])]| -> BTreeMap<PatchId, Vec<PatchId>> {
        pairs.iter().map(|(patch, required)| (id(patch), required.iter().map(|r| id(r)).collect())).collect()
    };
    let circle = |patch: &Patch, all: &BTreeMap<PatchId, Vec<PatchId>>| {
        KnownPatches::circle(patch, all).map(|way| way.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let patch = requiring(&["KB9", "KB1"]);
    assert_eq!(circle(&patch, &all(&[("KB1", &["KB2"]), ("KB2", &["KB7"]), ("KB7", &["KB2"])])), None, "not its own");
    let round = all(&[("KB1", &["KB2"]), ("KB2", &["KB4500331"]), ("KB9", &[])]);
    assert_eq!(circle(&patch, &round), Some(vec!["KB4500331".to_owned(), "KB1".to_owned(), "KB2".to_owned()]));
}
