//! The rollout document: a plan resolved against the estate for one patch. Signed; immutable. New sites and devices that
//! are gone come as an *amendment*: the next version, a document of its own that names the ones before it.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Document, PublicKey, merkle::Tree};

use super::{DeviceId, PatchId, Plan, RolloutId, SiteId, Timestamp, VariantId, WaveName};

/// Most versions before the present one: an amendment a week for more than a year, and all their digests together are
/// far below what a directive may weigh.
pub const ANCESTORS_MAX: usize = 64;

/// What people of both roles sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Id.
    pub id: RolloutId,
    /// From 1; an amendment is the next.
    #[serde(default = "first")]
    pub version: u32,
    /// SHA-256 of the versions before this one, oldest first: the last is the parent. At most [`ANCESTORS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Digest>,
    /// The patch.
    pub patch: PatchId,
    /// SHA-256 of the patch document's bytes.
    pub patch_digest: Digest,
    /// Patches that its patch must find on a device, as the patch document has them. The engine lets a device wait for another
    /// rollout that brings one; nodes go by the patch document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<PatchId>,
    /// Patches that its patch replaces, as the patch document has them: no two such rollouts run on one device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<PatchId>,
    /// The plan, whole.
    pub plan: Plan,
    /// In order; the same names as in the plan.
    pub waves: Vec<ResolvedWave>,
    /// When it was resolved.
    pub created_at: Timestamp,
}

impl Document for Rollout {
    const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.rollout.v1+json";
    /// Members are under Merkle roots, so the document stays small whatever the estate.
    const BYTES_MAX: usize = 4 * 1024 * 1024;
}

impl Rollout {
    /// Which version of this rollout a digest names, that of this very document (`own`) or of an ancestor. `None` is another
    /// rollout, another content, or a later version that this document can't know.
    ///
    /// **The one place that says what counts for a document**: people's orders and nodes' reports name the version that
    /// stood when they were made, and an amendment changes neither patch nor plan nor any device that was touched, so they
    /// go on counting after it. Approvals ask [`Rollout::approval_counts`].
    #[must_use]
    pub fn version_named(&self, own: Digest, named: Digest) -> Option<u32> {
        if named == own {
            return Some(self.version);
        }
        let at = self.ancestors.iter().position(|ancestor| *ancestor == named)?;
        u32::try_from(at + 1).ok()
    }

    /// Does an order or a report that names this digest count for this document (whose digest is `own`)?
    #[must_use]
    pub fn counts_for(&self, own: Digest, named: Digest) -> bool {
        self.version_named(own, named).is_some()
    }

    /// Does an approval of `wave` that names this digest count? Only when it was given for the wave as it is now: people
    /// approve the devices that they have seen.
    #[must_use]
    pub fn approval_counts(&self, own: Digest, named: Digest, wave: &WaveName) -> bool {
        let since = self.waves.iter().find(|w| w.name == *wave).map(|w| w.since);
        since.zip(self.version_named(own, named)).is_some_and(|(since, version)| version >= since)
    }

    /// Do version, ancestors and waves fit together? Signing, engine and node ask before they believe any of the three.
    ///
    /// # Errors
    /// A sentence.
    pub fn check_lineage(&self) -> Result<(), String> {
        let Self { id, version, ancestors, .. } = self;
        if ancestors.len() > ANCESTORS_MAX {
            return Err(format!("rollout {id} names {} versions before it; at most {ANCESTORS_MAX}", ancestors.len()));
        }
        if u32::try_from(ancestors.len() + 1) != Ok(*version) {
            let named = ancestors.len();
            return Err(format!("version {version} of rollout {id} names {named} versions before it, not all of them"));
        }
        if ancestors.iter().collect::<BTreeSet<_>>().len() != ancestors.len() {
            return Err(format!("version {version} of rollout {id} names a version before it twice"));
        }
        match self.waves.iter().find(|wave| wave.since == 0 || wave.since > *version) {
            Some(wave) => Err(format!(
                "wave {} says it changed in version {}, and this is version {version}",
                wave.name, wave.since
            )),
            None => Ok(()),
        }
    }

