//! Payloads for benchmarks, and newer builds of them.

use std::{
    fs::File,
    io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    path::Path,
};

/// splitmix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, bytes: u64) -> Vec<u8> {
        let mut data: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        data.truncate(usize::try_from(bytes).unwrap());
        data
    }

    /// From `least` to `most`, as likely to double as to halve.
    fn length(&mut self, (least, most): (u64, u64)) -> u64 {
        let share = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (least as f64 * (most as f64 / least as f64).powf(share)) as u64
    }
}

/// Bytes without a pattern: nothing is gained by packing them.
pub(crate) fn build(path: &Path, bytes: u64) {
    let mut noise = Noise(1);
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut left = bytes;
    while left > 0 {
        let next = left.min(1024 * 1024);
        file.write_all(&noise.bytes(next)).unwrap();
        left -= next;
    }
    file.flush().unwrap();
}

/// What was changed.
pub(crate) struct Changed {
    pub(crate) bytes: u64,
    pub(crate) places: u32,
}

/// A newer build: 5 % of the content in regions of so many KiB; every tenth place has a few bytes inserted besides.
pub(crate) fn change(old: &Path, new: &Path, kib: (u64, u64)) -> Changed {
    let mut source = File::open(old).unwrap();
    let total = source.metadata().unwrap().len();
    let mut noise = Noise(2);
    let mut lengths = Vec::new();
    while lengths.iter().sum::<u64>() < total / 20 {
        lengths.push(noise.length((kib.0 * 1024, kib.1 * 1024)).min(total / 20 - lengths.iter().sum::<u64>()).max(1));
    }
    // Spread over the file, each somewhere in its share of it.
    let share = total / lengths.len() as u64;
    let mut file = BufWriter::new(File::create(new).unwrap());
    let mut at = 0;
    let mut changed = Changed { bytes: 0, places: 0 };
    for (index, length) in lengths.into_iter().enumerate() {
        let begin = (index as u64 * share + noise.next() % share.saturating_sub(length).max(1)).max(at);
        copy(&mut source, &mut file, at, begin.min(total));
        let length = length.min(total.saturating_sub(begin));
        file.write_all(&noise.bytes(length)).unwrap();
        if index % 10 == 0 {
            file.write_all(b"an insertion").unwrap();
        }
        at = begin + length;
        changed.bytes += length;
        changed.places += 1;
    }
    copy(&mut source, &mut file, at, total);
    file.flush().unwrap();
    changed
}

fn copy(source: &mut File, to: &mut impl std::io::Write, from: u64, upto: u64) {
    source.seek(SeekFrom::Start(from)).unwrap();
    std::io::copy(&mut source.take(upto.saturating_sub(from)), to).unwrap();
}
