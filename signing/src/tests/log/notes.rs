//! Notes, checkpoints and cosignatures.

use crate::{
    Digest, SecretKey, Signer as _,
    log::{Checkpoint, Cosignature, LogError, LogKey, Note, NoteKey, NoteKind, SignedCheckpoint, Witness},
};

/// The example of c2sp.org/signed-note.
const EXAMPLE_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const EXAMPLE_NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo \
     Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
/// The example of c2sp.org/tlog-cosignature: its form, since its keys are not given.
const EXAMPLE_COSIGNED: &str = "example.com/behind-the-sofa\n20852163\n\
     CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
     \u{2014} example.com/behind-the-sofa \
     Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
     \u{2014} witness.example.com/w1 \
     jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn checkpoint(size: u64, signer: &SecretKey) -> SignedCheckpoint {
    SignedCheckpoint::sign(size, Digest::of(b"root"), signer).unwrap()
}

#[test]
fn the_specifications_example_is_read_and_verifies() {
    let key = NoteKey::parse(EXAMPLE_KEY).unwrap();
    assert_eq!((key.name(), hex::encode(key.id())), ("example.com/foo", "530d903a".to_owned()));
    assert_eq!(key.vkey(), EXAMPLE_KEY);
    let note = Note::parse(EXAMPLE_NOTE.as_bytes()).unwrap();
    assert_eq!((note.text.as_str(), note.write().as_str()), ("This is an example message.\n", EXAMPLE_NOTE));
    assert!(key.key().verifies(note.text.as_bytes(), &note.signatures[0].bytes));
}

#[test]
fn the_example_of_a_cosigned_checkpoint_is_read() {
    let note = Note::parse(EXAMPLE_COSIGNED.as_bytes()).unwrap();
    let lengths: Vec<usize> = note.signatures.iter().map(|s| s.bytes.len()).collect();
    assert_eq!((lengths, note.write().as_str()), (vec![64, 72], EXAMPLE_COSIGNED));
    assert_eq!(SignedCheckpoint::claimed_origin(EXAMPLE_COSIGNED.as_bytes()).unwrap(), "example.com/behind-the-sofa");
}

#[test]
fn verifier_keys_with_a_wrong_id_type_or_key_are_refused() {
    let wrong_id = EXAMPLE_KEY.replace("530d903a", "530d903b");
    let wrong_name = EXAMPLE_KEY.replace("example.com/foo", "example.com/fox");
    let wrong_type = EXAMPLE_KEY.replace("+Aek", "+Bek");
    for bad in [wrong_id.as_str(), &wrong_name, &wrong_type, "a+b", "", &EXAMPLE_KEY[..40]] {
        assert!(matches!(NoteKey::parse(bad), Err(LogError::VerifierKey(_))), "{bad}");
    }
    for bad in ["", "a b", "a+b", "a\u{2003}b", "a\nb"] {
        let refused = NoteKey::new(bad, NoteKind::Ed25519, key(1).public());
        assert!(matches!(refused, Err(LogError::KeyName(_))), "{bad:?}");
    }
}

#[test]
fn notes_of_another_form_are_refused() {
    let good = checkpoint(5, &key(1)).note().to_owned();
    let too_many = format!("{good}{}", good.lines().last().map(|l| format!("{l}\n")).unwrap().repeat(64));
    for bad in [
        "",
        "\n\n",
        "text\n",
        "text\n\n",
        "text\n\n\u{2014} name\n",
        "text\n\n\u{2014} na+me AAAAAAAA\n",
        "text\n\n\u{2014} name AAAA\n",
        "text\n\n\u{2014} name AAAAAA==\n",
        "text\n\n- name AAAAAAAAAAA=\n",
        "text\n\n\u{2014} name !!!!\n",
        &good.replace('\n', "\r\n"),
        good.trim_end(),
        &format!("{good}more\n"),
        &format!("{good}\n"),
        &too_many,
        &format!("{}{good}", "x\n".repeat(10_000)),
    ] {
        assert!(matches!(Note::parse(bad.as_bytes()), Err(LogError::Note(_))), "{bad:.80}");
    }
    assert!(matches!(Note::parse(b"\xff\n\n"), Err(LogError::Note(_))));
}

#[test]
fn a_checkpoint_goes_round_and_only_its_own_log_has_signed_it() {
    let (log, other) = (key(1), key(2));
    let signed = checkpoint(70_000, &log);
    let log_key = LogKey::new(log.public()).unwrap();
    assert!(signed.note().starts_with(&format!("wardround/log/{}\n70000\n", hex::encode(log.public().to_bytes()))));
    assert_eq!(SignedCheckpoint::open(signed.note().as_bytes(), &log_key).unwrap(), signed);
    assert_eq!(LogKey::claimed_by(log_key.origin()).unwrap(), log_key);
    assert!(LogKey::claimed_by(&log_key.origin().to_uppercase()).is_err());
    assert!(LogKey::claimed_by("example.com/log").is_err());

    let other_key = LogKey::new(other.public()).unwrap();
    let refused = SignedCheckpoint::open(signed.note().as_bytes(), &other_key);
    assert!(matches!(refused, Err(LogError::Origin { .. })));
    // The origin of one log under the signature of another.
    let note = Note::parse(signed.note().as_bytes()).unwrap();
    let foreign = Note::parse(checkpoint(70_000, &other).note().as_bytes()).unwrap();
    let mixed = Note { text: note.text.clone(), signatures: foreign.signatures };
    assert!(matches!(SignedCheckpoint::open(mixed.write().as_bytes(), &log_key), Err(LogError::Unsigned(_))));
    for (from, to) in [("\n70000\n", "\n70001\n"), ("\n70000\n", "\n7000\n")] {
        let altered = signed.note().replace(from, to);
        assert!(matches!(SignedCheckpoint::open(altered.as_bytes(), &log_key), Err(LogError::Altered(_))), "{to:?}");
    }
}

