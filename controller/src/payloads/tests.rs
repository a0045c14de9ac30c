use std::time::{Duration, SystemTime};

use wardround_chunks::Packer;

use super::*;

fn store() -> (tempfile::TempDir, Payloads) {
    let dir = tempfile::tempdir().unwrap();
    let store = Payloads::open(dir.path(), 0).unwrap();
    (dir, store)
}

fn put(store: &Payloads, data: &[u8]) -> (Digest, bool) {
    let new = store.put_all(vec![Kept { data: data.to_vec(), packed: false }]).unwrap();
    (Digest::of(data), new == 1)
}

fn text() -> (Vec<u8>, Kept) {
    let plain = "wardround ".repeat(6_000).into_bytes();
    let packed = Packer::new().unwrap().pack(&plain).unwrap();
    (plain, Kept { data: packed, packed: true })
}

#[test]
fn a_chunk_goes_round_and_a_flipped_bit_is_found_and_mended() {
    let (_dir, store) = store();
    let (digest, new) = put(&store, b"payload");
    assert!(new && store.has(&digest));
    assert!(!put(&store, b"payload").1);
    assert_eq!(store.get(&digest).unwrap(), b"payload");
    let path = store.path(&digest, Form::Plain);
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = store.get(&digest).unwrap_err();
    assert!(matches!(error, PayloadError::Damaged { .. }), "{error}");
    assert!(put(&store, b"payload").1, "stored anew");
    assert_eq!(store.get(&digest).unwrap(), b"payload");
}

#[test]
fn a_packed_chunk_is_one_with_its_plain_bytes() {
    let (_dir, store) = store();
    let (plain, packed) = text();
    let digest = Digest::of(&plain);
    assert_eq!(store.put_all(vec![packed.clone()]).unwrap(), 1);
    assert!(fs::metadata(store.path(&digest, Form::Packed)).unwrap().len() < 1_000);
    assert!(store.has(&digest) && store.get(&digest).unwrap() == plain);
    assert_eq!(store.serve(&digest, true, false).unwrap(), packed);
    assert_eq!(store.serve(&digest, true, true).unwrap(), packed);
    // A node of before takes it plain.
    assert_eq!(store.serve(&digest, false, false).unwrap(), Kept { data: plain.clone(), packed: false });
    assert!(!put(&store, &plain).1, "it is here already");
    // Damaged where it lies: found by whoever reads it anew, and mended in either form.
    let path = store.path(&digest, Form::Packed);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert!(matches!(store.serve(&digest, true, true), Err(PayloadError::Damaged { .. })));
    assert!(matches!(store.serve(&digest, true, false), Err(PayloadError::Damaged { .. })), "no longer known as sound");
    assert!(put(&store, &plain).1);
    assert!(!path.exists() && store.get(&digest).unwrap() == plain);
}

#[test]
fn a_store_of_before_is_readable() {
    let (dir, store) = store();
    let digest = Digest::of(b"of an older version");
    fs::write(dir.path().join(&digest.hex()[..2]).join(digest.hex()), b"of an older version").unwrap();
    assert_eq!(store.get(&digest).unwrap(), b"of an older version");
    assert!(!store.serve(&digest, true, false).unwrap().packed);
}

#[test]
fn what_is_no_packed_chunk_is_refused_and_what_came_before_it_stays() {
    let (_dir, store) = store();
    let (plain, packed) = text();
    let bad = |data: Vec<u8>| vec![Kept { data: plain.clone(), packed: false }, Kept { data, packed: true }];
    let mut torn = packed.data.clone();
    torn.truncate(torn.len() - 1);
    for data in [b"garbage".to_vec(), torn, bomb()] {
        let refused = store.put_all(bad(data)).unwrap_err();
        assert!(matches!(refused, PayloadError::Packed(_)), "{refused}");
    }
    assert!(store.has(&Digest::of(&plain)));
    // Nothing, and more than a chunk may hold.
    let empty = Kept { data: Vec::new(), packed: false };
    assert!(matches!(store.put_all(vec![empty]), Err(PayloadError::Size(0))));
}

/// 16 MiB of one byte in some hundred bytes.
fn bomb() -> Vec<u8> {
    let mut packer = Packer::new().unwrap();
    packer.pack(&vec![0; 16 * 1024 * 1024]).unwrap()
}

#[test]
fn every_folder_is_there_from_the_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let store = Payloads::open(&dir.path().join("payloads"), 0).unwrap();
    for n in 0..64_u8 {
        let digest = Digest::of(&[n]);
        assert!(store.path(&digest, Form::Plain).parent().unwrap().is_dir(), "{digest}");
    }
    store.settle(&[Digest::of(b"a"), Digest::of(b"b")]).unwrap();
}

#[test]
fn limits_hold() {
    let dir = tempfile::tempdir().unwrap();
    let full = Payloads::open(dir.path(), u64::MAX).unwrap();
    let chunk = |bytes: usize| vec![Kept { data: vec![0; bytes], packed: false }];
    assert!(matches!(full.put_all(chunk(1)), Err(PayloadError::DiskFull { .. })));
    let (dir, store) = store();
    assert!(matches!(store.put_all(chunk(CHUNK_BYTES_MAX + 1)), Err(PayloadError::Size(_))));
    assert!(matches!(store.get(&Digest::of(b"absent")), Err(PayloadError::NotFound(_))));
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn the_sweep_takes_only_what_nobody_names_and_no_import_waits_for() {
    let (_dir, store) = store();
    let chunks: Vec<Digest> = [&b"named"[..], b"held", b"forgotten", b"new"].iter().map(|c| put(&store, c).0).collect();
    let (plain, packed) = text();
    store.put_all(vec![packed]).unwrap();
    let age = |digest: &Digest, form: Form, hours: u64| {
        let file = fs::OpenOptions::new().write(true).open(store.path(digest, form)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    };
    chunks[..3].iter().for_each(|digest| age(digest, Form::Plain, 25));
    age(&Digest::of(&plain), Form::Packed, 25);
    // An import is told that it is here.
    assert_eq!(store.hold(&[chunks[1], Digest::of(b"absent")]).unwrap(), [Digest::of(b"absent")]);
    let swept = store.sweep(SystemTime::now(), &|digest| *digest == chunks[0]).unwrap();
    assert_eq!(swept.files, 2);
    let there: Vec<bool> = chunks.iter().map(|digest| store.has(digest)).collect();
    assert_eq!(there, [true, true, false, true]);
    assert!(!store.has(&Digest::of(&plain)));
    assert!(matches!(store.serve(&chunks[2], true, false), Err(PayloadError::NotFound(_))));
    // Where a document can't be read nothing is known to be unnamed.
    assert_eq!(store.sweep(SystemTime::now() + Duration::from_secs(90_000), &|_| true).unwrap().files, 0);
}
