//! What a device says of itself, and how it differs from what is known of it.
//!
//! | part | does |
//! |---|---|
//! | `ask` | one look at a device: every question, within its time |
//! | `windows`, `unix` | what is asked of each, and what the answers mean; the answers are read by pure functions |
//! | `drift` | pure: what differs from what is known, since when, and what has ended |
//! | `shelf` | what is known of each device, on disk and never in memory |
//! | `keeper` | when to look, never while somebody works on the device; what the controller is told |
//! | `now` | a person on the node's machine asks |
//!
//! **Invariant:** nothing here changes a device, and nothing that is found makes anything else act. A person decides.

mod ask;
mod drift;
mod keeper;
mod now;
mod shelf;
mod unix;
mod windows;

use std::time::Duration;

use wardround_proto::v1::InventoryFacts;

pub(crate) use keeper::{Keeper, Standing, StandingPatch, Standings};
pub use now::{InventoryAsk, inventory};

/// Longest look at one device: a dozen questions, each of which has its own limit.
const LOOK_MAX: Duration = Duration::from_secs(5 * 60);
/// Most updates that are kept of a device: a Windows 7 with every update has some 400.
const UPDATES_MAX: usize = 2_000;
/// Most products: a workstation has some hundred.
const PRODUCTS_MAX: usize = 500;
/// Most patches of one product.
const PRODUCT_PATCHES_MAX: usize = 32;
/// Most packages of a Linux device.
const PACKAGES_MAX: usize = 3_000;
/// Most disks.
const DISKS_MAX: usize = 32;
/// Most write filters, restart reasons and unanswered questions.
const FEW_MAX: usize = 16;
/// Longest text of a device that is kept, bytes.
const TEXT_BYTES_MAX: usize = 200;
/// Most bytes of the facts of one device: the controller takes 256 KiB with all else.
const FACTS_BYTES_MAX: usize = 200 * 1024;

/// A device's words as they are kept: on one line, without control characters, and not too long.
fn clean(text: &str) -> String {
    let mut kept = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !kept.is_empty() {
            kept.push(' ');
        }
        kept.push_str(word);
        if kept.len() > TEXT_BYTES_MAX {
            break;
        }
    }
    let end = (0..=TEXT_BYTES_MAX.min(kept.len())).rev().find(|at| kept.is_char_boundary(*at)).unwrap_or(0);
    kept.truncate(end);
    kept
}

/// The first `max` of a list, and how many are left out.
fn bounded<T>(mut list: Vec<T>, max: usize) -> (Vec<T>, u32) {
    let left_out = list.len().saturating_sub(max);
    list.truncate(max);
    (list, u32::try_from(left_out).unwrap_or(u32::MAX))
}

/// Shortens the lists until the whole is small enough; what is left out is counted.
fn fit(facts: &mut InventoryFacts) {
    use prost::Message as _;
    while facts.encoded_len() > FACTS_BYTES_MAX {
        let longest = facts.packages.len().max(facts.products.len()).max(facts.updates.len());
        let cut = |length: usize| length.div_ceil(8);
        if longest == 0 {
            return;
        } else if facts.packages.len() == longest {
            let cut = cut(longest);
            facts.packages.truncate(longest - cut);
            facts.packages_left_out = facts.packages_left_out.saturating_add(u32::try_from(cut).unwrap_or(u32::MAX));
        } else if facts.products.len() == longest {
            let cut = cut(longest);
            facts.products.truncate(longest - cut);
            facts.products_left_out = facts.products_left_out.saturating_add(u32::try_from(cut).unwrap_or(u32::MAX));
        } else {
            let cut = cut(longest);
            facts.updates.truncate(longest - cut);
            facts.updates_left_out = facts.updates_left_out.saturating_add(u32::try_from(cut).unwrap_or(u32::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use wardround_proto::v1::{InstalledPackage, InstalledProduct};

    use super::*;

    #[test]
    fn a_device_s_words_are_one_short_line() {
        assert_eq!(clean("  Windows\r\n XP\t\u{1b}[2K "), "Windows XP [2K");
        assert!(clean(&"ä".repeat(500)).len() <= TEXT_BYTES_MAX);
        assert_eq!(bounded(vec![1, 2, 3], 2), (vec![1, 2], 1));
    }

    proptest! {
        #[test]
        fn whatever_a_device_says_fits(text in ".{0,400}", products in 0_usize..500, packages in 0_usize..3_000) {
            let word = clean(&text);
            prop_assert!(word.len() <= TEXT_BYTES_MAX && !word.chars().any(char::is_control));
            let product = InstalledProduct { name: word.clone(), patches: vec![word.clone(); 32], ..Default::default() };
            let package = InstalledPackage { name: word, ..Default::default() };
            let mut facts = InventoryFacts {
                products: vec![product; products],
                packages: vec![package; packages],
                ..Default::default()
            };
            fit(&mut facts);
            prop_assert!(facts.encoded_len() <= FACTS_BYTES_MAX);
            prop_assert_eq!(facts.products.len() + facts.products_left_out as usize, products);
            prop_assert_eq!(facts.packages.len() + facts.packages_left_out as usize, packages);
        }
    }
}
