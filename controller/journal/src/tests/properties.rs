//! Properties over random records and random sequences of calls.

use proptest::prelude::*;

use super::{all, open};
use crate::layout;

/// What a caller may do.
#[derive(Debug, Clone)]
enum Call {
    Append(Vec<u8>),
    Sync,
    Snapshot,
    Reopen,
}

fn call() -> impl Strategy<Value = Call> {
    // Lengths around the edges of a part, where a mistake would sit.
    let length = prop_oneof![0..64_usize, 4_090..4_102_usize, 8_190..8_194_usize, 0..30_000_usize];
    prop_oneof![
        6 => (length, any::<u8>()).prop_map(|(n, b)| Call::Append((0..n).map(|i| b.wrapping_add(i as u8)).collect())),
        2 => Just(Call::Sync),
        1 => Just(Call::Snapshot),
        1 => Just(Call::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Against the simplest model there is: a list. After any calls, the newest snapshot and the records after it are the list.
    #[test]
    fn any_calls_leave_what_a_list_would_hold(calls in prop::collection::vec(call(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Some(open(dir.path()));
        let mut model: Vec<Vec<u8>> = Vec::new();
        let mut snapshots: Vec<u64> = Vec::new();
        for call in calls {
            let open_one = journal.as_ref().unwrap();
            match call {
                Call::Append(record) => {
                    model.push(record);
                    prop_assert_eq!(open_one.append(model.last().unwrap()).unwrap(), model.len() as u64);
                }
                Call::Sync => open_one.sync().unwrap(),
                Call::Snapshot => {
                    let seq = model.len() as u64;
                    open_one.put_snapshot(seq, &seq.to_be_bytes()).unwrap();
                    snapshots.push(seq);
                }
                Call::Reopen => {
                    drop(journal.take());
                    journal = Some(open(dir.path()));
                }
            }
        }
        let journal = journal.unwrap();
        prop_assert_eq!(journal.last_seq(), model.len() as u64);
        prop_assert_eq!(journal.latest_snapshot().unwrap().map(|(seq, _)| seq), snapshots.last().copied());
        snapshots.dedup();
        let oldest_kept = snapshots.iter().rev().nth(1).copied().unwrap_or(0);
        let expected: Vec<_> = (1..).zip(model).skip(usize::try_from(oldest_kept).unwrap()).collect();
        prop_assert_eq!(all(&journal, oldest_kept), expected);
    }

    #[test]
    fn parts_put_together_are_the_record(seq in 1..u64::MAX, record in prop::collection::vec(any::<u8>(), 0..20_000)) {
        let mut together = Vec::new();
        let mut ended = false;
        for (part, value) in layout::parts(seq, &record) {
            prop_assert!(!ended);
            let read = layout::parse_part(seq, part, &value).unwrap();
            prop_assert_eq!(read.record_bytes, record.len());
            together.extend_from_slice(read.content);
            ended = read.last;
        }
        prop_assert!(ended);
        prop_assert_eq!(together, record);
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(layout::parse_part(1, 0, &bytes).is_err());
        prop_assert!(layout::parse_snapshot(1, bytes.clone()).is_err());
        let _ = layout::parse_key(&bytes);
    }

    #[test]
    fn keys_sort_as_their_numbers_do(a in any::<(u64, u16)>(), b in any::<(u64, u16)>()) {
        prop_assert_eq!(layout::key(a.0, a.1).cmp(&layout::key(b.0, b.1)), a.cmp(&b));
        prop_assert_eq!(layout::parse_key(&layout::key(a.0, a.1)), Some(a));
    }
}
