//! How a device differs from what is known of it. Pure: what was seen goes in, findings come out.
//!
//! **Invariant:** what could not be asked changes nothing: a finding neither begins nor ends by silence.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use wardround_proto::v1::InventoryFacts;
use wardround_rollout_plans::model::{Detected, PatchId, RolloutId, Timestamp, Variant};
use wardround_signing::Digest;

use super::clean;
use crate::device::{Looked, Seen, SeenKind};

/// Most findings of one device that are kept: a device that differs in more ways was set up anew.
pub(super) const FINDINGS_MAX: usize = 64;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    UpdateGone,
    FileChanged,
    ProductChanged,
    UpdateAppeared,
    UpdateVanished,
    ProductAppeared,
    ProductVanished,
    PlatformDiffers,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::UpdateGone => "update_gone",
            Self::FileChanged => "file_changed",
            Self::ProductChanged => "product_changed",
            Self::UpdateAppeared => "update_appeared",
            Self::UpdateVanished => "update_vanished",
            Self::ProductAppeared => "product_appeared",
            Self::ProductVanished => "product_vanished",
            Self::PlatformDiffers => "platform_differs",
        }
    }
}

/// A difference that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    pub(super) subject: String,
    /// One sentence.
    pub(super) text: String,
    pub(super) since: Timestamp,
}

/// What a patch of ours left on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Baseline {
    pub(super) patch: PatchId,
    /// Of the patch's document.
    pub(super) digest: Digest,
    pub(super) rollout: RolloutId,
    pub(super) variant: Variant,
    /// As it was first seen there; empty before that.
    pub(super) seen: Vec<Seen>,
}

/// Lists as they are known: what came or went since is a difference, until it is undone or a person accepts it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    /// By source.
    pub(super) updates: BTreeMap<String, BTreeSet<String>>,
    /// Version and name by code; `None` before the first list.
    pub(super) products: Option<BTreeMap<String, (String, String)>>,
}

/// What a look says of one possible difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It differs: one sentence.
    Differs(String),
    Fine,
    /// It could not be asked.
    Unknown,
}

/// One possible difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) kind: Kind,
    pub(super) subject: String,
    pub(super) verdict: Verdict,
}

impl Check {
    pub(super) fn new(kind: Kind, subject: &str, verdict: Verdict) -> Self {
        Self { kind, subject: clean(subject), verdict }
    }
}

/// What a look came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Checks {
    pub(super) all: Vec<Check>,
    /// Kinds of which nothing was asked.
    pub(super) blind: BTreeSet<Kind>,
}

/// Compares a patch with what it left.
pub(super) fn of_patch(baseline: &Baseline, looked: &Looked, checks: &mut Checks) {
    let patch = baseline.patch.as_str();
    let now = |was: &Seen| looked.seen.iter().find(|one| one.kind == was.kind && one.what == was.what);
    let mut changed = false;
    for was in &baseline.seen {
        let subject = format!("{patch} {}", was.what);
        let (kind, verdict) = match was.kind {
            SeenKind::File => (Kind::FileChanged, now(was).map_or(Verdict::Unknown, |is| file(patch, was, is))),
            SeenKind::Product => {
                let verdict = now(was).map_or(Verdict::Unknown, |is| product(patch, was, is));
                changed |= matches!(verdict, Verdict::Differs(_));
                (Kind::ProductChanged, verdict)
            }
        };
        checks.all.push(Check::new(kind, &subject, verdict));
    }
    let gone = match &looked.detected {
        Detected::Present { .. } => Verdict::Fine,
        Detected::Unknown { .. } => Verdict::Unknown,
        // Another version is another finding.
        Detected::Absent if changed => Verdict::Fine,
        Detected::Absent => Verdict::Differs(format!(
            "{patch}, which rollout {} brought, is not on the device any more",
            baseline.rollout
        )),
    };
    checks.all.push(Check::new(Kind::UpdateGone, patch, gone));
}

