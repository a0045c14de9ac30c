use std::{
    collections::VecDeque,
    fs::File,
    sync::atomic::{AtomicU64, Ordering},
};

use wardround_chunks::{CUT_MAX, Packer, cut};
use wardround_rollout_plans::model::{RolloutId, Severity};

use super::*;

/// What the controller may answer, honest or not.
#[derive(Clone, Default)]
struct Shop(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    chunks: HashMap<Digest, Came>,
    /// What was asked for, one after the other.
    asked: Vec<Digest>,
    afresh: bool,
    /// After so many chunks the line is cut.
    left: Option<usize>,
}

struct Line(Shop, VecDeque<Digest>);

impl Source for Shop {
    type Stream = Line;

    async fn ask(&self, digests: &[Digest], afresh: bool) -> Result<Line, FetchError> {
        let mut state = self.0.lock().unwrap();
        state.asked.extend(digests);
        state.afresh = afresh;
        Ok(Line(self.clone(), digests.iter().copied().collect()))
    }
}

impl Coming for Line {
    async fn next(&mut self) -> Result<Option<Came>, FetchError> {
        let mut state = self.0.0.lock().unwrap();
        if let Some(left) = &mut state.left {
            *left = left.checked_sub(1).ok_or_else(|| FetchError::Unreachable("the line is cut".to_owned()))?;
        }
        Ok(self.1.pop_front().and_then(|digest| state.chunks.get(&digest).cloned()))
    }
}

impl Shop {
    fn of(builds: &[&[u8]]) -> Self {
        let shop = Self::default();
        let mut packer = Packer::new().unwrap();
        for chunk in builds.iter().flat_map(|bytes| cut(*bytes, bytes.len() as u64)).map(Result::unwrap) {
            let packed = packer.pack(&chunk);
            let came = Came { packed: packed.is_some(), data: packed.unwrap_or_else(|| chunk.clone()).into() };
            shop.state().chunks.insert(Digest::of(&chunk), came);
        }
        shop
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn take_asked(&self) -> Vec<Digest> {
        std::mem::take(&mut self.state().asked)
    }
}

fn payload(bytes: &[u8]) -> Payload {
    let chunks: Vec<Vec<u8>> = cut(bytes, bytes.len() as u64).collect::<io::Result<_>>().unwrap();
    Payload {
        file_name: "kb.exe".to_owned(),
        digest: Digest::of(bytes),
        length: bytes.len() as u64,
        chunks: chunks.iter().map(|chunk| Digest::of(chunk)).collect(),
        sizes: chunks.iter().map(|chunk| u32::try_from(chunk.len()).unwrap()).collect(),
    }
}

fn claim() -> Claim {
    Claim { rollout: RolloutId::new("r1").unwrap(), severity: Severity::High }
}

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

/// Half of it without a pattern, half text.
fn build(seed: u64) -> Vec<u8> {
    let text: Vec<u8> = (0..100_000).flat_map(|n| format!("line {n} of {seed}\n").into_bytes()).collect();
    [noise(1 << 20, seed), text, noise(1 << 20, seed + 1000)].concat()
}

fn open(dir: &tempfile::TempDir) -> Cache {
    limited(dir, Rules { size_max: 1 << 40, limit: Limit::None })
}

fn limited(dir: &tempfile::TempDir, rules: Rules) -> Cache {
    Cache::open(dir.path(), Arc::new(move || rules)).unwrap()
}

async fn brings(cache: &Cache, payload: &Payload, shop: &Shop, bytes: &[u8]) {
    let path = cache.bring(payload, shop, &claim()).await.unwrap();
    assert!(fs::read(path).unwrap() == bytes);
}

#[tokio::test]
async fn a_payload_comes_once_chunk_by_chunk() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, bytes) = (open(&dir), build(1));
    let (wanted, shop) = (payload(&bytes), Shop::of(&[&bytes]));
    assert!(shop.state().chunks.values().any(|came| came.packed));
    brings(&cache, &wanted, &shop, &bytes).await;
    let mut asked = shop.take_asked();
    asked.sort_unstable();
    let mut chunks = wanted.chunks.clone();
    chunks.sort_unstable();
    assert_eq!(asked, chunks);
    brings(&cache, &wanted, &shop, &bytes).await;
    assert!(shop.take_asked().is_empty() && fs::read_dir(dir.path().join("parts")).unwrap().count() == 0);
}

#[tokio::test]
async fn a_chunk_that_stands_in_many_places_comes_once() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, bytes) = (open(&dir), vec![0; 5 * CUT_MAX]);
    let (wanted, shop) = (payload(&bytes), Shop::of(&[&bytes]));
    brings(&cache, &wanted, &shop, &bytes).await;
    assert_eq!(shop.take_asked().len(), 1);
}

