//! The check of an exported log: pure but for reading its files.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wardround_rollout_plans::model::{AuditEntry, Order};
use wardround_signing::{
    Digest, Document as _, PublicKey,
    log::{Cosignature, Frontier, LogKey, SignedCheckpoint, TilePath, Witness, read_bundle, read_tile, tile_paths},
    merkle::leaf_hash,
};

use super::{folder::Folder, people::People};

/// Most findings that are listed; one is enough.
const FINDINGS_MAX: usize = 50;

/// What came of it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Verdict {
    /// Nothing was found.
    pub(super) sound: bool,
    pub(super) log: String,
    pub(super) size: u64,
    pub(super) root: String,
    /// Tiles and bundles that were compared.
    pub(super) tiles: u64,
    /// Orders whose own signature holds, by the keys that counted then.
    pub(super) orders: u64,
    /// Documents for which release and clinical have signed identically, as they stood at the end.
    pub(super) documents: u64,
    /// Sites whose cosignature holds and is of this very log, at any size.
    pub(super) cosigned: u64,
    /// Of these, those that cosigned this very checkpoint.
    pub(super) witnesses: u64,
    /// Sites that have enrolled a node, as the log says.
    pub(super) nodes: u64,
    /// Size of the earlier checkpoint that this log continues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<u64>,
    /// What is wrong, each a sentence.
    pub(super) findings: Vec<String>,
}

/// By what it is judged.
pub(super) struct Rule {
    pub(super) key: LogKey,
    /// SHA-256 of the first root, as known from elsewhere.
    pub(super) root: Option<Digest>,
    pub(super) since: Option<SignedCheckpoint>,
}

impl Verdict {
    fn find(&mut self, what: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(what);
        }
    }
}

/// Checks everything.
pub(super) fn judge(
    folder: &Folder,
    signed: &SignedCheckpoint,
    cosignatures: &[(String, Vec<u8>)],
    rule: &Rule,
) -> Verdict {
    let mut verdict = Verdict {
        log: rule.key.origin().to_owned(),
        size: signed.size(),
        root: signed.root().to_string(),
        ..Verdict::default()
    };
    let walk = Walk::over(folder, signed, cosignatures, rule, &mut verdict);
    if let Some(walk) = &walk {
        if walk.frontier.root() != signed.root() {
            verdict.find(format!(
                "the entries and tiles lead to root {}, not to the signed one: entries and tiles were changed together",
                walk.frontier.root()
            ));
        }
        since(walk, rule, &mut verdict);
        witnesses(walk, signed, cosignatures, &mut verdict);
    }
    verdict.sound = verdict.findings.is_empty();
    verdict
}

/// One pass over all entries.
struct Walk {
    frontier: Frontier,
    /// Roots on the way, at the sizes that are asked about.
    roots: BTreeMap<u64, Digest>,
    nodes: BTreeMap<String, PublicKey>,
}

impl Walk {
    /// `None` when the entries can't be gone through to the end; the reason is among the findings.
    fn over(
        folder: &Folder,
        signed: &SignedCheckpoint,
        cosignatures: &[(String, Vec<u8>)],
        rule: &Rule,
        verdict: &mut Verdict,
    ) -> Option<Self> {
        let asked = cosignatures.iter().filter_map(|(_, note)| claimed_size(note));
        let wanted: BTreeSet<u64> = asked.chain(rule.since.iter().map(SignedCheckpoint::size)).collect();
        let mut walk = Self { frontier: Frontier::default(), roots: BTreeMap::new(), nodes: BTreeMap::new() };
        walk.roots.insert(0, walk.frontier.root());
        // What the entries lead to, level by level, until their tile is compared.
        let mut rows: BTreeMap<u8, Row> = BTreeMap::new();
        let mut people = People::new(folder, rule.root);
        for path in tile_paths(signed.size()).filter(|path| matches!(path, TilePath::Entries { .. })) {
            let bytes = match folder.piece(path) {
                Ok(bytes) => bytes,
                Err(why) => {
                    verdict.find(why);
                    return None;
                }
            };
            let entries = match read_bundle(&bytes, path.width()) {
                Ok(entries) => entries,
                Err(error) => {
                    verdict.find(format!("{path}: {error}: entries were dropped or added"));
                    return None;
                }
            };
            verdict.tiles += 1;
            for entry in entries {
                let index = walk.frontier.size();
                walk.entry(index, entry, &mut people, verdict);
                for grown in walk.frontier.push(leaf_hash(entry)) {
                    rows.entry(grown.level).or_default().pending.push(grown.hash);
                }
                if wanted.contains(&walk.frontier.size()) {
                    walk.roots.insert(walk.frontier.size(), walk.frontier.root());
                }
            }
            compare(folder, &mut rows, false, verdict);
        }
        compare(folder, &mut rows, true, verdict);
        match people.documents() {
            Ok(documents) => verdict.documents = documents,
            Err(why) => verdict.find(format!("the documents that people signed for: {why}")),
        }
        Some(walk)
    }

