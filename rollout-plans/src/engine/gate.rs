//! Gates: what must hold before the next wave may begin.

use crate::{
    exact::{Failures, Probability, fisher, no_worse, so_few, so_many},
    model::{
        Compared, ControlCounts, DeploymentState, Gate, GateAnswer, GateRule, GateTest, Millionths, Percent, TestFound,
    },
};

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

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Too early to say.
    Open,
    /// It has an answer.
    Decided(Finding),
}

/// A gate's answer with what it went by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) answer: GateAnswer,
    pub(super) rule: GateRule,
    /// Not all had ended.
    pub(super) early: bool,
    pub(super) test: Option<TestFound>,
    /// Of what an inconclusive gate misses: there are so many, and so many are needed.
    pub(super) have: u64,
    pub(super) need: u64,
    /// One sentence with its numbers.
    pub(super) text: String,
}

impl Verdict {
    pub(super) fn answer(&self) -> Option<GateAnswer> {
        match self {
            Self::Open => None,
            Self::Decided(finding) => Some(finding.answer),
        }
    }

    pub(super) fn is_inconclusive(&self) -> bool {
        self.answer() == Some(GateAnswer::Inconclusive)
    }
}

/// Of `alpha` so much is kept for looks at the control group before the end: one part in so many.
const EARLY_PART: u64 = 10;

/// What a gate looks at.
pub(super) struct Seen<'a> {
    pub(super) counts: &'a Counts,
    /// Rollbacks that are wanted and not done: while there are some, "succeeded" may not be their last word.
    pub(super) wanting: u64,
    pub(super) control: ControlCounts,
}

impl Seen<'_> {
    fn tried(&self) -> u64 {
        self.counts.total() - self.counts.of(DeploymentState::Skipped)
    }

    fn lost(&self) -> u64 {
        use DeploymentState::{Failed, RollbackFailed, RolledBack, RollingBack};
        self.counts.sum(|s| matches!(s, Failed | RolledBack | RollbackFailed | RollingBack))
    }

    /// Nothing is open any more.
    fn is_over(&self) -> bool {
        self.counts.open() == 0 && self.wanting == 0
    }

    fn numbers(&self, gate: &Gate) -> String {
        format!(
            "{} of {} tried succeeded, {} did not, {} skipped; at least {} wanted",
            self.counts.of(DeploymentState::Succeeded),
            self.tried(),
            self.lost(),
            self.counts.of(DeploymentState::Skipped),
            gate.success
        )
    }

    /// The patched group; who is open counts as one that will hold.
    fn patched(&self) -> Failures {
        Failures { failed: self.lost(), of: self.tried() }
    }

    fn unpatched(&self) -> Failures {
        Failures { failed: self.control.failed, of: self.control.systems }
    }
}

/// How the alarm part of a test comes out.
enum Alarm {
    /// No failure, or none more than in the group that it is compared with.
    Quiet(Option<Compared>),
    /// Compared, with the probability and the level in parts of `of`.
    Heard { compared: Compared, p: Probability, part: u64, of: u64 },
    /// Something failed, and there is nothing to compare it with.
    Alone,
}

/// Is the patched group worse than chance explains?
///
/// With the plan's background rate the question has one answer whenever it is asked: whoever is open counts as a success, and
/// each further success only makes the probability larger. The control group may come to fail later, so before the end it is
/// asked at a level that sinks with each failure, of either group: alpha / 10 / (k (k + 1)) at the k-th. These sum up to a
/// tenth of alpha at most, and nine tenths are left for the end.
fn alarm(seen: &Seen<'_>, test: &GateTest) -> Alarm {
    let (patched, control, alpha) = (seen.patched(), seen.unpatched(), u64::from(test.alpha.basis_points()));
    if patched.failed == 0 {
        return Alarm::Quiet(None);
    }
    if control.of >= u64::from(test.control_min) {
        let compared = Compared::Control;
        if no_worse(patched, control) {
            return Alarm::Quiet(Some(compared));
        }
        let Some(p) = fisher(patched, control) else { return Alarm::Alone };
        let looks = patched.failed + control.failed;
        let (part, of) = if seen.is_over() {
            (alpha * (EARLY_PART - 1), 10_000 * EARLY_PART)
        } else {
            (alpha, 10_000 * EARLY_PART * looks * (looks + 1))
        };
        return Alarm::Heard { compared, p, part, of };
    }
    let Some(background) = test.background else { return Alarm::Alone };
    let compared = Compared::Background;
    let rate = background.basis_points();
    // As for the control group: the median of a binomial distribution is its mean, rounded down or up.
    if u128::from(patched.failed) * 10_000 <= u128::from(patched.of) * u128::from(rate) {
        return Alarm::Quiet(Some(compared));
    }
    match so_many(patched, rate) {
        Some(p) => Alarm::Heard { compared, p, part: alpha, of: 10_000 },
        None => Alarm::Alone,
    }
}

/// In millionths, rounded down: what is shown as a limit is never larger than the limit.
fn millionths(part: u64, of: u64) -> u32 {
    u32::try_from(u128::from(part) * 1_000_000 / u128::from(of.max(1))).unwrap_or(u32::MAX)
}