#[test]
fn checkpoints_have_one_spelling_only() {
    let log = key(1);
    let log_key = LogKey::new(log.public()).unwrap();
    let text = checkpoint(7, &log).checkpoint().text();
    let root = text.lines().nth(2).unwrap().to_owned();
    for bad in [
        text.replace("\n7\n", "\n07\n"),
        text.replace("\n7\n", "\n+7\n"),
        text.replace("\n7\n", "\n-7\n"),
        text.replace("\n7\n", "\n18446744073709551616\n"),
        text.replace("\n7\n", "\n\n"),
        text.replace(&root, root.trim_end_matches('=')),
        text.replace(&root, "AAAA"),
        format!("{text}an extension\n"),
        text.lines().take(2).map(|l| format!("{l}\n")).collect(),
    ] {
        // Signed by the very key, so that only the form is at fault.
        let note_key = NoteKey::new(log_key.origin(), NoteKind::Ed25519, log.public()).unwrap();
        let line = crate::log::NoteSignature {
            name: note_key.name().to_owned(),
            id: note_key.id(),
            bytes: log.sign(bad.as_bytes()).unwrap().to_vec(),
        };
        let note = Note { text: bad.clone(), signatures: vec![line] }.write();
        let refused = SignedCheckpoint::open(note.as_bytes(), &log_key);
        assert!(matches!(refused, Err(LogError::Checkpoint(_) | LogError::Note(_))), "{bad:?}: {refused:?}");
    }
}

#[test]
fn lines_of_others_are_ignored_and_a_second_one_of_the_same_key_is_refused() {
    let log = key(1);
    let log_key = LogKey::new(log.public()).unwrap();
    let signed = checkpoint(3, &log);
    let cosigned = Witness::of_site("rx1", key(3).public()).unwrap().cosign(signed.checkpoint(), 9, &key(3)).unwrap();
    let witness_line = cosigned.note().lines().last().unwrap().to_owned();
    let both = format!("{}{witness_line}\n", signed.note());
    assert_eq!(SignedCheckpoint::open(both.as_bytes(), &log_key).unwrap(), signed, "and only its own line is kept");
    let own_line = signed.note().lines().last().unwrap();
    let twice = format!("{}{own_line}\n", signed.note());
    assert!(matches!(SignedCheckpoint::open(twice.as_bytes(), &log_key), Err(LogError::Note(_))));
}

#[test]
fn a_cosignature_holds_its_time_its_witness_and_its_checkpoint() {
    let node = key(3);
    let witness = Witness::of_site("rx1", node.public()).unwrap();
    let signed = checkpoint(12, &key(1));
    let cosigned = witness.cosign(signed.checkpoint(), 1_679_315_147, &node).unwrap();
    let read = Cosignature::open(cosigned.note().as_bytes(), &witness).unwrap();
    assert_eq!((read.at_s(), read.checkpoint()), (1_679_315_147, signed.checkpoint()));
    // The line that is signed, to the letter.
    let message = format!("cosignature/v1\ntime 1679315147\n{}", signed.checkpoint().text());
    let line = Note::parse(cosigned.note().as_bytes()).unwrap().signatures.remove(0);
    assert!(node.public().verifies(message.as_bytes(), &line.bytes[8..]));
    assert_eq!(line.bytes[..8], 1_679_315_147_u64.to_be_bytes());

    let elsewhere = Witness::of_site("rx2", node.public()).unwrap();
    assert!(matches!(Cosignature::open(cosigned.note().as_bytes(), &elsewhere), Err(LogError::Unsigned(_))));
    let another = cosigned.note().replace("\n12\n", "\n13\n");
    assert!(matches!(Cosignature::open(another.as_bytes(), &witness), Err(LogError::Altered(_))));
    let mut later = line.clone();
    later.bytes[7] += 1;
    let note = Note { text: signed.checkpoint().text(), signatures: vec![later] }.write();
    assert!(matches!(Cosignature::open(note.as_bytes(), &witness), Err(LogError::Altered(_))));
    // The log's own signature is no cosignature, and a cosignature is none of the log.
    assert!(Cosignature::open(signed.note().as_bytes(), &witness).is_err());
    let log_key = LogKey::new(key(1).public()).unwrap();
    assert!(matches!(SignedCheckpoint::open(cosigned.note().as_bytes(), &log_key), Err(LogError::Unsigned(_))));
}

#[test]
fn an_empty_log_has_a_checkpoint_too() {
    let signed = SignedCheckpoint::sign(0, Digest::of(b""), &key(1)).unwrap();
    let Checkpoint { size, .. } = signed.checkpoint();
    assert_eq!(*size, 0);
    assert!(signed.note().contains("\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"));
}
