//! Bytes: canonical JSON, key ids, moments, sizes.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn canonical_json_is_that_of_securesystemslib() {
    let value = json!({"b": [1, true, null, "a\"\\\n\u{7f}é"], "a": {"z": -1, "B": u64::MAX}});
    let expected = "{\"a\":{\"B\":18446744073709551615,\"z\":-1},\"b\":[1,true,null,\"a\\\"\\\\\n\u{7f}é\"]}";
    assert_eq!(canonical(&value).unwrap(), expected.as_bytes());
    for number in ["1.5", "1e3", "18446744073709551616", "-0.0"] {
        let value: Value = serde_json::from_str(number).unwrap();
        assert!(canonical(&value).is_err(), "{number}");
    }
}

/// The id was made by securesystemslib 1.6.
#[test]
fn key_ids_are_those_of_securesystemslib() {
    let key = TufKey::new(public(1), Some("Ada"));
    assert_eq!(key.keyval.public, "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c");
    assert_eq!(key.id().as_str(), KEY_ID_1);
    assert_eq!(key.id(), TufKey::new(public(1), None).id(), "the holder is no part of the id");
}

/// The id of key 1, computed by securesystemslib.
const KEY_ID_1: &str = "7ab6b86cb2c9684b0ddc10896153aa2595decf4d4327a5ff1a8ab7422c828b12";

#[test]
fn moments_have_one_spelling() {
    assert_eq!(NOW.to_string(), "2026-11-24T09:30:00Z");
    assert_eq!("2024-02-29T23:59:59Z".parse::<Moment>().unwrap().to_string(), "2024-02-29T23:59:59Z");
    for text in [
        "2023-02-29T00:00:00Z",
        "2026-11-24 09:30:00Z",
        "2026-11-24T09:30:00+00:00",
        "2026-11-24T24:00:00Z",
        "",
        "1969-12-31T23:59:59Z",
        "2026-11-24T09:30:00.5Z",
        "+026-11-24T09:30:00Z",
        "２026-11-24T09:30:00Z",
    ] {
        assert!(text.parse::<Moment>().is_err(), "{text:?}");
    }
}

#[test]
fn files_beyond_their_limits_are_not_read() {
    let long = vec![b' '; usize::try_from(RoleName::Timestamp.bytes_max()).unwrap() + 1];
    assert!(matches!(Signed::<Timestamp>::parse(RoleName::Timestamp, &long), Err(TufError::TooLarge { .. })));
    let deep = format!("{{\"signatures\":[],\"signed\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    assert!(matches!(Signed::<Root>::parse(RoleName::Root, deep.as_bytes()), Err(TufError::Form { .. })));
    let mut signed = Signed::new(Targets::listing(NOW)).unwrap();
    for number in 0..=u8::try_from(SIGNATURES_MAX).unwrap() {
        signed.sign(&key(number)).unwrap();
    }
    assert!(matches!(Signed::<Targets>::parse(RoleName::Release, &signed.to_bytes()), Err(TufError::Form { .. })));
}

#[test]
fn what_this_program_does_not_know_stays_under_the_signature() {
    let mut value = serde_json::to_value(Root::new(NOW)).unwrap();
    value["x-later"] = json!({"a": [1]});
    value["roles"]["root"]["x-note"] = json!("n");
    let file = json!({"signatures": [], "signed": value.clone()});
    let signed = Signed::<Root>::parse(RoleName::Root, file.to_string().as_bytes()).unwrap();
    assert_eq!(signed.canonical(), canonical(&value).unwrap());
    let next = Signed::new(next_version(signed.metadata(), NOW)).unwrap();
    let text = String::from_utf8(next.to_bytes()).unwrap();
    assert!(text.contains("x-later") && text.contains("x-note"), "{text}");
}

#[test]
fn a_signature_of_something_else_is_not_attached() {
    let (one, mut two) = (Signed::new(Root::new(NOW)).unwrap(), Signed::new(Targets::top(NOW)).unwrap());
    let signature = crate::Signer::sign(&key(1), one.canonical()).unwrap();
    assert!(matches!(two.attach(&TufKey::new(public(1), None), &signature), Err(TufError::Sign(_))));
    assert!(two.signatures().is_empty());
}

#[test]
fn copies_signed_apart_become_one() {
    let mut one = Signed::new(Root::new(NOW)).unwrap();
    let mut two = one.clone();
    one.sign(&key(1)).unwrap();
    two.sign(&key(2)).unwrap();
    one.merge(&two).unwrap();
    assert_eq!(one.signatures().len(), 2);
    assert!(one.merge(&Signed::new(Root::new(NOW.plus_seconds(1))).unwrap()).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into())
        ]
    })
}

proptest! {
    /// Ours and the client's canonical forms are the same: what we sign is what it verifies.
    #[test]
    fn canonical_json_is_that_of_the_client(value in any_json()) {
        let theirs = sigstore_tuf::canonical_json::to_canonical_bytes(&value).unwrap();
        prop_assert_eq!(canonical(&value).unwrap(), theirs);
    }

    #[test]
    fn moments_survive_their_text(seconds in 0_i64..=253_402_300_799) {
        let moment = Moment::from_ms(seconds * 1000);
        prop_assert_eq!(moment.to_string().parse::<Moment>().unwrap(), moment);
        prop_assert_eq!(moment.ms(), seconds * 1000);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Signed::<Root>::parse(RoleName::Root, &bytes);
        let _ = Standing::begin(&bytes);
        let _ = Images::from_files(&bytes, &Files::new(), &Floors::default(), NOW);
    }

    #[test]
    fn one_changed_byte_anywhere_changes_nothing_that_is_believed(
        file in 0_usize..6, at in any::<prop::sample::Index>(), flip in 1_u8..=255,
    ) {
        let mut world = World::new();
        world.agree("patches/KB1.json", b"p");
        let honest = world.read().unwrap();
        let pinned = world.pinned().to_vec();
        let name = world.files.keys().filter(|n| !n.starts_with("1.") || n.contains("root")).nth(file % 5).unwrap().clone();
        let bytes = world.files.get_mut(&name).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Ok(images) = Images::from_files(&pinned, &world.files, &Floors::default(), NOW) {
            prop_assert_eq!(images.all_agreed(), honest.all_agreed());
            prop_assert_eq!(images.controller_key(), honest.controller_key());
            prop_assert_eq!(images.people(), honest.people());
        }
    }
}