    fn entry(&mut self, index: u64, bytes: &[u8], people: &mut People<'_>, verdict: &mut Verdict) {
        let entry = match AuditEntry::decode(bytes) {
            Ok(entry) => entry,
            Err(error) => return verdict.find(format!("entry {index} can't be read: {error}")),
        };
        if entry.index != index {
            verdict.find(format!(
                "at position {index} stands entry {}: entries were dropped, added or put into another order",
                entry.index
            ));
        }
        if let Some(node) = &entry.node {
            self.nodes.insert(node.site.to_string(), node.report_key);
        }
        if let Err(why) = people.published(&entry) {
            verdict.find(format!("entry {index}: what was published there does not count: {why}"));
        }
        match &entry.envelope {
            Some(envelope) if envelope.payload_type == Order::PAYLOAD_TYPE => match people.order(envelope, entry.at) {
                Ok(()) => verdict.orders += 1,
                Err(why) => verdict.find(format!("entry {index}: the order in it does not count: {why}")),
            },
            _ if entry.kind == "order" => verdict.find(format!("entry {index} tells of an order that is not in it")),
            _ => {}
        }
    }
}

/// What the entries lead to at one level of tiles.
#[derive(Default)]
struct Row {
    /// Tiles that were compared.
    compared: u64,
    /// Hashes after those.
    pending: Vec<Digest>,
}

/// Compares the tiles that are complete, and at the end all that are left, with what the entries lead to.
fn compare(folder: &Folder, rows: &mut BTreeMap<u8, Row>, end: bool, verdict: &mut Verdict) {
    for (level, row) in rows.iter_mut() {
        while row.pending.len() >= 256 || (end && !row.pending.is_empty()) {
            let hashes: Vec<Digest> = row.pending.drain(..row.pending.len().min(256)).collect();
            let width = u16::try_from(hashes.len()).unwrap_or(256);
            let path = TilePath::Tile { level: *level, index: row.compared, width };
            row.compared += 1;
            verdict.tiles += 1;
            let stored =
                folder.piece(path).and_then(|bytes| read_tile(&bytes, width).map_err(|e| format!("{path}: {e}")));
            let stored = match stored {
                Ok(stored) => stored,
                Err(why) => {
                    verdict.find(why);
                    continue;
                }
            };
            let Some(at) = hashes.iter().zip(&stored).position(|(ours, theirs)| ours != theirs) else { continue };
            let position = path.index() * 256 + at as u64;
            verdict.find(if *level == 0 {
                format!("entry {position} is not the one that {path} was made of: the entry or the tile was changed")
            } else {
                format!("hash {at} of {path} is not that of the tile below it: a tile was changed")
            });
        }
    }
}

/// The log of an earlier checkpoint must be the beginning of this one.
fn since(walk: &Walk, rule: &Rule, verdict: &mut Verdict) {
    let Some(before) = &rule.since else { return };
    let (size, root) = (before.size(), before.root());
    if size > verdict.size {
        return verdict.find(format!("the log has shrunk: the earlier checkpoint covers {size} entries"));
    }
    if walk.roots.get(&size) == Some(&root) {
        verdict.since = Some(size);
    } else {
        verdict.find(format!(
            "the log has forked: its first {size} entries are not those that the earlier checkpoint covers (root {root})"
        ));
    }
}

/// The size that a cosignature names, before it is verified.
fn claimed_size(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note).ok()?.lines().nth(1)?.parse().ok()
}

/// Counts each site's cosignature under the key with which its node enrolled last, as the log itself has it.
fn witnesses(walk: &Walk, signed: &SignedCheckpoint, cosignatures: &[(String, Vec<u8>)], verdict: &mut Verdict) {
    verdict.nodes = walk.nodes.len() as u64;
    for (site, note) in cosignatures {
        let Some(key) = walk.nodes.get(site) else {
            verdict.find(format!("there is a cosignature of site {site}, whose node never enrolled"));
            continue;
        };
        let opened = Witness::of_site(site, *key).and_then(|witness| Cosignature::open(note, &witness));
        let cosigned = match opened {
            Ok(cosigned) => cosigned,
            Err(error) => {
                verdict.find(format!("the cosignature of site {site} does not count: {error}"));
                continue;
            }
        };
        let seen = cosigned.checkpoint();
        if seen.origin != verdict.log {
            verdict.find(format!("the cosignature of site {site} is of another log, {:?}", seen.origin));
        } else if seen.size > signed.size() {
            verdict.find(format!("the node of site {site} has seen {} entries, more than there are here", seen.size));
        } else if walk.roots.get(&seen.size) == Some(&seen.root) {
            verdict.cosigned += 1;
            verdict.witnesses += u64::from(seen.size == signed.size());
        } else {
            verdict.find(format!(
                "the log has forked: the node of site {site} has seen other {} entries than those here (root {})",
                seen.size, seen.root
            ));
        }
    }
}
