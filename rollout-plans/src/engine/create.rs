//! Taking in a rollout: the document and its members must agree before anybody signs.

use std::collections::{BTreeSet, HashSet};

use wardround_signing::{Digest, merkle::Tree};

use super::{
    Refusal, RolloutState, State,
    out::Out,
    record::{MEMBERS_MAX, Record, VARIANTS_MAX},
};
use crate::model::{Member, Reporter, Reporters, Rollout, RolloutId, VariantId, WAVES_MAX};

impl State {
    pub(super) fn find(&self, id: &RolloutId) -> Result<usize, Refusal> {
        self.by_id.get(id).copied().ok_or_else(|| Refusal::NotFound { what: "rollout", id: id.to_string() })
    }

    pub(super) fn check_create(
        &self,
        rollout: &Rollout,
        members: &[Member],
        reporters: &[Reporter],
    ) -> Result<(), Refusal> {
        if self.by_id.contains_key(&rollout.id) {
            return Err(Refusal::AlreadyExists { what: "rollout", id: rollout.id.to_string() });
        }
        if rollout.version != 1 {
            let why = format!("version {} of rollout {} comes without those before it", rollout.version, rollout.id);
            return Err(Refusal::Invalid { why });
        }
        Self::check_whole(rollout, members, reporters)
    }

    /// The document and its members agree.
    pub(super) fn check_whole(rollout: &Rollout, members: &[Member], reporters: &[Reporter]) -> Result<(), Refusal> {
        let invalid = |why: String| Err(Refusal::Invalid { why });
        rollout.check_lineage().map_err(|why| Refusal::Invalid { why })?;
        let planned = rollout.plan.waves.iter().map(|w| &w.name);
        if rollout.waves.is_empty() || !planned.eq(rollout.waves.iter().map(|w| &w.name)) {
            return invalid(format!("the waves of rollout {} are not those of its plan", rollout.id));
        }
        if rollout.waves.len() > WAVES_MAX {
            let count = rollout.waves.len();
            return invalid(format!("rollout {} has {count} waves; at most {WAVES_MAX} are taken", rollout.id));
        }
        if rollout.waves.iter().map(|w| &w.name).collect::<BTreeSet<_>>().len() != rollout.waves.len() {
            return invalid(format!("two waves of rollout {} have the same name", rollout.id));
        }
        if members.len() > MEMBERS_MAX {
            return invalid(format!("rollout {} has more than {MEMBERS_MAX} members", rollout.id));
        }
        if !reporters.is_sorted_by(|a, b| a.site < b.site) {
            return invalid(format!("the nodes that rollout {} pins are not in order", rollout.id));
        }
        let mut rest = members;
        for wave in &rollout.waves {
            let count = usize::try_from(wave.count).unwrap_or(usize::MAX);
            if count == 0 {
                return invalid(format!("wave {} has no members", wave.name));
            }
            let Some((mine, others)) = rest.split_at_checked(count) else {
                return invalid(format!("wave {} lacks members", wave.name));
            };
            if let Some(member) = mine.iter().find(|m| m.wave != wave.name) {
                return invalid(format!("{} stands among the members of wave {}", member.device, wave.name));
            }
            if Tree::new(mine.iter().map(Member::leaf)).root() != wave.root {
                return invalid(format!("the members of wave {} do not lead to its root", wave.name));
            }
            // A wave that an amendment leaves as it is keeps the nodes that it had.
            if wave.since == rollout.version && wave.reporters != Reporters::of(reporters, mine) {
                return invalid(format!("the nodes of wave {} are not those that the document pins", wave.name));
            }
            rest = others;
        }
        if let Some(member) = rest.first() {
            return invalid(format!("{} stands in no wave", member.device));
        }
        let variants: HashSet<&VariantId> = members.iter().map(|m| &m.variant).collect();
        if variants.len() > VARIANTS_MAX {
            return invalid(format!("rollout {} has more than {VARIANTS_MAX} variants", rollout.id));
        }
        let mut seen = HashSet::with_capacity(members.len());
        match members.iter().find(|m| !seen.insert(&m.device)) {
            Some(member) => invalid(format!("{} stands in two waves", member.device)),
            None => Ok(()),
        }
    }

    pub(super) fn create(
        &mut self,
        out: &mut Out,
        rollout: &Rollout,
        digest: Digest,
        members: &[Member],
        reporters: &[Reporter],
    ) {
        let r = self.rollouts.len();
        self.rollouts.push(Record::new(rollout, digest, members, reporters, out.now));
        self.index_rollout(r);
        out.rollout(&rollout.id);
        let text = format!(
            "rollout {} of patch {} was created from plan {:?}: {} devices in {} waves, document {digest}",
            rollout.id,
            rollout.patch,
            rollout.plan.name,
            members.len(),
            rollout.waves.len()
        );
        out.audit("rollout_created", Some(&rollout.id), None, text);
    }

    pub(super) fn check_signed(&self, id: &RolloutId) -> Result<(), Refusal> {
        let record = &self.rollouts[self.find(id)?];
        if record.state == RolloutState::Draft {
            return Ok(());
        }
        Err(Refusal::InvalidTransition {
            what: format!("rollout {id}"),
            verb: "be signed",
            state: record.state.word().to_owned(),
            hint: "only a draft waits for signatures".to_owned(),
        })
    }

    pub(super) fn signed(&mut self, out: &mut Out, id: &RolloutId) {
        if let Some(r) = self.by_id.get(id).copied() {
            self.set_rollout(out, r, RolloutState::Signed, "");
            out.audit("rollout_signed", Some(id), None, format!("rollout {id} is signed by both roles"));
        }
    }
}
