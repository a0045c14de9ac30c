//! Randomness from a seed, the same on every machine for ever: `SplitMix64` (Steele, Lea, Flood: "Fast splittable
//! pseudorandom number generators", OOPSLA 2014), whose few lines can be read.

use crate::model::Percent;

/// The golden ratio in 64 bits: the increment of the generator.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// A generator. Two with the same seed say the same.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    /// A generator for one purpose: what is drawn here moves nothing that is drawn elsewhere.
    #[must_use]
    pub fn of(seed: u64, purpose: u64, thing: u64) -> Self {
        Self(mix(mix(seed ^ purpose.wrapping_mul(GAMMA)) ^ thing))
    }

    /// Any 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// 0 to `n` - 1, evenly; 0 where `n` is 0. The bias of the product (Lemire 2019) is below 2^-32 for all that is asked.
    pub fn below(&mut self, n: u64) -> u64 {
        u64::try_from((u128::from(self.bits()) * u128::from(n)) >> 64).unwrap_or(0)
    }

    /// True in this share of all cases.
    pub fn chance(&mut self, share: Percent) -> bool {
        self.below(10_000) < u64::from(share.basis_points())
    }

    /// From `least` to `most`, near `least` more often: the square of an even draw, so that the median lies a quarter of the
    /// way up. Most things take about as long as they usually do, and a few take very long.
    pub fn within(&mut self, least: u64, most: u64) -> u64 {
        let even = self.bits() >> 32;
        let squared = (even * even) >> 32;
        let room = most.saturating_sub(least);
        least + u64::try_from((u128::from(room) * u128::from(squared)) >> 32).unwrap_or(0)
    }

    /// A waiting time for something that happens once in `mean` on the average and remembers nothing (exponential, by
    /// inversion; the logarithm is taken in whole numbers so that every machine says the same).
    pub fn wait(&mut self, mean: u64) -> u64 {
        let draw = self.bits() | 1;
        // -ln(u) = ln 2 · -log2(u), with u = draw / 2^64.
        let whole = u64::from(draw.leading_zeros());
        let fraction = log2_fraction(draw << draw.leading_zeros());
        let bits = (whole << 16) + (0x1_0000 - fraction);
        // ln 2 in 16 bits of fraction.
        let nats = u128::from(bits) * 45_426;
        u64::try_from((u128::from(mean) * nats) >> 32).unwrap_or(u64::MAX)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The 16 fractional bits of log2 of a number whose first bit is set, read as 1.x: one bit for each squaring.
fn log2_fraction(normal: u64) -> u64 {
    let mut x = normal >> 32;
    let mut bits = 0;
    for _ in 0..16 {
        // x is 1.x with 31 bits of fraction, so its square has 62.
        x = (x * x) >> 31;
        bits <<= 1;
        if x >> 32 != 0 {
            bits |= 1;
            x >>= 1;
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that the generator's authors give for this state.
    #[test]
    fn the_same_seed_says_the_same_for_ever() {
        let mut random = Random(1_234_567);
        let wanted = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.bits(), random.bits(), random.bits()], wanted);
    }

    #[test]
    fn draws_are_as_wide_and_as_frequent_as_they_say() {
        let mut random = Random::new(7);
        let n = 20_000_u64;
        let (mut sum, mut yes) = (0, 0);
        for _ in 0..n {
            assert!(random.below(6) < 6);
            let draw = random.within(100, 500);
            assert!((100..=500).contains(&draw));
            sum += random.wait(1_000);
            yes += u64::from(random.chance(Percent::from_basis_points(250).unwrap()));
        }
        // Five standard errors of each mean.
        let mean = sum / n;
        assert!((960..1040).contains(&mean), "{mean}");
        assert!((445..555).contains(&yes), "{yes}");
        assert_eq!((random.below(0), random.within(5, 5), random.within(9, 3)), (0, 5, 9));
    }

    #[test]
    fn half_of_what_is_drawn_lies_in_the_first_quarter() {
        let mut random = Random::new(3);
        let low = (0..10_000).filter(|_| random.within(0, 1_000) < 250).count();
        assert!((4_700..5_300).contains(&low), "{low}");
    }
}