#[tokio::test]
async fn a_payload_of_equal_chunks_comes_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, bytes) = (open(&dir), build(2));
    let chunks: Vec<&[u8]> = bytes.chunks(256 * 1024).collect();
    let wanted =
        Payload { chunks: chunks.iter().map(|c| Digest::of(c)).collect(), sizes: Vec::new(), ..payload(&bytes) };
    let shop = Shop::default();
    for chunk in chunks {
        shop.state().chunks.insert(Digest::of(chunk), Came { data: chunk.to_vec().into(), packed: false });
    }
    brings(&cache, &wanted, &shop, &bytes).await;
}

#[tokio::test]
async fn a_cut_line_and_a_restart_cost_only_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, bytes) = (open(&dir), build(3));
    let (wanted, shop) = (payload(&bytes), Shop::of(&[&bytes]));
    let half = wanted.chunks.len() / 2;
    shop.state().left = Some(half);
    let cut = cache.bring(&wanted, &shop, &claim()).await.unwrap_err();
    assert!(matches!(cut, CacheError::Fetch(FetchError::Unreachable(_))), "{cut}");
    drop(cache);
    let cache = open(&dir);
    shop.take_asked();
    shop.state().left = None;
    // The disk has changed one of those that had come.
    let part = dir.path().join("parts").join(wanted.digest.hex());
    let mut halves = fs::read(&part).unwrap();
    halves[10] ^= 1;
    fs::write(&part, halves).unwrap();
    brings(&cache, &wanted, &shop, &bytes).await;
    let asked = shop.take_asked();
    assert!(asked.contains(&wanted.chunks[0]) && asked.len() < wanted.chunks.len(), "{} asked for", asked.len());
}

#[tokio::test]
async fn what_waits_for_the_line_goes_on_where_it_was_unless_it_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, bytes) = (open(&dir), build(11));
    let (wanted, shop) = (payload(&bytes), Shop::of(&[&bytes]));
    for gone in [false, true] {
        shop.state().left = Some(3);
        assert!(cache.bring(&wanted, &shop, &claim()).await.is_err());
        if gone {
            fs::remove_file(dir.path().join("parts").join(wanted.digest.hex())).unwrap();
        }
    }
    shop.take_asked();
    shop.state().left = None;
    brings(&cache, &wanted, &shop, &bytes).await;
    assert_eq!(shop.take_asked().len(), wanted.chunks.len());
    assert!(cache.known().begun.is_empty());
}

#[tokio::test]
async fn nothing_that_was_not_signed_comes_in_whatever_the_controller_sends() {
    let bytes = build(4);
    let wanted = payload(&bytes);
    let last = *wanted.chunks.last().unwrap();
    let plain = cut(bytes.as_slice(), bytes.len() as u64).last().unwrap().unwrap();
    let text = cut(bytes.as_slice(), bytes.len() as u64)
        .map(Result::unwrap)
        .find(|c| Packer::new().unwrap().pack(c).is_some())
        .unwrap();
    let packed = |bytes: &[u8]| Packer::new().unwrap().pack(bytes).unwrap();
    let mut flipped = plain.clone();
    flipped[7] ^= 1;
    let raw = |data: &[u8]| Came { data: data.to_vec().into(), packed: false };
    let frame = |data: Vec<u8>| Came { data: data.into(), packed: true };
    let lies = [
        ("another digest", raw(&flipped)),
        ("bytes; ", raw(&plain[1..])),
        ("bytes; ", raw(b"")),
        ("at most 1048576 are accepted", raw(&vec![0; 2 << 20])),
        ("no zstd frame", frame(plain.clone())),
        ("packed bytes say that they become", frame(packed(&text))),
        // A bomb: 64 MiB in some KiB.
        ("packed bytes say that they become", frame(packed(&vec![0; 64 << 20]))),
        ("came packed", frame(packed(&vec![0; 64 << 20])[..2000].to_vec())),
    ];
    for (why, came) in lies {
        let dir = tempfile::tempdir().unwrap();
        let (cache, shop) = (open(&dir), Shop::of(&[&bytes]));
        let honest = shop.state().chunks.insert(last, came).unwrap();
        let refused = cache.bring(&wanted, &shop, &claim()).await.unwrap_err();
        let why = why.replace("another digest", "came with digest");
        assert!(matches!(&refused, CacheError::Corrupt(text) if text.contains(&why)), "{why}: {refused}");
        assert!(!cache.payload(&wanted.digest).exists() && !shop.state().afresh);
        // The controller is to read its own anew; what was right is not fetched again.
        shop.state().chunks.insert(last, honest);
        shop.take_asked();
        brings(&cache, &wanted, &shop, &bytes).await;
        assert!(shop.state().afresh && shop.take_asked().len() < wanted.chunks.len());
    }
    // One chunk less than was asked for.
    let dir = tempfile::tempdir().unwrap();
    let (cache, shop) = (open(&dir), Shop::of(&[&bytes]));
    shop.state().chunks.remove(&last);
    let silent = cache.bring(&wanted, &shop, &claim()).await.unwrap_err();
    assert!(matches!(silent, CacheError::Fetch(FetchError::Unreachable(_))), "{silent}");
}

