//! Natural numbers of any size, with as much arithmetic as tails of distributions need.

use std::cmp::Ordering;

/// A natural number: digits to the base 2^32, lowest first, none of them zero at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Natural(Vec<u32>);

impl Natural {
    pub(super) fn zero() -> Self {
        Self(Vec::new())
    }

    pub(super) fn one() -> Self {
        Self(vec![1])
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// Multiplies by a small number.
    pub(super) fn times(&mut self, by: u32) {
        let mut carry = 0_u64;
        for digit in &mut self.0 {
            // At most (2^32 - 1)^2 + 2^32 - 1, which is below 2^64.
            carry += u64::from(*digit) * u64::from(by);
            *digit = low(carry);
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(low(carry));
        }
        self.trim();
    }

    /// Divides by a small number that is not zero; the callers' divisions leave no rest.
    pub(super) fn over(&mut self, by: u32) {
        let mut rest = 0_u64;
        for digit in self.0.iter_mut().rev() {
            rest = (rest << 32) | u64::from(*digit);
            *digit = low(rest / u64::from(by));
            rest %= u64::from(by);
        }
        debug_assert_eq!(rest, 0, "a term of a distribution is a natural number");
        self.trim();
    }

    pub(super) fn add(&mut self, other: &Self) {
        let mut carry = 0_u64;
        self.0.resize(self.0.len().max(other.0.len()), 0);
        for (at, digit) in self.0.iter_mut().enumerate() {
            carry += u64::from(*digit) + u64::from(other.0.get(at).copied().unwrap_or(0));
            *digit = low(carry);
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(low(carry));
        }
    }

    /// What is left of it; zero where `other` is larger.
    pub(super) fn minus(&self, other: &Self) -> Self {
        if *self <= *other {
            return Self::zero();
        }
        let (mut left, mut borrow) = (self.clone(), 0_i64);
        for (at, digit) in left.0.iter_mut().enumerate() {
            let value = i64::from(*digit) - i64::from(other.0.get(at).copied().unwrap_or(0)) - borrow;
            borrow = i64::from(value < 0);
            *digit = low((value + (borrow << 32)).unsigned_abs());
        }
        left.trim();
        left
    }

    /// Its product with a number of up to 64 bits.
    pub(super) fn times_wide(&self, by: u64) -> Self {
        let mut wide = Self(vec![low(by), low(by >> 32)]);
        wide.trim();
        self.product(&wide)
    }

    fn product(&self, other: &Self) -> Self {
        let mut digits = vec![0_u32; self.0.len() + other.0.len()];
        for (at, a) in self.0.iter().enumerate() {
            let mut carry = 0_u64;
            for (digit, b) in digits[at..].iter_mut().zip(other.0.iter().chain([&0])) {
                // At most (2^32 - 1)^2 + 2 (2^32 - 1) = 2^64 - 1.
                carry += u64::from(*digit) + u64::from(*a) * u64::from(*b);
                *digit = low(carry);
                carry >>= 32;
            }
        }
        let mut product = Self(digits);
        product.trim();
        product
    }

    pub(super) fn power(base: u32, exponent: u32) -> Self {
        let (mut power, mut square, mut left) = (Self::one(), Self::one(), exponent);
        square.times(base);
        while left > 0 {
            if left & 1 == 1 {
                power = power.product(&square);
            }
            left >>= 1;
            if left > 0 {
                square = square.product(&square);
            }
        }
        power
    }
}

/// The lowest 32 bits.
fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn natural(value: u128) -> Natural {
        let mut natural = Natural((0..4).map(|at| low(((value >> (32 * at)) & u128::from(u32::MAX)) as u64)).collect());
        natural.trim();
        natural
    }

    proptest! {
        #[test]
        fn it_reckons_as_the_machine_does(a in 0..u128::MAX >> 33, b in 0..u128::MAX >> 33, small in 1..u32::MAX) {
            let mut sum = natural(a);
            sum.add(&natural(b));
            prop_assert_eq!(&sum, &natural(a + b));
            prop_assert_eq!(natural(a).minus(&natural(b)), natural(a.saturating_sub(b)));
            prop_assert_eq!(natural(a).cmp(&natural(b)), a.cmp(&b));
            let mut product = natural(a);
            product.times(small);
            prop_assert_eq!(&product, &natural(a * u128::from(small)));
            product.over(small);
            prop_assert_eq!(product, natural(a));
        }

        #[test]
        fn long_products_reckon_as_the_machine_does(a in 0..u64::MAX, b in 0..u64::MAX) {
            let product = u128::from(a) * u128::from(b);
            prop_assert_eq!(natural(a.into()).product(&natural(b.into())), natural(product));
        }

        #[test]
        fn a_power_is_a_product(base in 0..=10_000_u32, exponent in 0..200_u32) {
            let mut product = Natural::one();
            (0..exponent).for_each(|_| product.times(base));
            prop_assert_eq!(Natural::power(base, exponent), product);
        }
    }
}