fn file(patch: &str, was: &Seen, is: &Seen) -> Verdict {
    let path = &was.what;
    let differs = |words: String| Verdict::Differs(format!("{path}, a file of {patch}, {words}"));
    match (&was.version, &is.version) {
        (Some(_), None) => return differs("is gone".to_owned()),
        (Some(old), Some(new)) if old != new => return differs(format!("has version {new}, not {old}")),
        (None, Some(new)) => return differs(format!("has appeared, with version {new}")),
        _ => {}
    }
    // Of what only one look could measure nothing is said.
    match (was.bytes, is.bytes, &was.md5, &is.md5) {
        (Some(old), Some(new), ..) if old != new => differs(format!("has {new} bytes, not {old}")),
        (.., Some(old), Some(new)) if old != new => differs("has another content".to_owned()),
        _ => Verdict::Fine,
    }
}

fn product(patch: &str, was: &Seen, is: &Seen) -> Verdict {
    match (&was.version, &is.version) {
        (Some(old), Some(new)) if old != new => {
            Verdict::Differs(format!("the product of {patch} has version {new}, not {old} ({})", was.what))
        }
        // One that is not there any more is the patch that is gone.
        _ => Verdict::Fine,
    }
}

/// Compares the lists with the known ones. What our patches brought is followed by itself.
pub(super) fn of_lists(known: &Known, facts: &InventoryFacts, baselines: &[Baseline], checks: &mut Checks) {
    // Each name stands between quotation marks.
    let ours: String = baselines
        .iter()
        .map(|one| format!("\"{}\" {}", one.patch, serde_json::to_string(&one.variant).unwrap_or_default()))
        .collect::<String>()
        .to_ascii_uppercase();
    let is_ours = |id: &str| ours.contains(&format!("\"{id}\""));
    let now = Known::of(facts);
    // A source may learn of an update later than another: it has come, or gone, where no source knows otherwise.
    let known_anywhere = |id: &str| known.updates.values().any(|ids| ids.contains(id));
    let found_anywhere = |id: &str| now.updates.values().any(|ids| ids.contains(id));
    let mut updates_asked = false;
    for (source, ids) in &known.updates {
        let Some(found) = now.updates.get(source) else { continue };
        updates_asked = true;
        let appeared =
            found.iter().filter(|id| !known_anywhere(id)).map(|id| (Kind::UpdateAppeared, id, "has appeared"));
        let vanished = ids.iter().filter(|id| !found_anywhere(id)).map(|id| (Kind::UpdateVanished, id, "has vanished"));
        for (kind, id, words) in appeared.chain(vanished) {
            if !is_ours(id) && !checks.has(kind, id) {
                let text = format!("update {id} {words}, which no rollout did ({source})");
                checks.all.push(Check::new(kind, id, Verdict::Differs(text)));
            }
        }
    }
    if !updates_asked || known.updates.keys().any(|source| !now.updates.contains_key(source)) {
        checks.blind.extend([Kind::UpdateAppeared, Kind::UpdateVanished]);
    }
    let (Some(was), Some(is)) = (&known.products, &now.products) else {
        checks.blind.extend([Kind::ProductAppeared, Kind::ProductVanished, Kind::ProductChanged]);
        return;
    };
    for (code, (version, name)) in is {
        let (kind, words) = match was.get(code) {
            None => (Kind::ProductAppeared, format!("product {name} {version} has appeared, which no rollout did")),
            Some((old, _)) if old != version => {
                (Kind::ProductChanged, format!("product {name} has version {version}, not {old}, which no rollout did"))
            }
            Some(_) => continue,
        };
        if !is_ours(code) {
            checks.all.push(Check::new(kind, code, Verdict::Differs(words)));
        }
    }
    for (code, (version, name)) in was.iter().filter(|(code, _)| !is.contains_key(*code)) {
        if !is_ours(code) {
            let text = format!("product {name} {version} has vanished, which no rollout did");
            checks.all.push(Check::new(Kind::ProductVanished, code, Verdict::Differs(text)));
        }
    }
}

impl Checks {
    /// Subjects that differ so.
    pub(super) fn differing(&self, kind: Kind) -> BTreeSet<String> {
        let differs = |check: &&Check| check.kind == kind && matches!(check.verdict, Verdict::Differs(_));
        self.all.iter().filter(differs).map(|check| check.subject.clone()).collect()
    }

    fn has(&self, kind: Kind, subject: &str) -> bool {
        self.all.iter().any(|check| check.kind == kind && check.subject == subject)
    }
}

