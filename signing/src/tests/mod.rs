//! Published vectors, attacks on envelopes and anchors, key files of other programs.

mod anchors;
mod envelopes;
mod key_files;
mod log;
mod merkle;
mod vectors;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{Document, Role, SecretKey, Signer as _, TrustAnchor, TrustedKey};

/// A document of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    text: String,
}

impl Document for Order {
    const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.test-order.v1+json";
    const BYTES_MAX: usize = 200;
}

/// A document of another kind that looks exactly the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Directive {
    text: String,
}

impl Document for Directive {
    const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.test-directive.v1+json";
    const BYTES_MAX: usize = 200;
}

fn order() -> Order {
    Order { text: "halt".to_owned() }
}

/// The same key for the same number.
fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn trusted(key: &SecretKey, holder: &str, roles: &[Role]) -> TrustedKey {
    TrustedKey { key: key.public(), holder: holder.to_owned(), roles: BTreeSet::from_iter(roles.iter().copied()) }
}

/// 1 Ann release · 2 Ben clinical · 3 Cem on-call · 4 Dee release and clinical · 5 and 6 Eve's two keys, one for each role.
fn anchor() -> TrustAnchor {
    TrustAnchor::new(vec![
        trusted(&key(1), "Ann", &[Role::Release]),
        trusted(&key(2), "Ben", &[Role::Clinical]),
        trusted(&key(3), "Cem", &[Role::OnCall]),
        trusted(&key(4), "Dee", &[Role::Release, Role::Clinical]),
        trusted(&key(5), "Eve Park", &[Role::Release]),
        trusted(&key(6), " eve  PARK", &[Role::Clinical]),
    ])
    .unwrap()
}