    /// Is `next` the document of an amendment of this one, whose digest is `own`? Everything but the waves' members must
    /// be the same; which devices may come and go depends on what was done meanwhile, and the engine asks that.
    ///
    /// # Errors
    /// A sentence that names what differs.
    pub fn check_amendment(&self, own: Digest, next: &Self) -> Result<(), String> {
        next.check_lineage()?;
        let wrong = |what: &str| Err(format!("version {} of rollout {} {what}", next.version, next.id));
        if next.id != self.id {
            return wrong(&format!("is not of rollout {}", self.id));
        }
        if Some(next.version) != self.version.checked_add(1) {
            return wrong(&format!("does not follow on version {}", self.version));
        }
        let parents = self.ancestors.iter().copied().chain([own]);
        if !parents.eq(next.ancestors.iter().copied()) {
            return wrong(&format!("does not name version {} as its parent", self.version));
        }
        if (&next.patch, next.patch_digest, &next.requires, &next.supersedes)
            != (&self.patch, self.patch_digest, &self.requires, &self.supersedes)
        {
            return wrong("is for another patch");
        }
        if next.plan != self.plan {
            return wrong("has another plan: an amendment only changes devices");
        }
        if !self.waves.iter().map(|w| &w.name).eq(next.waves.iter().map(|w| &w.name)) {
            return wrong("has other waves");
        }
        for (before, after) in self.waves.iter().zip(&next.waves) {
            let same = (before.root, before.count) == (after.root, after.count);
            if same && before != after {
                return wrong(&format!("says that wave {} has changed, and it has the same devices", after.name));
            }
            if !same && after.since != next.version {
                return wrong(&format!("does not say that wave {} has changed, and it has other devices", after.name));
            }
        }
        Ok(())
    }
}

/// A wave with its members under a Merkle root (RFC 9162, section 2.1) over [`Member::leaf`] in list order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedWave {
    /// Name.
    pub name: WaveName,
    /// Root over the members.
    pub root: Digest,
    /// Number of members.
    pub count: u64,
    /// The version in which its members last changed.
    #[serde(default = "first")]
    pub since: u32,
    /// The nodes whose reports count as evidence of this wave. Nobody's do where a document does not say.
    #[serde(default)]
    pub reporters: Reporters,
}

fn first() -> u32 {
    1
}

/// The nodes of a wave's sites that had enrolled when it was resolved, under a Merkle root over [`Reporter::leaf`] in the
/// order of their sites. Pinned, so that whoever takes the controller over afterwards can't speak for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reporters {
    /// Root over the nodes.
    pub root: Digest,
    /// Number of nodes.
    pub count: u64,
}

impl Default for Reporters {
    fn default() -> Self {
        Self::of(&[], &[])
    }
}

/// A site's node, by the key with which it signs its reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reporter {
    /// Site.
    pub site: SiteId,
    /// Report key.
    pub key: PublicKey,
}

impl Reporter {
    /// The bytes of this node's Merkle leaf: site and key id, each ended by a line feed, which neither contains.
    #[must_use]
    pub fn leaf(&self) -> Vec<u8> {
        format!("{}\n{}\n", self.site, self.key.id()).into_bytes()
    }
}

impl Reporters {
    /// Those of `nodes` (in the order of their sites) that are of these members' sites.
    #[must_use]
    pub fn among<'a>(nodes: &[Reporter], members: impl IntoIterator<Item = &'a Member>) -> Vec<Reporter> {
        let sites: HashSet<SiteId> = members.into_iter().map(|m| m.device.site()).collect();
        nodes.iter().filter(|node| sites.contains(&node.site)).cloned().collect()
    }

    /// The tree over the nodes of one wave.
    #[must_use]
    pub fn tree(nodes: &[Reporter]) -> Tree {
        Tree::new(nodes.iter().map(Reporter::leaf))
    }

    /// What a document says of a wave of these members, when these nodes are enrolled (in the order of their sites).
    #[must_use]
    pub fn of(nodes: &[Reporter], members: &[Member]) -> Self {
        let tree = Self::tree(&Self::among(nodes, members));
        Self { root: tree.root(), count: tree.size() }
    }
}

/// A device in a wave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Wave.
    pub wave: WaveName,
    /// Device.
    pub device: DeviceId,
    /// Which variant of the patch it gets.
    pub variant: VariantId,
}

impl Member {
    /// The bytes of this member's Merkle leaf: the three ids, each ended by a line feed, which no id contains.
    #[must_use]
    pub fn leaf(&self) -> Vec<u8> {
        format!("{}\n{}\n{}\n", self.wave, self.device, self.variant).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u32) -> Digest {
        Digest::of(&n.to_be_bytes())
    }