impl Known {
    /// The lists that the facts hold whole.
    pub(super) fn of(facts: &InventoryFacts) -> Self {
        let mut updates: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        if facts.updates_left_out == 0 {
            updates = facts.update_sources.iter().map(|source| (source.clone(), BTreeSet::new())).collect();
            for update in &facts.updates {
                for source in &update.sources {
                    updates.entry(source.clone()).or_default().insert(update.id.clone());
                }
            }
        }
        let whole = facts.products_told && facts.products_left_out == 0;
        let product = |p: &wardround_proto::v1::InstalledProduct| (p.code.clone(), (p.version.clone(), p.name.clone()));
        Self { updates, products: whole.then(|| facts.products.iter().map(product).collect()) }
    }

    /// Takes in lists that were not known yet. After work of ours (`ordered`) also what differs now and did not before: that is
    /// what the work did.
    pub(super) fn learn(&mut self, facts: &InventoryFacts, ordered: bool, findings: &[Finding]) {
        let now = Self::of(facts);
        let open = |kinds: [Kind; 3], id: &str| findings.iter().any(|f| kinds.contains(&f.kind) && f.subject == id);
        let update = [Kind::UpdateAppeared, Kind::UpdateVanished, Kind::UpdateGone];
        for (source, found) in now.updates {
            match self.updates.entry(source) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(found);
                }
                std::collections::btree_map::Entry::Occupied(mut entry) if ordered => {
                    let known = entry.get_mut();
                    known.retain(|id| found.contains(id) || open(update, id));
                    known.extend(found.into_iter().filter(|id| !open(update, id)));
                }
                std::collections::btree_map::Entry::Occupied(_) => {}
            }
        }
        let product = [Kind::ProductAppeared, Kind::ProductVanished, Kind::ProductChanged];
        match (&mut self.products, now.products) {
            (known @ None, found) => *known = found,
            (Some(known), Some(found)) if ordered => {
                known.retain(|code, _| found.contains_key(code) || open(product, code));
                known.extend(found.into_iter().filter(|(code, _)| !open(product, code)));
            }
            _ => {}
        }
    }
}

/// What the findings become.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    /// All that stand, those of before first.
    pub(super) findings: Vec<Finding>,
    pub(super) begun: Vec<Finding>,
    pub(super) ended: Vec<Finding>,
    /// Beyond [`FINDINGS_MAX`].
    pub(super) left_out: usize,
}

/// Findings of before and a look: what goes on keeps its beginning.
pub(super) fn merge(before: &[Finding], checks: &Checks, at: Timestamp) -> Merged {
    let mut merged = Merged::default();
    for finding in before {
        let check = checks.all.iter().find(|c| c.kind == finding.kind && c.subject == finding.subject);
        match check.map(|c| &c.verdict) {
            Some(Verdict::Differs(text)) => merged.findings.push(Finding { text: text.clone(), ..finding.clone() }),
            Some(Verdict::Unknown) => merged.findings.push(finding.clone()),
            Some(Verdict::Fine) => merged.ended.push(finding.clone()),
            None if checks.blind.contains(&finding.kind) => merged.findings.push(finding.clone()),
            None => merged.ended.push(finding.clone()),
        }
    }
    for Check { kind, subject, verdict } in &checks.all {
        let Verdict::Differs(text) = verdict else { continue };
        if merged.findings.iter().any(|f| f.kind == *kind && f.subject == *subject) {
            continue;
        }
        if merged.findings.len() >= FINDINGS_MAX {
            merged.left_out += 1;
            continue;
        }
        let finding = Finding { kind: *kind, subject: subject.clone(), text: text.clone(), since: at };
        merged.findings.push(finding.clone());
        merged.begun.push(finding);
    }
    merged
}

#[cfg(test)]
mod tests {
    use wardround_proto::v1::{InstalledProduct, InstalledUpdate};

    use super::*;

    fn variant() -> Variant {
        let digest = Digest::of(b"x");
        serde_json::from_value(serde_json::json!({
            "id": "x64", "platforms": ["cpe:2.3:o:microsoft:windows_xp:-:sp2:*:*:*:*:x64:*"],
            "payload": { "file_name": "a.msi", "digest": digest, "length": 1, "chunks": [digest] },
            "installer": { "technology": "msi", "product_code": "{1A2B3C4D-0000-4000-8000-000000000042}", "properties": [] },
        }))
        .unwrap()
    }

