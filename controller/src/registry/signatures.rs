//! Gathering people's signatures on a patch or rollout document.

use wardround_signing::{Document, Envelope, Policy, Role, Signature, TrustAnchor, Verified, VerifyError, verify};

use super::event::Signed;

/// Roles that sign documents.
const SIGNING_ROLES: &[Role] = &[Role::Release, Role::Clinical];

/// Outcome of adding signatures.
#[derive(Debug)]
pub(crate) enum Gathered {
    /// Every signature was there already; nothing to write.
    Nothing,
    /// New ones, verified.
    New(Signed),
}

/// Why signatures were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    /// One of them does not count by itself.
    #[error("the signature by key {key} does not count: {why}")]
    One {
        /// Claimed key, shortened.
        key: String,
        /// Why.
        why: VerifyError,
    },
    /// Together they break the rule of two people.
    #[error("{0}")]
    Together(VerifyError),
}

/// Verifies `added` over the stored document, one by one, and says what all signatures amount to then.
pub(crate) fn gather<D: Document>(
    stored: &Envelope,
    added: &[Signature],
    anchor: &TrustAnchor,
) -> Result<Gathered, SignatureError> {
    let mut holders: Vec<String> = Vec::new();
    let mut fresh: Vec<Signature> = Vec::new();
    for signature in added {
        let alone = Envelope {
            payload_type: stored.payload_type.clone(),
            payload: stored.payload.clone(),
            signatures: vec![signature.clone()],
        };
        let verified: Verified<D> = verify(&alone, &Policy::any_of(anchor, SIGNING_ROLES))
            .map_err(|why| SignatureError::One { key: signature.keyid.short().to_owned(), why })?;
        let known = |s: &Signature| s.keyid == signature.keyid;
        if stored.signatures.iter().any(known) || fresh.iter().any(known) {
            continue;
        }
        holders.extend(verified.signers().iter().map(|s| s.holder.clone()));
        fresh.push(signature.clone());
    }
    let mut all = stored.clone();
    fresh.iter().for_each(|s| all.add(s.clone()));
    let ready = match verify::<D>(&all, &Policy::two_roles(anchor)) {
        Ok(_) => true,
        Err(VerifyError::Missing { .. }) => false,
        // One person whose single key holds both roles: a second person may still come.
        Err(VerifyError::OnePerson { .. }) if all.signatures.len() == 1 && !fresh.is_empty() => false,
        Err(why) => return Err(SignatureError::Together(why)),
    };
    if fresh.is_empty() {
        return Ok(Gathered::Nothing);
    }
    let roles = all
        .signatures
        .iter()
        .filter_map(|s| anchor.key(&s.keyid))
        .flat_map(|k| k.roles.iter().copied())
        .filter(|r| SIGNING_ROLES.contains(r))
        .collect();
    Ok(Gathered::New(Signed { signatures: fresh, holders, roles, ready }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::{Deserialize, Serialize};
    use wardround_signing::{SecretKey, Signer as _, TrustedKey};

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Note {
        text: String,
    }
    impl Document for Note {
        const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.note.v1+json";
        const BYTES_MAX: usize = 1000;
    }

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn trusted(seed: u8, holder: &str, roles: &[Role]) -> TrustedKey {
        TrustedKey { key: key(seed).public(), holder: holder.to_owned(), roles: roles.iter().copied().collect() }
    }

    fn anchor() -> TrustAnchor {
        TrustAnchor::new(vec![
            trusted(1, "Ann Lee", &[Role::Release]),
            trusted(2, "Ben Ode", &[Role::Clinical]),
            trusted(3, "ann  lee", &[Role::Clinical]),
            trusted(4, "Cy Dee", &[Role::Release, Role::Clinical]),
            trusted(5, "Di Eve", &[Role::OnCall]),
        ])
        .unwrap()
    }

    fn signature(envelope: &Envelope, seed: u8) -> Signature {
        let mut copy = envelope.clone();
        copy.sign(&key(seed)).unwrap();
        copy.signatures.pop().unwrap()
    }

    fn note() -> Envelope {
        Envelope::unsigned(&Note { text: "x".to_owned() }).unwrap()
    }

    fn signed(gathered: Gathered) -> Signed {
        match gathered {
            Gathered::New(signed) => signed,
            Gathered::Nothing => panic!("nothing new"),
        }
    }

    #[test]
    fn two_people_make_it_ready_and_a_repeat_changes_nothing() {
        let (anchor, mut stored) = (anchor(), note());
        let first = signed(gather::<Note>(&stored, &[signature(&stored, 1)], &anchor).unwrap());
        assert_eq!((first.ready, first.roles), (false, BTreeSet::from([Role::Release])));
        stored.add(signature(&stored, 1));
        assert!(matches!(gather::<Note>(&stored, &[signature(&stored, 1)], &anchor), Ok(Gathered::Nothing)));
        let second = signed(gather::<Note>(&stored, &[signature(&stored, 2)], &anchor).unwrap());
        assert_eq!((second.ready, second.holders), (true, vec!["Ben Ode".to_owned()]));
    }

    #[test]
    fn one_person_in_both_roles_is_refused_with_the_name() {
        let (anchor, mut stored) = (anchor(), note());
        stored.add(signature(&stored, 1));
        let error = gather::<Note>(&stored, &[signature(&stored, 3)], &anchor).unwrap_err();
        assert!(error.to_string().contains("two different people"), "{error}");
        // A key with both roles may sign first, but not be both.
        let mut stored = note();
        let first = signed(gather::<Note>(&stored, &[signature(&stored, 4)], &anchor).unwrap());
        assert!(!first.ready);
        stored.add(signature(&stored, 4));
        assert!(gather::<Note>(&stored, &[signature(&stored, 4)], &anchor).is_err());
        assert!(signed(gather::<Note>(&stored, &[signature(&stored, 2)], &anchor).unwrap()).ready);
    }

    #[test]
    fn strangers_wrong_roles_and_flipped_bits_are_named() {
        let (anchor, stored) = (anchor(), note());
        let refused = |s: Signature| gather::<Note>(&stored, &[s], &anchor).unwrap_err().to_string();
        assert!(refused(signature(&stored, 9)).contains("does not know"));
        assert!(refused(signature(&stored, 5)).contains("missing"));
        let mut flipped = signature(&stored, 1);
        flipped.sig[5] ^= 1;
        assert!(refused(flipped).contains("Ann Lee"));
    }
}
