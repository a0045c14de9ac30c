//! Everything that must not make a document count, and that the refusal says which thing it was.

use proptest::prelude::*;

use super::{Directive, Order, anchor, key, order};
use crate::{
    Document, Envelope, EnvelopeError, KeyId, Policy, PublicKey, Role, SIGNATURES_MAX, SignError, Signature, Signer,
    VerifyError, verify,
};

fn signed(by: &[u8]) -> Envelope {
    let mut envelope = Envelope::unsigned(&order()).unwrap();
    for number in by {
        envelope.sign(&key(*number)).unwrap();
    }
    envelope
}

fn people(envelope: &Envelope) -> Result<crate::Verified<Order>, VerifyError> {
    verify(envelope, &Policy::any_of(&anchor(), &Role::PEOPLE))
}

/// The whole sentence that a person would read.
fn refusal(by: &[u8], roles: &[Role]) -> String {
    verify::<Order>(&signed(by), &Policy::any_of(&anchor(), roles)).unwrap_err().to_string()
}

#[test]
fn everybody_who_signed_is_named() {
    for by in [[1, 2], [2, 1], [4, 2], [3, 6]] {
        let verified = people(&signed(&by)).unwrap();
        assert_eq!(verified.document(), &order());
        assert_eq!(verified.digest(), signed(&[]).digest());
        assert_eq!(verified.signers().len(), 2);
    }
}

#[test]
fn a_missing_role_is_named_with_what_is_there() {
    let (release, clinical) = ([Role::Release], [Role::Clinical]);
    assert_eq!(refusal(&[], &release), "a signature of the role release is missing; it carries no signature");
    assert_eq!(refusal(&[1], &clinical), "a signature of the role clinical is missing; signed by Ann (release)");
    assert_eq!(
        refusal(&[1, 3], &clinical),
        "a signature of the role clinical is missing; signed by Ann (release) and Cem (on-call)"
    );
    assert_eq!(
        refusal(&[1, 99], &clinical),
        "a signature of the role clinical is missing; signed by Ann (release) and by 1 unknown key(s)"
    );
    assert_eq!(
        refusal(&[98, 99], &release),
        "a signature of the role release is missing; its 2 signature(s) are by keys that the trust anchor does not know"
    );
    assert_eq!(
        refusal(&[1], &[Role::OnCall, Role::Clinical]),
        "a signature of the role on-call or clinical is missing; signed by Ann (release)"
    );
}

#[test]
fn one_key_twice_counts_once() {
    let mut envelope = signed(&[4]);
    envelope.signatures.push(envelope.signatures[0].clone());
    assert_eq!(people(&envelope).unwrap().signers().len(), 1);
    let mut envelope = signed(&[1]);
    envelope.sign(&key(1)).unwrap();
    assert_eq!(envelope.signatures.len(), 1);
    let mut envelope = signed(&[1, 2]);
    envelope.signatures.push(envelope.signatures[0].clone());
    assert_eq!(people(&envelope).unwrap().signers().len(), 2);
}

#[test]
fn a_signature_of_one_kind_of_document_never_counts_for_another() {
    let envelope = signed(&[1, 2]);
    let anchor = anchor();
    let policy = Policy::any_of(&anchor, &Role::PEOPLE);
    assert!(matches!(verify::<Directive>(&envelope, &policy), Err(VerifyError::PayloadType { .. })));
    // Nor does relabelling help: the type is under the signature.
    let relabelled = Envelope { payload_type: Directive::PAYLOAD_TYPE.to_owned(), ..envelope };
    assert!(matches!(verify::<Directive>(&relabelled, &policy), Err(VerifyError::Altered { .. })));
    // Nor a shift of the border between type and payload.
    let mut shifted = signed(&[1, 2]);
    shifted.payload_type.push(' ');
    assert!(matches!(people(&shifted), Err(VerifyError::PayloadType { .. })));
}

#[test]
fn machines_and_people_do_not_stand_in_for_each_other() {
    let (controller, node) = (key(50), key(51));
    let envelope = Envelope::seal(&order(), &controller).unwrap();
    assert!(verify::<Order>(&envelope, &Policy::controller(controller.public())).is_ok());
    for policy in [Policy::node(node.public()), Policy::any_of(&anchor(), &Role::PEOPLE)] {
        assert!(matches!(verify::<Order>(&envelope, &policy), Err(VerifyError::Missing { .. })));
    }
    let by_person = signed(&[1, 2]);
    assert!(matches!(
        verify::<Order>(&by_person, &Policy::controller(controller.public())),
        Err(VerifyError::Missing { .. })
    ));
}

#[test]
fn a_claimed_key_id_proves_nothing() {
    let mut envelope = signed(&[1, 99]);
    envelope.signatures[1].keyid = key(2).public().id();
    assert_eq!(
        people(&envelope).unwrap_err(),
        VerifyError::Altered { key: key(2).public().id(), holder: "Ben".to_owned() }
    );
    let mut envelope = signed(&[1, 2]);
    envelope.signatures[1].keyid = KeyId::claimed(&key(2).public().id().as_str().to_uppercase());
    assert_eq!(people(&envelope).unwrap().signers().len(), 1, "an id in another spelling is nobody's");
}

