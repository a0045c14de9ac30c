//! Gates: what must hold before the next wave may begin.

use crate::model::{DeploymentState, Gate};

/// Number of deployments in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts([u64; DeploymentState::ALL.len()]);

impl Counts {
    pub(super) fn of(&self, state: DeploymentState) -> u64 {
        self.0[state as usize]
    }
    pub(super) fn add(&mut self, state: DeploymentState) {
        self.0[state as usize] += 1;
    }
    pub(super) fn remove(&mut self, state: DeploymentState) {
        self.0[state as usize] -= 1;
    }
    pub(super) fn sum(&self, wanted: impl Fn(DeploymentState) -> bool) -> u64 {
        DeploymentState::ALL.into_iter().filter(|s| wanted(*s)).map(|s| self.of(s)).sum()
    }
    pub(super) fn total(&self) -> u64 {
        self.sum(|_| true)
    }
    pub(super) fn in_hand(&self) -> u64 {
        self.sum(DeploymentState::is_in_hand)
    }
    /// Not ended yet.
    pub(super) fn open(&self) -> u64 {
        self.sum(|s| !s.is_terminal())
    }
}

/// What a gate says. Each text is one sentence with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Too early to say.
    Open,
    /// All has ended and is good enough.
    Passed(String),
    /// The share can't be reached any more, even if all that is open succeeds.
    Failed(String),
    /// All has ended, nothing speaks against, but too little speaks for. Never passes by itself.
    NotEnough {
        have: u64,
        need: u64,
        /// Enough has succeeded, but too little of it can be shown to nodes (see `proofs`).
        unshown: bool,
        text: String,
    },
}

/// Judges a wave. It fails as soon as its share is out of reach, and never passes early: a gate that passed with
/// deployments still open would have to be taken back when they fail. `wanting` is the number of rollbacks that are
/// wanted and not done: while there are some, "succeeded" may not be their last word.
pub(super) fn judge(counts: &Counts, wanting: u64, gate: &Gate) -> Verdict {
    use DeploymentState::{Failed, RollbackFailed, RolledBack, RollingBack, Skipped, Succeeded};
    let tried = counts.total() - counts.of(Skipped);
    let lost = counts.sum(|s| matches!(s, Failed | RolledBack | RollbackFailed | RollingBack));
    let (have, wanted) = (counts.of(Succeeded), u64::from(gate.success.basis_points()));
    let numbers = format!(
        "{have} of {tried} tried succeeded, {lost} did not, {} skipped; at least {} wanted",
        counts.of(Skipped),
        gate.success
    );
    // Basis points of at most 2^32 deployments: no overflow in 64 bits.
    if (tried - lost) * 10_000 < wanted * tried {
        return Verdict::Failed(format!("failed: {numbers}"));
    }
    if counts.open() > 0 || wanting > 0 {
        return Verdict::Open;
    }
    // Nobody tried says nothing, even where a plan asks for no evidence: the share of nothing is no share.
    let need = u64::from(gate.evidence_min).max(u64::from(tried == 0));
    if have < need {
        return Verdict::NotEnough {
            have,
            need,
            unshown: false,
            text: format!("not enough evidence, {have} of at least {need}: {numbers}"),
        };
    }
    Verdict::Passed(format!("passed: {numbers}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Percent;
    use DeploymentState::{Failed, Installing, RolledBack, RollingBack, Skipped, Soaking, Succeeded, Unknown};

    fn counts(list: &[(DeploymentState, u64)]) -> Counts {
        let mut counts = Counts::default();
        for (state, n) in list {
            (0..*n).for_each(|_| counts.add(*state));
        }
        counts
    }

    fn word(list: &[(DeploymentState, u64)], percent: u32, evidence_min: u32) -> &'static str {
        let success = Percent::from_basis_points(percent * 100).unwrap();
        match judge(&counts(list), 0, &Gate { success, evidence_min, approvals: Vec::new() }) {
            Verdict::Open => "open",
            Verdict::Passed(_) => "passed",
            Verdict::Failed(_) => "failed",
            Verdict::NotEnough { .. } => "not enough",
        }
    }

    #[test]
    fn the_share_is_counted_among_tried_and_to_the_basis_point() {
        assert_eq!(word(&[(Succeeded, 9), (Failed, 1)], 90, 1), "passed");
        assert_eq!(word(&[(Succeeded, 9), (Failed, 1)], 91, 1), "failed");
        assert_eq!(word(&[(Succeeded, 9), (Failed, 1), (Skipped, 90)], 90, 1), "passed", "skipped ones don't count");
        assert_eq!(word(&[(Succeeded, 2), (Failed, 1)], 67, 1), "failed", "66.66% is less than 67%");
        assert_eq!(word(&[(Failed, 3)], 0, 0), "passed", "a plan may ask for nothing");
    }

    #[test]
    fn it_fails_early_and_never_passes_early() {
        assert_eq!(word(&[(Failed, 1), (Installing, 9)], 100, 1), "failed");
        assert_eq!(word(&[(Failed, 1), (Installing, 9)], 90, 1), "open");
        assert_eq!(word(&[(RollingBack, 1), (Installing, 9)], 100, 1), "failed", "what goes back can't succeed");
        assert_eq!(word(&[(Succeeded, 99), (Soaking, 1)], 50, 1), "open");
        assert_eq!(word(&[(Succeeded, 99), (Unknown, 1)], 50, 1), "open", "unknown is never success");
        assert_eq!(word(&[(Succeeded, 1), (RolledBack, 1)], 50, 1), "passed");
    }

    #[test]
    fn without_evidence_it_does_not_pass() {
        assert_eq!(word(&[(Skipped, 5)], 100, 1), "not enough");
        assert_eq!(word(&[(Skipped, 5)], 100, 0), "not enough", "nobody tried");
        assert_eq!(word(&[(Succeeded, 2)], 100, 3), "not enough");
    }

    #[test]
    fn a_wanted_rollback_keeps_it_open() {
        let gate = Gate::default();
        assert_eq!(judge(&counts(&[(Succeeded, 2)]), 1, &gate), Verdict::Open);
    }
}