    fn baseline(seen: Vec<Seen>) -> Baseline {
        let patch = PatchId::new("KB4500331").unwrap();
        let rollout = RolloutId::new("r1").unwrap();
        Baseline { patch, digest: Digest::of(b"p"), rollout, variant: variant(), seen }
    }

    fn seen(kind: SeenKind, version: Option<&str>, bytes: Option<u64>, md5: Option<&str>) -> Seen {
        let (version, md5) = (version.map(str::to_owned), md5.map(str::to_owned));
        Seen { kind, what: "X".to_owned(), version, bytes, md5 }
    }

    fn look(detected: Detected, seen: Vec<Seen>) -> Looked {
        Looked { detected, seen }
    }

    fn there() -> Detected {
        Detected::Present { proof: String::new() }
    }

    fn texts(merged: &Merged) -> Vec<(&'static str, &str)> {
        merged.findings.iter().map(|f| (f.kind.word(), f.text.as_str())).collect()
    }

    fn checks(baseline: &Baseline, looked: &Looked) -> Checks {
        let mut checks = Checks::default();
        of_patch(baseline, looked, &mut checks);
        checks
    }

    #[test]
    fn an_update_that_is_gone_is_told_until_it_is_back_and_silence_changes_nothing() {
        let baseline = baseline(vec![seen(SeenKind::Product, Some("1.0"), None, None)]);
        let gone = look(Detected::Absent, vec![seen(SeenKind::Product, None, None, None)]);
        let first = merge(&[], &checks(&baseline, &gone), Timestamp(10));
        assert_eq!(first.begun.len(), 1);
        assert!(first.findings[0].text.contains("KB4500331") && first.findings[0].kind == Kind::UpdateGone);
        let silent = look(Detected::Unknown { why: "off".into() }, Vec::new());
        let second = merge(&first.findings, &checks(&baseline, &silent), Timestamp(20));
        assert_eq!((second.begun.len(), second.ended.len()), (0, 0));
        assert_eq!(second.findings, first.findings, "since the first look");
        let none = merge(&[], &checks(&baseline, &silent), Timestamp(20));
        assert_eq!(none, Merged::default(), "nor does anything begin");
        let back = look(there(), vec![seen(SeenKind::Product, Some("1.0"), None, None)]);
        let third = merge(&second.findings, &checks(&baseline, &back), Timestamp(30));
        assert_eq!((third.findings.len(), third.ended.len()), (0, 1));
        // What we took back ourselves is followed no more, and is no drift.
        assert_eq!(merge(&first.findings, &Checks::default(), Timestamp(40)).ended.len(), 1);
    }

    #[test]
    fn a_file_differs_by_what_both_looks_measured() {
        let was = seen(SeenKind::File, Some("5.1.2600.1"), Some(100), Some("AA"));
        for (is, words) in [
            (seen(SeenKind::File, Some("5.1.2600.1"), Some(100), Some("AA")), None),
            (seen(SeenKind::File, Some("5.1.2600.1"), None, None), None),
            (
                seen(SeenKind::File, Some("5.1.2600.0"), Some(100), Some("AA")),
                Some("has version 5.1.2600.0, not 5.1.2600.1"),
            ),
            (seen(SeenKind::File, Some("5.1.2600.1"), Some(101), Some("AA")), Some("has 101 bytes, not 100")),
            (seen(SeenKind::File, Some("5.1.2600.1"), Some(100), Some("AB")), Some("has another content")),
            (seen(SeenKind::File, None, None, None), Some("is gone")),
        ] {
            let merged = merge(&[], &checks(&baseline(vec![was.clone()]), &look(there(), vec![is])), Timestamp(1));
            match words {
                None => assert_eq!(texts(&merged), []),
                Some(words) => assert!(texts(&merged)[0].1.contains(words), "{merged:?}"),
            }
        }
        let product = baseline(vec![seen(SeenKind::Product, Some("1.0"), None, None)]);
        let other = look(Detected::Absent, vec![seen(SeenKind::Product, Some("2.0"), None, None)]);
        assert_eq!(texts(&merge(&[], &checks(&product, &other), Timestamp(1)))[0].0, "product_changed");
    }

