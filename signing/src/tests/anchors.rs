//! Anchors that would let one person pass for two, or nobody sign.

use super::{anchor, key, trusted};
use crate::{AnchorError, HOLDER_BYTES_MAX, KEYS_MAX, Role, TrustAnchor, TrustedKey};

fn with(more: TrustedKey) -> Result<TrustAnchor, AnchorError> {
    TrustAnchor::new([anchor().keys(), &[more]].concat())
}

#[test]
fn one_key_under_two_names_is_refused() {
    let error = with(trusted(&key(1), "Zoe", &[Role::Clinical])).unwrap_err();
    let AnchorError::SharedKey { first, second, .. } = &error else { panic!("{error:?}") };
    assert_eq!((first.as_str(), second.as_str()), ("Ann", "Zoe"));
}

#[test]
fn names_must_tell_people_apart() {
    for bad in [
        "",
        "   ",
        "Ann\n",
        "A\u{200b}nn",
        "Ann\u{202e}",
        "\u{feff}Ann",
        "A\u{ad}nn",
        "Ann\u{2028}",
        "Ann\u{3164}",
        "Ann\u{fe0f}",
        "Ann\u{e0041}",
        &"x".repeat(HOLDER_BYTES_MAX + 1),
    ] {
        assert!(matches!(with(trusted(&key(9), bad, &[Role::Release])), Err(AnchorError::Holder(_))), "{bad:?}");
    }
    for fine in ["Zoë Müller-Ó Briain", "李小龍", &"x".repeat(HOLDER_BYTES_MAX)] {
        assert!(with(trusted(&key(9), fine, &[Role::Release])).is_ok(), "{fine:?}");
    }
}

#[test]
fn roles_of_machines_are_refused() {
    for bad in [&[][..], &[Role::Controller], &[Role::Release, Role::Node]] {
        assert!(matches!(with(trusted(&key(9), "Zoe", bad)), Err(AnchorError::Roles(_))), "{bad:?}");
    }
}

#[test]
fn two_people_must_be_able_to_sign() {
    let alone = |keys| TrustAnchor::new(keys);
    assert_eq!(alone(vec![trusted(&key(1), "Ann", &[Role::Release])]), Err(AnchorError::NoPair));
    assert_eq!(alone(vec![trusted(&key(1), "Ann", &[Role::Release, Role::Clinical])]), Err(AnchorError::NoPair));
    assert_eq!(
        alone(vec![trusted(&key(1), "Ann", &[Role::Release]), trusted(&key(2), "ANN ", &[Role::Clinical])]),
        Err(AnchorError::NoPair)
    );
    assert_eq!(alone(Vec::new()), Err(AnchorError::KeyCount(0)));
    let many = vec![trusted(&key(1), "Ann", &[Role::Release]); KEYS_MAX + 1];
    assert_eq!(alone(many), Err(AnchorError::KeyCount(KEYS_MAX + 1)));
}
