//! Approvals: which of the demanded roles are still missing, counting each person for one role only.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use wardround_signing::{Envelope, Role};

use crate::model::{ApprovedBy, Timestamp};

/// Roles that together may let a rollout go on past a gate that has not seen enough: the same two that sign it.
pub(super) const EVIDENCE_ROLES: [Role; 2] = [Role::Release, Role::Clinical];

/// One person's approval of one wave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Approval {
    /// Who, in the form in which people are told apart.
    holder: String,
    /// In whose name: all roles of the signer; the matching chooses one.
    roles: BTreeSet<Role>,
    at: Timestamp,
    /// The signed order, for the nodes.
    pub(super) envelope: Envelope,
    /// Given when it was known that the gate before has too little evidence. An earlier one was given in the belief
    /// that the gate would speak, so it does not count for passing without it.
    knowing: bool,
}

/// Approvals of one wave, one per person.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Approvals(Vec<Approval>);

/// The form of a name by which people are told apart; the same rule as for signatures on documents.
fn person(holder: &str) -> String {
    holder.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// The number of different people among these names.
pub(super) fn people(holders: &[String]) -> usize {
    holders.iter().map(|h| person(h)).filter(|p| !p.is_empty()).collect::<BTreeSet<_>>().len()
}

impl Approvals {
    /// Records an approval; a newer one of the same person replaces the older.
    pub(super) fn give(
        &mut self,
        holder: &str,
        roles: &BTreeSet<Role>,
        at: Timestamp,
        knowing: bool,
        signed: Envelope,
    ) {
        let holder = person(holder);
        self.0.retain(|a| a.holder != holder);
        self.0.push(Approval { holder, roles: roles.clone(), at, envelope: signed, knowing });
    }

    /// Who, for the record of a gate.
    pub(super) fn given(&self) -> Vec<ApprovedBy> {
        let by = |a: &Approval| ApprovedBy { holder: a.holder.clone(), roles: a.roles.iter().copied().collect() };
        self.0.iter().map(by).collect()
    }

    pub(super) fn envelopes(&self) -> impl Iterator<Item = &Envelope> {
        self.0.iter().map(|a| &a.envelope)
    }

    /// The devices of the wave before have changed: nobody who approved knew what its gate would come to see.
    pub(super) fn unknow(&mut self) {
        self.0.iter_mut().for_each(|approval| approval.knowing = false);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of `demanded` that nobody fills, when everybody fills at most one.
    pub(super) fn missing(&self, demanded: &[Role], knowing: bool) -> Vec<Role> {
        let usable: Vec<&Approval> = self.0.iter().filter(|a| a.knowing || !knowing).collect();
        // Kuhn's augmenting paths: `filled[person]` is the demanded place that the person fills.
        let mut filled: Vec<Option<usize>> = vec![None; usable.len()];
        let mut missing = Vec::new();
        for place in 0..demanded.len() {
            let mut seen = vec![false; usable.len()];
            if !augment(place, demanded, &usable, &mut filled, &mut seen) {
                missing.push(demanded[place]);
            }
        }
        missing
    }
}

fn augment(
    place: usize,
    demanded: &[Role],
    usable: &[&Approval],
    filled: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    for who in 0..usable.len() {
        if seen[who] || !usable[who].roles.contains(&demanded[place]) {
            continue;
        }
        seen[who] = true;
        if filled[who].is_none_or(|other| augment(other, demanded, usable, filled, seen)) {
            filled[who] = Some(place);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Clinical, OnCall, Release};

    fn approvals(list: &[(&str, &[Role], bool)]) -> Approvals {
        let mut all = Approvals::default();
        for (holder, roles, knowing) in list {
            let envelope = Envelope { payload_type: String::new(), payload: Vec::new(), signatures: Vec::new() };
            all.give(holder, &roles.iter().copied().collect(), Timestamp(0), *knowing, envelope);
        }
        all
    }

    #[test]
    fn one_person_fills_one_place() {
        let one = approvals(&[("Ann", &[Release, Clinical], false)]);
        assert_eq!(one.missing(&[Release, Clinical], false), [Clinical]);
        let same = approvals(&[("Ann Lee", &[Release], false), ("ann  lee", &[Release, Clinical], false)]);
        assert_eq!(same.missing(&[Release, Clinical], false).len(), 1, "two spellings are one person");
    }

    #[test]
    fn places_are_dealt_out_so_that_as_many_as_possible_are_filled() {
        // Greedy would let Ann be release manager and leave nobody for clinical.
        let two = approvals(&[("Ann", &[Release, Clinical], false), ("Bob", &[Release], false)]);
        assert!(two.missing(&[Release, Clinical], false).is_empty());
        assert!(two.missing(&[Clinical, Release], false).is_empty());
        assert_eq!(two.missing(&[Clinical, Release, OnCall], false), [OnCall]);
        assert_eq!(two.missing(&[Clinical, Clinical], false), [Clinical], "two of a role are two people");
    }

    #[test]
    fn an_approval_given_before_the_shortage_was_known_does_not_pass_without_evidence() {
        let early = approvals(&[("Ann", &[Release], false), ("Bob", &[Clinical], true)]);
        assert!(early.missing(&[Release, Clinical], false).is_empty());
        assert_eq!(early.missing(&EVIDENCE_ROLES, true), [Release]);
    }
}
