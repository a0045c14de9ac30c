//! Exact tests for few devices: Fisher's, and the binomial one.
//!
//! Everything is reckoned in natural numbers, without rounding and without floating point: a decision is the same on every
//! machine. What is rounded for people (`Probability::millionths`) is rounded upwards, which never makes a result look
//! surer than it is. `docs/gates.md` says what the tests mean, with sources and worked examples; those examples are tests
//! here.

mod natural;

use natural::Natural;

/// Most failures, of patched and control group together, that Fisher's test looks at: its numbers grow with them.
pub const FAILURES_MAX: u64 = 500;

/// Most observations that the binomial tests look at.
pub const OBSERVATIONS_MAX: u64 = 2_000;

/// Basis points of a whole.
const WHOLE: u32 = 10_000;

/// A probability, exactly: a fraction of two natural numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probability {
    part: Natural,
    whole: Natural,
}

impl Probability {
    /// One.
    fn certain() -> Self {
        Self { part: Natural::one(), whole: Natural::one() }
    }

    /// Is it at most `part` / `of`? Equal counts.
    #[must_use]
    pub fn at_most(&self, part: u64, of: u64) -> bool {
        self.part.times_wide(of) <= self.whole.times_wide(part)
    }

    /// Parts per million, rounded up.
    #[must_use]
    pub fn millionths(&self) -> u32 {
        const MILLION: u32 = 1_000_000;
        let (mut low, mut high) = (0, MILLION);
        while low < high {
            let middle = low.midpoint(high);
            if self.at_most(middle.into(), MILLION.into()) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }
}

/// Failures among observations of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// How many failed.
    pub failed: u64,
    /// Of how many.
    pub of: u64,
}

/// Fisher's exact test, one-sided: if the patch did nothing, how probable is it that so many of all failures, or more,
/// fall upon the patched group by chance? Given all failures and both sizes that is the upper tail of the hypergeometric
/// distribution.
///
/// `None` when there are more than [`FAILURES_MAX`] failures, or when a group is no group (more failed than there are, none,
/// or more than 2^31).
#[must_use]
pub fn fisher(patched: Failures, control: Failures) -> Option<Probability> {
    let group = |g: Failures| {
        let small = u32::try_from(g.of).ok().filter(|n| (1..=1 << 31).contains(n))?;
        Some((u32::try_from(g.failed).ok().filter(|failed| *failed <= small)?, small))
    };
    let ((a, n), (c, m)) = (group(patched)?, group(control)?);
    let failures = a.checked_add(c).filter(|k| u64::from(*k) <= FAILURES_MAX)?;
    let mut term = choose(n, a);
    scale(&mut term, m, c);
    let (mut part, mut at) = (Natural::zero(), a);
    loop {
        part.add(&term);
        // C(n, at) C(m, k - at) becomes C(n, at + 1) C(m, k - at - 1): each division leaves no rest.
        let of_control = failures - at;
        if of_control == 0 || at == n {
            break;
        }
        term.times(n - at);
        term.over(at + 1);
        term.times(of_control);
        term.over(m - of_control + 1);
        at += 1;
    }
    Some(Probability { part, whole: choose(n + m, failures) })
}

/// True when Fisher's test can't be significant at any level up to a half: the patched group has no larger share of
/// failures than the control group. The median of a hypergeometric distribution is its mean, rounded down or up.
#[must_use]
pub fn no_worse(patched: Failures, control: Failures) -> bool {
    u128::from(patched.failed) * u128::from(control.of) <= u128::from(control.failed) * u128::from(patched.of)
}

/// How probable are so few failures, or fewer, where each observation fails with `rate` basis points? Of more than
/// [`OBSERVATIONS_MAX`] observations so many are reckoned with, which makes the result larger, never smaller.
#[must_use]
pub fn so_few(seen: Failures, rate: u32) -> Probability {
    let n = u32::try_from(seen.of.min(OBSERVATIONS_MAX)).unwrap_or(u32::MAX);
    let Some(a) = u32::try_from(seen.failed).ok().filter(|a| *a < n) else { return Probability::certain() };
    let (whole, sum) = up_to(n, a, rate);
    Probability { part: sum, whole }
}

/// How probable are so many failures, or more, where each observation fails with `rate` basis points? `None` for more than
/// [`OBSERVATIONS_MAX`] observations.
#[must_use]
pub fn so_many(seen: Failures, rate: u32) -> Option<Probability> {
    let n = u32::try_from(seen.of).ok().filter(|n| u64::from(*n) <= OBSERVATIONS_MAX)?;
    let a = u32::try_from(seen.failed).ok().filter(|a| *a <= n)?;
    let Some(below) = a.checked_sub(1) else { return Some(Probability::certain()) };
    let (whole, sum) = up_to(n, below, rate);
    Some(Probability { part: whole.minus(&sum), whole })
}