#[test]
fn limits_come_before_work() {
    let mut envelope = signed(&[1, 2]);
    let stranger = Signature { keyid: KeyId::claimed("nobody"), sig: vec![0; 64] };
    envelope.signatures.resize(SIGNATURES_MAX, stranger.clone());
    assert!(people(&envelope).is_ok());
    envelope.signatures.push(stranger);
    assert_eq!(people(&envelope).unwrap_err(), VerifyError::TooManySignatures(SIGNATURES_MAX + 1));

    let large = Order { text: "x".repeat(Order::BYTES_MAX) };
    assert!(matches!(Envelope::unsigned(&large), Err(EnvelopeError::TooLarge { .. })));
    let mut envelope = signed(&[]);
    envelope.payload = serde_json::to_vec(&large).unwrap();
    envelope.sign(&key(1)).unwrap();
    envelope.sign(&key(2)).unwrap();
    assert!(matches!(people(&envelope), Err(VerifyError::TooLarge { .. })));
    assert!(envelope.peek_unverified::<Order>().is_err());
}

#[test]
fn properly_signed_nonsense_is_refused() {
    for payload in [
        &b"{}"[..],
        b"",
        b"{\"text\":\"halt\",\"more\":1}",
        b"{\"text\":\"a\",\"text\":\"b\"}",
        b"{\"text\":\"halt\"} x",
    ] {
        let mut envelope = signed(&[]);
        envelope.payload = payload.to_vec();
        envelope.sign(&key(1)).unwrap();
        envelope.sign(&key(2)).unwrap();
        assert!(matches!(people(&envelope), Err(VerifyError::Json(_))), "{payload:?}");
        assert!(envelope.peek_unverified::<Order>().is_err());
    }
}

/// A broken device must not hand out an envelope that everyone will refuse.
#[test]
fn a_signer_that_signs_something_else_is_noticed() {
    struct Broken;
    impl Signer for Broken {
        fn public(&self) -> PublicKey {
            key(1).public()
        }
        fn sign(&self, _message: &[u8]) -> Result<[u8; 64], SignError> {
            key(2).sign(b"something else")
        }
    }
    assert!(matches!(Envelope::seal(&order(), &Broken), Err(EnvelopeError::Sign(_))));
}

#[test]
fn the_text_form_is_that_of_the_specification() {
    let envelope = signed(&[1]);
    let text = serde_json::to_value(&envelope).unwrap();
    assert_eq!(text["payloadType"], Order::PAYLOAD_TYPE);
    assert_eq!(text["payload"], "eyJ0ZXh0IjoiaGFsdCJ9");
    assert_eq!(text["signatures"][0]["keyid"], key(1).public().id().as_str());
    assert_eq!(serde_json::from_value::<Envelope>(text.clone()).unwrap(), envelope);
    let mut loose = text;
    loose["payload"] = "eyJ0ZXh0IjoiaGFsdCJ9====".into();
    assert!(serde_json::from_value::<Envelope>(loose).is_err(), "one payload, one base64");
}

#[test]
fn weak_keys_and_unsigned_documents_have_no_policy_to_pass() {
    // A signature that a key of small order would accept for any message: R the identity, S zero.
    let mut forged = signed(&[1]);
    let mut sig = vec![0; 64];
    sig[0] = 1;
    forged.add(Signature { keyid: key(2).public().id(), sig });
    assert!(matches!(people(&forged), Err(VerifyError::Altered { .. })));
    let only_release = [Role::Release];
    let anchor = anchor();
    let policy = Policy::any_of(&anchor, &only_release);
    assert!(verify::<Order>(&signed(&[]), &policy).is_err());
    assert!(verify::<Order>(&signed(&[1]), &Policy::any_of(&anchor, &[])).is_err(), "no role, nobody");
}

proptest! {
    /// Whatever bit of the payload or of a counted signature is changed, the document no longer counts.
    #[test]
    fn any_changed_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0..8_u8, part in 0..3_u8) {
        let mut envelope = signed(&[1, 2]);
        let bytes = match part {
            0 => &mut envelope.payload,
            1 => &mut envelope.signatures[0].sig,
            _ => &mut envelope.signatures[1].sig,
        };
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let refused = matches!(people(&envelope), Err(VerifyError::Altered { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn any_other_length_of_a_signature_is_refused(length in 0..200_usize) {
        prop_assume!(length != 64);
        let mut envelope = signed(&[1, 2]);
        envelope.signatures[1].sig.resize(length, 0);
        let refused = matches!(people(&envelope), Err(VerifyError::Altered { .. }));
        prop_assert!(refused);
    }

    #[test]
    fn two_borders_never_give_the_same_signed_bytes(a in ("[ -~]{0,12}", "[ -~]{0,12}"), b in ("[ -~]{0,12}", "[ -~]{0,12}")) {
        let pae = |(kind, payload): &(String, String)| {
            Envelope { payload_type: kind.clone(), payload: payload.clone().into_bytes(), signatures: Vec::new() }.pae()
        };
        prop_assert_eq!(pae(&a) == pae(&b), a == b);
    }
}