/// Judges a wave. It fails as soon as harm is certain, and never passes early: a gate that passed with
/// deployments still open would have to be taken back when they fail.
///
/// Each rule can only make it worse: one that fails fails the gate, and all must hold for it to pass. One failure more never
/// makes it pass, and one success more never makes it fail (a property test below).
pub(super) fn judge(seen: &Seen<'_>, gate: &Gate) -> Verdict {
    // Asked for with every report, and answered in words only when there is an answer.
    let numbers = || seen.numbers(gate);
    let (tried, lost) = (seen.tried(), seen.lost());
    let have = seen.counts.of(DeploymentState::Succeeded);
    let finding = |answer, rule, test, need, text| {
        Verdict::Decided(Finding { answer, rule, early: !seen.is_over(), test, have, need, text })
    };
    let failed = |rule, test, text| finding(GateAnswer::Failure, rule, test, 0, text);
    // Basis points of at most 2^32 deployments: no overflow in 64 bits.
    if (tried - lost) * 10_000 < u64::from(gate.success.basis_points()) * tried {
        return failed(GateRule::Share, None, format!("failed: {}", numbers()));
    }
    if let Some(most) = gate.failures_max.filter(|most| lost > u64::from(*most)) {
        return failed(
            GateRule::FailuresMax,
            None,
            format!("failed: {lost} failed, and at most {most} may; {}", numbers()),
        );
    }
    let alarm = gate.test.as_ref().map(|test| alarm(seen, test));
    let mut found = None;
    if let (Some(test), Some(alarm)) = (&gate.test, &alarm) {
        let heard = found_of(test, alarm);
        if let Alarm::Heard { p, part, of, compared } = alarm
            && p.at_most(*part, *of)
        {
            let text = format!("failed: {}; {}", alarm_words(seen, test, &heard, *compared), numbers());
            return failed(GateRule::Alarm, Some(heard), text);
        }
        found = Some(heard);
    }
    if !seen.is_over() {
        return Verdict::Open;
    }
    let unsure = |rule, test, need, text: String| {
        finding(GateAnswer::Inconclusive, rule, test, need, format!("inconclusive: {text}: {}", numbers()))
    };
    // Nobody tried says nothing, even where a plan asks for no evidence: the share of nothing is no share.
    let need = u64::from(gate.evidence_min).max(u64::from(tried == 0));
    if have < need {
        return unsure(GateRule::EvidenceMin, found, need, format!("not enough evidence, {have} of at least {need}"));
    }
    let mut passed = format!("passed: {}", numbers());
    if let (Some(test), Some(alarm), Some(found)) = (&gate.test, alarm, &mut found) {
        let missed = so_few(seen.patched(), test.harm.basis_points());
        found.missed = Some(missed.millionths());
        if matches!(alarm, Alarm::Alone) {
            return unsure(GateRule::NoComparison, Some(*found), 0, alone_words(seen, test));
        }
        let shown = Millionths(missed.millionths());
        let words = format!("a patch that makes {} of devices fail would look as good in {shown} of cases", test.harm);
        if !missed.at_most(test.miss.basis_points().into(), 10_000) {
            let text = format!("too few were seen, {words}, and at most {} is allowed", test.miss);
            return unsure(GateRule::Miss, Some(*found), 0, text);
        }
        passed += &format!("; {words}");
    }
    finding(GateAnswer::Success, GateRule::All, found, need, passed)
}

fn found_of(test: &GateTest, alarm: &Alarm) -> TestFound {
    let (compared, p, alarm_at) = match alarm {
        Alarm::Quiet(compared) => (*compared, 1_000_000, millionths(test.alpha.basis_points().into(), 10_000)),
        Alarm::Heard { compared, p, part, of } => (Some(*compared), p.millionths(), millionths(*part, *of)),
        Alarm::Alone => (None, 1_000_000, millionths(test.alpha.basis_points().into(), 10_000)),
    };
    let miss_max = millionths(test.miss.basis_points().into(), 10_000);
    TestFound { compared, p, alarm_at, missed: None, miss_max }
}

fn alarm_words(seen: &Seen<'_>, test: &GateTest, found: &TestFound, compared: Compared) -> String {
    let against = match compared {
        Compared::Control => {
            format!("of {} unpatched clinical systems beside them {} did", seen.control.systems, seen.control.failed)
        }
        Compared::Background => {
            format!("{} fail without the patch", test.background.unwrap_or(Percent::ALL))
        }
    };
    format!(
        "of {} devices {} failed, while {against}; a harmless patch would look as bad in {} of cases, and the plan stops at {}",
        seen.tried(),
        seen.lost(),
        Millionths(found.p),
        Millionths(found.alarm_at)
    )
}

fn alone_words(seen: &Seen<'_>, test: &GateTest) -> String {
    let few = seen.control.systems < u64::from(test.control_min);
    if few && test.background.is_none() {
        return format!(
            "{} failed, and nothing to compare with: {} unpatched clinical systems were watched beside, at least {} wanted",
            seen.lost(),
            seen.control.systems,
            test.control_min
        );
    }
    format!("{} failed, and the exact test is not made for so many", seen.lost())
}

#[cfg(test)]
mod error_rates;
#[cfg(test)]
mod tests;