    /// Version `version`, whose ancestors are digests 1 to `version - 1`; the waves changed in these versions.
    fn rollout(version: u32, since: &[u32]) -> Rollout {
        let wave = |(at, since): (usize, &u32)| ResolvedWave {
            name: WaveName::new(&format!("w{at}")).unwrap(),
            root: digest(100 + since),
            count: 1,
            since: *since,
            reporters: Reporters::default(),
        };
        Rollout {
            id: RolloutId::new("r1").unwrap(),
            version,
            ancestors: (1..version).map(digest).collect(),
            patch: PatchId::new("KB1").unwrap(),
            patch_digest: digest(50),
            requires: Vec::new(),
            supersedes: Vec::new(),
            plan: serde_json::from_str(r#"{"name":"p","waves":[]}"#).unwrap(),
            waves: since.iter().enumerate().map(wave).collect(),
            created_at: Timestamp(0),
        }
    }

    #[test]
    fn a_digest_names_this_version_or_one_before_and_nothing_else() {
        let third = rollout(3, &[1, 2, 3]);
        assert_eq!([1, 2, 3, 4].map(|n| third.version_named(digest(3), digest(n))), [Some(1), Some(2), Some(3), None]);
        assert!(third.counts_for(digest(3), digest(1)) && !third.counts_for(digest(3), digest(4)));
        assert!(!rollout(1, &[1]).counts_for(digest(1), digest(2)), "a version does not know the later ones");
    }

    #[test]
    fn an_approval_counts_for_the_devices_that_people_saw() {
        let third = rollout(3, &[1, 2, 3]);
        let counts = |wave: &str| {
            let wave = WaveName::new(wave).unwrap();
            [1, 2, 3, 4].map(|n| third.approval_counts(digest(3), digest(n), &wave))
        };
        assert_eq!(counts("w0"), [true, true, true, false]);
        assert_eq!(counts("w1"), [false, true, true, false]);
        assert_eq!(counts("w2"), [false, false, true, false]);
        assert_eq!(counts("w9"), [false; 4], "no such wave");
    }

    #[test]
    fn a_lineage_has_no_gaps_no_repeats_and_an_end() {
        let wrong = |edit: &dyn Fn(&mut Rollout)| {
            let mut third = rollout(3, &[1, 3]);
            edit(&mut third);
            third.check_lineage().unwrap_err()
        };
        rollout(1, &[1]).check_lineage().unwrap();
        rollout(3, &[1, 3]).check_lineage().unwrap();
        assert!(wrong(&|r| r.version = 4).contains("not all of them"));
        assert!(wrong(&|r| r.version = 0).contains("not all of them"));
        assert!(wrong(&|r| r.ancestors[1] = r.ancestors[0]).contains("twice"));
        assert!(wrong(&|r| r.waves[0].since = 4).contains("changed in version 4"));
        assert!(wrong(&|r| r.waves[0].since = 0).contains("changed in version 0"));
        let long = u32::try_from(ANCESTORS_MAX).unwrap() + 2;
        assert!(rollout(long, &[1]).check_lineage().unwrap_err().contains("at most 64"));
        rollout(long - 1, &[1]).check_lineage().unwrap();
    }

    #[test]
    fn an_amendment_follows_on_its_parent_and_changes_devices_only() {
        let (own, second) = (digest(2), rollout(2, &[1, 2]));
        let wrong = |edit: &dyn Fn(&mut Rollout)| {
            let mut third = rollout(3, &[1, 3]);
            edit(&mut third);
            second.check_amendment(own, &third).unwrap_err()
        };
        second.check_amendment(own, &rollout(3, &[1, 3])).unwrap();
        assert!(second.check_amendment(digest(9), &rollout(3, &[1, 3])).unwrap_err().contains("as its parent"));
        assert!(second.check_amendment(own, &rollout(4, &[1, 4])).unwrap_err().contains("does not follow on"));
        assert!(second.check_amendment(own, &second).unwrap_err().contains("does not follow on"));
        assert!(wrong(&|r| r.id = RolloutId::new("r2").unwrap()).contains("not of rollout r1"));
        assert!(wrong(&|r| r.patch_digest = digest(51)).contains("another patch"));
        assert!(wrong(&|r| r.plan.limits.per_site = Some(9)).contains("another plan"));
        assert!(wrong(&|r| drop(r.waves.pop())).contains("other waves"));
        assert!(wrong(&|r| r.waves[0].since = 3).contains("has the same devices"));
        assert!(wrong(&|r| r.waves[1].since = 2).contains("has other devices"));
        assert!(wrong(&|r| r.ancestors.swap(0, 1)).contains("as its parent"));
    }

    #[test]
    fn a_document_of_yesterday_is_version_one() {
        let json = serde_json::to_value(rollout(1, &[1])).unwrap();
        let mut old = json.clone();
        old.as_object_mut().unwrap().remove("version");
        old["waves"][0].as_object_mut().unwrap().remove("since");
        assert_eq!(serde_json::from_value::<Rollout>(old).unwrap(), serde_json::from_value(json).unwrap());
    }
}