#[tokio::test]
async fn a_document_that_contradicts_itself_brings_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, bytes) = (open(&dir), build(5));
    let shop = Shop::of(&[&bytes]);
    let wanted = Payload { digest: Digest::of(b"other"), ..payload(&bytes) };
    for _ in 0..2 {
        let refused = cache.bring(&wanted, &shop, &claim()).await.unwrap_err();
        assert!(matches!(&refused, CacheError::Corrupt(text) if text.contains("once put together")), "{refused}");
    }
    assert!(!cache.payload(&wanted.digest).exists());
    let crooked = Payload { sizes: vec![1; 3], ..payload(&bytes) };
    assert!(matches!(cache.bring(&crooked, &shop, &claim()).await, Err(CacheError::Corrupt(_))));
}

/// The law in small: 5 % of the content changed, and some bytes inserted, costs less than 10 % of the bytes.
#[tokio::test]
async fn a_newer_build_costs_little_more_than_what_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, old) = (open(&dir), noise(16 << 20, 6));
    let mut new = old.clone();
    for (at, bytes) in [(1, 5_000), (3, 40_001), (6, 300_000), (11, 494_000)] {
        let at = at << 20;
        new[at..at + bytes].copy_from_slice(&noise(bytes, at as u64));
    }
    for at in [4, 14] {
        let at = at << 20;
        new.splice(at..at, noise(1_001, at as u64));
    }
    let shop = Shop::of(&[&old, &new]);
    brings(&cache, &payload(&old), &shop, &old).await;
    shop.take_asked();
    // Also after a restart.
    let (cache, wanted) = (open(&dir), payload(&new));
    brings(&cache, &wanted, &shop, &new).await;
    let asked = shop.take_asked();
    let cost: usize = asked.iter().map(|digest| shop.state().chunks[digest].data.len()).sum();
    assert!(cost * 10 < new.len(), "{cost} of {} bytes were fetched", new.len());
    assert!(cost * 20 > new.len(), "{cost} bytes are too few to be true");
}

#[tokio::test]
async fn an_index_that_is_torn_or_lies_costs_only_a_fetch() {
    let (old, mut new) = (build(7), build(7));
    new.splice(9_000..9_000, *b"inserted");
    let index = |dir: &tempfile::TempDir| dir.path().join("payloads").join(Digest::of(&old).hex() + ".index");
    type Harm = fn(Vec<u8>) -> Vec<u8>;
    let harms: [Harm; 6] = [
        |_| Vec::new(),
        |bytes| bytes[..bytes.len() - 5].to_vec(),
        |bytes| b"garbage".iter().chain(&bytes).copied().collect(),
        // Lengths that are none, and places that are not those.
        |mut bytes| {
            bytes[40..44].copy_from_slice(&[0xff; 4]);
            bytes
        },
        |mut bytes| {
            bytes[40..44].copy_from_slice(&[1, 0, 0, 0]);
            bytes
        },
        |mut bytes| {
            bytes[8..].chunks_exact_mut(36).for_each(|entry| entry[..32].reverse());
            bytes
        },
    ];
    for harm in harms {
        let dir = tempfile::tempdir().unwrap();
        let (cache, shop) = (open(&dir), Shop::of(&[&old, &new]));
        brings(&cache, &payload(&old), &shop, &old).await;
        shop.take_asked();
        fs::write(index(&dir), harm(fs::read(index(&dir)).unwrap())).unwrap();
        let wanted = payload(&new);
        brings(&cache, &wanted, &shop, &new).await;
        assert!(shop.take_asked().len() > wanted.chunks.len() / 2);
    }
    // The older build itself has changed on the disk: nothing of what has changed is taken.
    let dir = tempfile::tempdir().unwrap();
    let (cache, shop) = (open(&dir), Shop::of(&[&old, &new]));
    brings(&cache, &payload(&old), &shop, &old).await;
    let path = cache.payload(&Digest::of(&old));
    let rotten: Vec<u8> = fs::read(&path).unwrap().iter().map(|byte| !byte).collect();
    fs::write(&path, rotten).unwrap();
    shop.take_asked();
    brings(&cache, &payload(&new), &shop, &new).await;
    assert_eq!(shop.take_asked().len(), payload(&new).chunks.len());
}

#[tokio::test]
async fn a_payload_that_the_disk_has_changed_is_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, bytes) = (open(&dir), build(8));
    let (wanted, shop) = (payload(&bytes), Shop::of(&[&bytes]));
    brings(&cache, &wanted, &shop, &bytes).await;
    let mut rotten = bytes.clone();
    rotten[100] ^= 1;
    fs::write(cache.payload(&wanted.digest), rotten).unwrap();
    brings(&cache, &wanted, &shop, &bytes).await;
}

