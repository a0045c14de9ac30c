//! Which device falls to which wave.

use std::collections::HashMap;

use super::{
    draw::{self, Standing},
    order::arrange,
    select::Chooser,
    survey::{Candidate, Survey},
};
use crate::model::{DeviceId, Member, Plan};

/// Why an eligible device is left out.
const NO_WAVE: &str = "no wave selects it";

/// Where the version before has a device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    /// Position of the wave.
    pub(super) wave: usize,
    /// Whether it must stay there, since it was touched or its wave has passed.
    pub(super) fixed: bool,
}

/// What a resolution builds on: nothing, or the version before.
#[derive(Debug, Default)]
pub(super) struct Ground<'a> {
    pub(super) before: HashMap<&'a DeviceId, Before>,
    /// For each wave: whether it is over and takes nobody any more.
    pub(super) passed: &'a [bool],
}

impl Ground<'_> {
    fn of(&self, candidate: &Candidate<'_>) -> Option<Before> {
        self.before.get(&candidate.device.id).copied()
    }

    fn open(&self, wave: usize) -> bool {
        self.passed.get(wave) != Some(&true)
    }
}

/// Candidates by wave, as positions in the survey; those that are fixed by the version before are in none.
pub(super) struct Placed {
    pub(super) waves: Vec<Vec<usize>>,
    /// Candidates that no wave takes, and why.
    pub(super) left_out: Vec<(DeviceId, String)>,
}

/// Each candidate in the first open wave that takes it, or the reason why in none.
pub(super) fn place(plan: &Plan, survey: &Survey<'_>, ground: &Ground<'_>) -> Placed {
    let choosers: Vec<Chooser<'_>> = plan.waves.iter().map(|wave| Chooser::new(&wave.select)).collect();
    let candidates = &survey.candidates;
    let fixed = |at: usize| ground.of(&candidates[at]).filter(|before| before.fixed);
    let mut free: Vec<bool> = (0..candidates.len()).map(|at| fixed(at).is_none()).collect();
    let mut waves: Vec<Vec<usize>> = vec![Vec::new(); plan.waves.len()];
    for (index, wave) in plan.waves.iter().enumerate().filter(|(index, _)| ground.open(*index)) {
        let meets = |at: &usize| survey.meets(&choosers[index], &candidates[*at]);
        let taken: Vec<usize> = if wave.select.draws() {
            let lots: Vec<draw::Lot> = (0..candidates.len())
                .filter(meets)
                .map(|at| {
                    let here = ground.of(&candidates[at]).is_some_and(|before| before.wave == index);
                    let standing = match (here && (free[at] || fixed(at).is_some()), free[at]) {
                        (true, _) => Standing::Kept,
                        (false, true) => Standing::Free,
                        (false, false) => Standing::Gone,
                    };
                    (at, standing)
                })
                .collect();
            let wanted = |candidate: &Candidate<'_>| {
                let mut later = (index + 1..choosers.len()).filter(|later| ground.open(*later));
                later.any(|later| survey.meets(&choosers[later], candidate))
            };
            draw::draw(&wave.select, &lots, survey, wanted).into_iter().filter(|at| free[*at]).collect()
        } else {
            (0..candidates.len()).filter(|at| free[*at]).filter(meets).collect()
        };
        taken.iter().for_each(|at| free[*at] = false);
        waves[index] = taken;
    }
    let left = (0..candidates.len()).filter(|at| free[*at]);
    let left_out = left.map(|at| (candidates[at].device.id.clone(), why_left(plan, &choosers, survey, at, ground)));
    let left_out = left_out.collect();
    Placed { waves, left_out }
}

fn why_left(plan: &Plan, choosers: &[Chooser<'_>], survey: &Survey<'_>, at: usize, ground: &Ground<'_>) -> String {
    let meets = |index: &usize| survey.meets(&choosers[*index], &survey.candidates[at]);
    let name = |index: usize| &plan.waves[index].name;
    match (0..choosers.len()).find(meets) {
        None => NO_WAVE.to_owned(),
        Some(index) if ground.open(index) => {
            format!("wave {} has drawn others of those that it chooses from", name(index))
        }
        Some(index) => format!("wave {}, which selects it, is over", name(index)),
    }
}

/// The members of a wave in the order of its plan: this is the Merkle leaf order, and that in which the engine offers.
pub(super) fn members(plan: &Plan, survey: &Survey<'_>, wave: usize, placed: &[usize]) -> Vec<Member> {
    let wave = &plan.waves[wave];
    let member = |at: usize| {
        let candidate = &survey.candidates[at];
        Member { wave: wave.name.clone(), device: candidate.device.id.clone(), variant: candidate.variant.clone() }
    };
    arrange(wave, survey, placed.to_vec()).into_iter().map(member).collect()
}