/// The binomial distribution of `n` up to and with `a`, as (whole, sum).
fn up_to(n: u32, a: u32, rate: u32) -> (Natural, Natural) {
    let rate = rate.min(WHOLE);
    let shared = common(rate, WHOLE);
    let (fails, whole) = (rate / shared, WHOLE / shared);
    let holds = whole - fails;
    let sum_of_all = Natural::power(whole, n);
    if holds == 0 {
        return (sum_of_all.clone(), if a == n { sum_of_all } else { Natural::zero() });
    }
    let mut term = Natural::power(holds, n);
    let mut sum = term.clone();
    for at in 0..a {
        term.times(n - at);
        term.over(at + 1);
        term.times(fails);
        term.over(holds);
        sum.add(&term);
    }
    (sum_of_all, sum)
}

/// The greatest common divisor.
fn common(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common(b, a % b) }
}

/// In how many ways `k` of `n` can be chosen.
fn choose(n: u32, k: u32) -> Natural {
    let mut ways = Natural::one();
    scale(&mut ways, n, k);
    ways
}

/// Multiplies by C(n, k). After each step the number is a multiple of a binomial coefficient: no division leaves a rest.
fn scale(number: &mut Natural, n: u32, k: u32) {
    for at in 0..k {
        number.times(n - at);
        number.over(at + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(failed: u64, of: u64) -> Failures {
        Failures { failed, of }
    }

    fn is(p: &Probability, part: u64, whole: u64) -> bool {
        p.at_most(part, whole) && !p.at_most(part * 1_000_000 - 1, whole * 1_000_000)
    }

    /// Fisher, The Design of Experiments (1935), chapter II: eight cups, four with the milk in first.
    #[test]
    fn a_lady_tasting_tea() {
        assert!(is(&fisher(of(4, 4), of(0, 4)).unwrap(), 1, 70), "all eight right");
        assert!(is(&fisher(of(3, 4), of(1, 4)).unwrap(), 17, 70), "Agresti, Categorical Data Analysis, 3.5: 0.243");
        assert!(is(&fisher(of(0, 4), of(4, 4)).unwrap(), 70, 70));
    }

    /// Convicted twins of convicts (Fisher 1935, The logic of inductive inference): the manual of R's `fisher.test` shows the
    /// table with `alternative = "less"`, p = 0.0004652. With its columns exchanged that is the upper tail.
    #[test]
    fn convicts_and_their_twins() {
        let p = fisher(of(10, 13), of(2, 17)).unwrap();
        assert_eq!(p.millionths(), 466);
    }

    #[test]
    fn a_level_that_is_met_exactly_is_met() {
        let p = fisher(of(3, 3), of(0, 3)).unwrap();
        assert!(is(&p, 1, 20) && p.at_most(500, 10_000) && !p.at_most(499, 10_000));
        assert!(so_few(of(0, 2), 5_000).at_most(2_500, 10_000));
        assert!(!so_few(of(0, 2), 5_000).at_most(2_499, 10_000));
    }

    #[test]
    fn binomial_tails_are_the_known_ones() {
        assert!(is(&so_few(of(0, 5), 3_000), 16_807, 100_000), "0.7^5");
        assert!(is(&so_few(of(1, 3), 5_000), 4, 8));
        assert!(is(&so_many(of(2, 3), 5_000).unwrap(), 4, 8));
        assert_eq!(so_many(of(1, 10), 100).unwrap().millionths(), 95_618, "1 - 0.99^10 = 0.0956179...");
        assert!(is(&so_many(of(0, 7), 100).unwrap(), 1, 1) && is(&so_few(of(7, 7), 100), 1, 1));
        assert_eq!((so_few(of(6, 7), 10_000).millionths(), so_few(of(6, 7), 0).millionths()), (0, 1_000_000));
    }

    #[test]
    fn limits_hold_and_err_on_the_safe_side() {
        assert!(fisher(of(400, 1_000), of(101, 1_000)).is_none());
        assert!(fisher(of(2, 1), of(0, 5)).is_none() && fisher(of(1, 1), of(0, 0)).is_none());
        assert!(so_many(of(1, OBSERVATIONS_MAX + 1), 100).is_none());
        let capped = so_few(of(3, 1_000_000), 100);
        assert_eq!(capped, so_few(of(3, OBSERVATIONS_MAX), 100));
        assert!(is(&so_few(of(OBSERVATIONS_MAX, 1_000_000), 100), 1, 1));
    }

    /// All tables of up to 7 and 7: the tail is the sum of the point probabilities, reckoned in another way, and the short
    /// cut never hides what would be significant.
    #[test]
    fn small_tables_agree_with_counting() {
        let ways = |n: u64, k: u64| (0..k).fold(1, |ways, at| ways * (n - at) / (at + 1));
        for (n, m) in (1..=7).flat_map(|n| (1..=7).map(move |m| (n, m))) {
            for (a, c) in (0..=n).flat_map(|a| (0..=m).map(move |c| (a, c))) {
                let k = a + c;
                let tail: u64 = (a..=n.min(k)).filter(|x| k - x <= m).map(|x| ways(n, x) * ways(m, k - x)).sum();
                let whole = ways(n + m, k);
                let p = fisher(of(a, n), of(c, m)).unwrap();
                assert!(is(&p, tail, whole), "{a} of {n}, {c} of {m}");
                assert!(!no_worse(of(a, n), of(c, m)) || 2 * tail >= whole, "{a} of {n}, {c} of {m}");
            }
        }
    }
}