#[tokio::test]
async fn devices_that_want_the_same_share_one_fetch() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, bytes) = (open(&dir), build(9));
    let (wanted, shop) = (payload(&bytes), Shop::of(&[&bytes]));
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (cache, wanted, shop) = (cache.clone(), wanted.clone(), shop.clone());
        all.spawn(async move { cache.bring(&wanted, &shop, &claim()).await });
    }
    while let Some(brought) = all.join_next().await {
        brought.unwrap().unwrap();
    }
    assert_eq!(shop.take_asked().len(), wanted.chunks.len());
}

#[tokio::test]
async fn the_site_says_when_and_how_fast() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = build(10);
    let (wanted, shop) = (payload(&bytes), Shop::of(&[&bytes]));
    let closed = limited(&dir, Rules { size_max: 1 << 40, limit: Limit::Closed { until: Some(Timestamp(0)) } });
    let refused = closed.bring(&wanted, &shop, &claim()).await.unwrap_err();
    assert!(refused.to_string().ends_with("it may again from 1970-01-01T00:00:00Z on"), "{refused}");
    assert!(shop.take_asked().is_empty());
    // A limit that changes while it is obeyed: the second half comes without any.
    let looks = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&looks);
    let rules = move || {
        let limit = if seen.fetch_add(1, Ordering::SeqCst) < 8 { Limit::Rate(1 << 30) } else { Limit::None };
        Rules { size_max: 1 << 40, limit }
    };
    let cache = Cache::open(dir.path(), Arc::new(rules)).unwrap();
    brings(&cache, &wanted, &shop, &bytes).await;
    assert!(looks.load(Ordering::SeqCst) > 2);
    // What is here needs no line.
    brings(&closed, &wanted, &shop, &bytes).await;
}

#[tokio::test]
async fn old_payloads_make_room_but_never_one_that_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    let builds: Vec<Vec<u8>> = (20..24).map(build).collect();
    let shop = Shop::of(&builds.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let size = builds[0].len() as u64;
    // Room for two and a half.
    let cache = limited(&dir, Rules { size_max: size * 5 / 2, limit: Limit::None });
    let wanted: Vec<Payload> = builds.iter().map(|bytes| payload(bytes)).collect();
    let there = || -> Vec<bool> { wanted.iter().map(|payload| cache.payload(&payload.digest).exists()).collect() };
    cache.need(BTreeSet::from([wanted[0].digest]));
    for (payload, bytes) in wanted.iter().zip(&builds).take(3) {
        brings(&cache, payload, &shop, bytes).await;
        let file = File::options().write(true).open(cache.payload(&payload.digest)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(bytes.len() as u64))
            .unwrap();
    }
    assert_eq!(there(), [true, false, true, false], "the oldest is needed");
    // Needed all: more than there may be, and yet they stay.
    cache.need(wanted.iter().map(|payload| payload.digest).collect());
    brings(&cache, &wanted[1], &shop, &builds[1]).await;
    cache.tidy();
    assert_eq!(there(), [true, true, true, false]);
    cache.need(BTreeSet::from([wanted[1].digest]));
    cache.tidy();
    assert_eq!(there().iter().filter(|there| **there).count(), 2);
    assert!(there()[1]);
    let indices = fs::read_dir(dir.path().join("payloads")).unwrap();
    assert_eq!(indices.count(), 4, "two payloads, each with its index");
}

#[tokio::test]
async fn what_was_under_way_goes_when_nobody_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, bytes) = (open(&dir), build(30));
    let (wanted, shop) = (payload(&bytes), Shop::of(&[&bytes]));
    shop.state().left = Some(3);
    assert!(cache.bring(&wanted, &shop, &claim()).await.is_err());
    let part = dir.path().join("parts").join(wanted.digest.hex());
    cache.need(BTreeSet::from([wanted.digest]));
    cache.tidy();
    assert!(part.exists());
    // Somebody brings it.
    cache.need(BTreeSet::new());
    let turn = cache.turn(&wanted.digest).lock_owned().await;
    cache.tidy();
    assert!(part.exists());
    drop(turn);
    cache.tidy();
    assert!(!part.exists());
}

#[test]
fn nothing_is_left_behind_by_a_process_that_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("payloads")).unwrap();
    fs::create_dir_all(dir.path().join("chunks")).unwrap();
    for left in ["payloads/.tmpA", "chunks/abc"] {
        fs::write(dir.path().join(left), b"ha").unwrap();
    }
    open(&dir);
    assert!(!dir.path().join("payloads/.tmpA").exists() && !dir.path().join("chunks").exists());
}
