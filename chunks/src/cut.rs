//! Where a payload is cut: FastCDC (Xia and others, USENIX ATC 2016; the form of 2020 that rolls two bytes at a time).

use std::io::{self, Read};

use fastcdc::v2020::{Error, Normalization, StreamCDC};

/// Most bytes of a chunk: as those of fixed size have always had.
pub const CUT_MAX: usize = 256 * 1024;
/// Payloads of up to so many bytes are cut finely: two builds share more. Of a longer one the list of chunks must still fit
/// into the signed document: so there are some 33,000 at most, which take 2.8 MB of it. A payload that grows beyond this is
/// fetched as a whole once.
pub const CUT_FINELY: u64 = 1024 * 1024 * 1024;
/// Least bytes of a chunk but the last, finely and coarsely.
pub const CUT_MIN: (usize, usize) = (8 * 1024, 16 * 1024);
/// Bytes of a chunk on average, about, finely and coarsely.
pub const CUT_AVERAGE: (usize, usize) = (32 * 1024, 64 * 1024);

/// Every importer must cut alike, or nothing is shared: the parameters are these for ever. Another set would be another
/// function beside this one, and the payloads of before would be fetched once more.
const LEVEL: Normalization = Normalization::Level1;
/// The gear table as the crate ships it.
const SEED: u64 = 0;

/// The chunks of a payload, one after the other; one is in memory at a time.
pub struct Cuts<R: Read>(StreamCDC<R>);

/// Cuts a payload of `length` bytes, which `source` yields.
pub fn cut<R: Read>(source: R, length: u64) -> Cuts<R> {
    let (min, average) = match length {
        ..=CUT_FINELY => (CUT_MIN.0, CUT_AVERAGE.0),
        _ => (CUT_MIN.1, CUT_AVERAGE.1),
    };
    Cuts(StreamCDC::with_level_and_seed(source, min, average, CUT_MAX, LEVEL, SEED))
}

impl<R: Read> Iterator for Cuts<R> {
    /// The bytes of a chunk, 1 to [`CUT_MAX`].
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.next()? {
            Ok(chunk) => Some(Ok(chunk.data)),
            Err(Error::Empty) => None,
            Err(Error::IoError(error)) => Some(Err(error)),
            Err(Error::Other(text)) => Some(Err(io::Error::other(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Bytes without a pattern, the same on every machine (splitmix64).
    fn noise(bytes: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut data: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| next().to_le_bytes()).collect();
        data.truncate(bytes);
        data
    }

    fn all(data: &[u8]) -> Vec<Vec<u8>> {
        cut(data, data.len() as u64).collect::<io::Result<_>>().unwrap()
    }

    /// A new version of the crate that cut elsewhere would make every site fetch everything once more.
    #[test]
    fn cuts_are_where_they_have_always_been() {
        let data = noise(1024 * 1024, 1);
        let lengths =
            |length| -> Vec<usize> { cut(data.as_slice(), length).map(|chunk| chunk.unwrap().len()).collect() };
        assert_eq!(lengths(CUT_FINELY), FINE);
        assert_eq!(lengths(CUT_FINELY + 1), COARSE);
        // All alike: only the longest chunks.
        let lengths: Vec<usize> = all(&vec![0; 600 * 1024]).iter().map(Vec::len).collect();
        assert_eq!(lengths, [CUT_MAX, CUT_MAX, 600 * 1024 - 2 * CUT_MAX]);
    }

    const FINE: [usize; 26] = [
        28_128, 82_036, 41_896, 28_543, 84_194, 13_958, 38_180, 60_483, 11_346, 40_219, 36_535, 48_151, 44_182, 27_009,
        38_128, 75_754, 28_980, 51_262, 33_292, 19_198, 17_610, 33_142, 19_437, 34_360, 56_268, 56_285,
    ];
    const COARSE: [usize; 16] = [
        28_128, 87_550, 64_925, 67_788, 30_364, 38_273, 50_371, 101_085, 100_168, 79_822, 94_750, 68_129, 37_731,
        77_250, 65_957, 56_285,
    ];

    #[test]
    fn chunks_make_up_the_whole_and_keep_their_limits() {
        for bytes in [1, 5, CUT_MIN.0 - 1, CUT_MIN.0, CUT_MIN.0 + 1, CUT_MAX + 1, 3 * 1024 * 1024 + 7] {
            let data = noise(bytes, 2);
            let chunks = all(&data);
            assert!(chunks.concat() == data, "{bytes}");
            let (last, others) = chunks.split_last().unwrap();
            assert!(
                others.iter().all(|c| (CUT_MIN.0..=CUT_MAX).contains(&c.len())) && (1..=CUT_MAX).contains(&last.len())
            );
        }
        assert!(all(&[]).is_empty());
    }

    #[test]
    fn an_insertion_changes_only_the_chunks_around_it() {
        let data = noise(8 * 1024 * 1024, 3);
        let known: HashSet<Vec<u8>> = all(&data).into_iter().collect();
        for inserted in [1, 2, 4097] {
            let mut newer = data.clone();
            newer.splice(3_000_001..3_000_001, noise(inserted, 4));
            let fresh: usize = all(&newer).iter().filter(|c| !known.contains(*c)).map(Vec::len).sum();
            assert!(fresh <= 3 * CUT_MAX, "{inserted}: {fresh} bytes are new");
        }
    }

    #[test]
    fn a_source_that_fails_says_so() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("torn"))
            }
        }
        let failed = cut(noise(100, 5).as_slice().chain(Broken), 200).collect::<io::Result<Vec<_>>>().unwrap_err();
        assert_eq!(failed.to_string(), "torn");
    }
}