    fn facts(updates: &[(&str, &str)], sources: &[&str], products: &[(&str, &str)]) -> InventoryFacts {
        let update =
            |(id, source): &(&str, &str)| InstalledUpdate { id: (*id).to_owned(), sources: vec![(*source).to_owned()] };
        let product = |(code, version): &(&str, &str)| InstalledProduct {
            code: (*code).to_owned(),
            version: (*version).to_owned(),
            name: "Viewer".to_owned(),
            patches: Vec::new(),
        };
        InventoryFacts {
            updates: updates.iter().map(update).collect(),
            update_sources: sources.iter().map(|s| (*s).to_owned()).collect(),
            products: products.iter().map(product).collect(),
            products_told: true,
            ..Default::default()
        }
    }

    fn lists(known: &Known, facts: &InventoryFacts) -> Checks {
        let mut checks = Checks::default();
        of_lists(known, facts, &[baseline(Vec::new())], &mut checks);
        checks
    }

    #[test]
    fn what_nobody_ordered_is_told_and_what_we_did_is_not() {
        let mut known = Known::default();
        known.learn(&facts(&[("KB1000", "qfe")], &["qfe"], &[("{A}", "1")]), false, &[]);
        let later = facts(&[("KB2000", "qfe"), ("KB4500331", "qfe")], &["qfe"], &[("{A}", "2"), ("{B}", "1")]);
        let merged = merge(&[], &lists(&known, &later), Timestamp(5));
        let kinds: Vec<_> = merged.findings.iter().map(|f| (f.kind.word(), f.subject.as_str())).collect();
        assert_eq!(
            kinds,
            [
                ("update_appeared", "KB2000"),
                ("update_vanished", "KB1000"),
                ("product_changed", "{A}"),
                ("product_appeared", "{B}")
            ]
        );
        // A source that is silent hides nothing, and begins nothing.
        let silent = facts(&[], &[], &[("{A}", "2"), ("{B}", "1")]);
        assert_eq!(merge(&merged.findings, &lists(&known, &silent), Timestamp(6)).findings.len(), 4);
        assert_eq!(merge(&[], &lists(&known, &silent), Timestamp(6)).findings.len(), 2);
        // Work of ours explains what is new, and not what differed before.
        known.learn(
            &facts(&[("KB2000", "qfe"), ("KB3000", "qfe")], &["qfe"], &[("{A}", "2"), ("{B}", "1")]),
            true,
            &merged.findings,
        );
        let after = facts(&[("KB2000", "qfe"), ("KB3000", "qfe")], &["qfe"], &[("{A}", "2"), ("{B}", "1")]);
        assert_eq!(merge(&merged.findings, &lists(&known, &after), Timestamp(7)).findings.len(), 4);
        // Once a person accepts it, it is known.
        let mut accepted = Known::default();
        accepted.learn(&after, true, &[]);
        assert_eq!(merge(&merged.findings, &lists(&accepted, &after), Timestamp(8)).ended.len(), 4);
    }

    #[test]
    fn a_source_that_learns_later_is_no_news() {
        let mut known = Known::default();
        known.learn(&facts(&[("KB1000", "hotfix_key")], &["hotfix_key", "qfe"], &[]), false, &[]);
        let later = facts(&[("KB1000", "qfe")], &["hotfix_key", "qfe"], &[]);
        assert!(lists(&known, &later).all.is_empty());
        let cut = InventoryFacts { updates_left_out: 1, ..facts(&[], &["qfe"], &[]) };
        assert!(lists(&known, &cut).blind.contains(&Kind::UpdateVanished), "a list that was cut proves nothing");
    }

    #[test]
    fn findings_are_bounded_and_counted() {
        let known = Known { products: Some(BTreeMap::new()), ..Known::default() };
        let codes: Vec<String> = (0..100).map(|n| format!("{{{n}}}")).collect();
        let many: Vec<(&str, &str)> = codes.iter().map(|code| (code.as_str(), "1")).collect();
        let merged = merge(&[], &lists(&known, &facts(&[], &[], &many)), Timestamp(1));
        assert_eq!((merged.findings.len(), merged.left_out), (FINDINGS_MAX, 100 - FINDINGS_MAX));
    }
}
