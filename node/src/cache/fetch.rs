//! Fetching what is missing: several calls at once over the one connection, each for a few chunks, each chunk verified on its own.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::task::{JoinHandle, JoinSet};
use wardround_signing::Digest;

use super::{Cache, CacheError, Claim, Turn, pace, part::Part};
use crate::sync::FetchError;

/// Calls of one payload at once, as far as there are places on the line.
const CALLS: usize = 4;
/// Chunks of one call.
const CHUNKS_PER_CALL: usize = 256;
/// Bytes that are verified and written together: to change threads costs as much as a small chunk. A call holds twice as
/// many, and one chunk, at most.
const TOGETHER_BYTES: usize = 512 * 1024;

/// Where chunks come from. Nothing is believed of it.
pub(crate) trait Source: Clone + Send + Sync + 'static {
    /// Chunks that come.
    type Stream: Coming;
    /// Asks for these chunks; `afresh` when one came damaged before.
    fn ask(&self, digests: &[Digest], afresh: bool) -> impl Future<Output = Result<Self::Stream, FetchError>> + Send;
}

/// Chunks that come, in the order asked.
pub(crate) trait Coming: Send + 'static {
    /// The next; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Came>, FetchError>> + Send;
}

/// What came for a chunk.
#[derive(Debug, Clone)]
pub(crate) struct Came {
    pub(crate) data: bytes::Bytes,
    /// One zstd frame, or the bytes themselves.
    pub(crate) packed: bool,
}

/// What the calls of one payload share.
struct Work<S> {
    cache: Cache,
    turn: Turn,
    part: Arc<Part>,
    source: S,
    claim: Claim,
    afresh: bool,
    /// Chunks that nobody has asked for yet, in order.
    queue: Mutex<VecDeque<usize>>,
}

impl Cache {
    pub(super) async fn fetch<S: Source>(
        &self,
        turn: &Turn,
        part: Arc<Part>,
        source: &S,
        claim: &Claim,
        afresh: bool,
    ) -> Result<(), CacheError> {
        let queue: VecDeque<usize> = part.missing().into();
        let calls = CALLS.min(queue.len());
        let work = Arc::new(Work {
            cache: self.clone(),
            turn: Arc::clone(turn),
            part,
            source: source.clone(),
            claim: claim.clone(),
            afresh,
            queue: Mutex::new(queue),
        });
        // The first fault ends all of them: what is verified by then stays, and the next try goes on from there.
        let mut running = JoinSet::new();
        for _ in 0..calls {
            let work = Arc::clone(&work);
            running.spawn(async move { work.run().await });
        }
        while let Some(ended) = running.join_next().await {
            ended.map_err(|error| CacheError::Io(io::Error::other(error)))??;
        }
        Ok(())
    }
}

impl<S: Source> Work<S> {
    async fn run(&self) -> Result<(), CacheError> {
        loop {
            let slot = self.cache.slots.take(&self.claim).await;
            let limit = || (self.cache.rules)().limit;
            let (batch, bytes) = self.next(pace::batch(limit(), slot.batch));
            if batch.is_empty() {
                return Ok(());
            }
            self.cache.pace.pay(bytes, &limit).await.map_err(|until| CacheError::Closed { until })?;
            let begun = Instant::now();
            let came = self.call(batch).await?;
            slot.saw(came, begun.elapsed());
            self.cache.pace.refund(bytes.saturating_sub(came));
        }
    }

    /// The next chunks, at least one while there are any, and their plain bytes.
    fn next(&self, most: u64) -> (Vec<usize>, u64) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(index) = queue.front().copied() {
            let more = u64::from(self.part.span(index).bytes);
            if batch.len() >= CHUNKS_PER_CALL || (!batch.is_empty() && bytes + more > most) {
                break;
            }
            queue.pop_front();
            batch.push(index);
            bytes += more;
        }
        (batch, bytes)
    }

    /// One call; says how many bytes came over the line. While chunks are verified the next ones come.
    async fn call(&self, batch: Vec<usize>) -> Result<u64, CacheError> {
        let digests: Vec<Digest> = batch.iter().map(|index| self.part.span(*index).digest).collect();
        let mut stream = self.source.ask(&digests, self.afresh).await?;
        let (mut total, mut waiting, mut held, mut verifying) = (0, Vec::new(), 0, None);
        let mut broken = None;
        for index in batch {
            let came = match stream.next().await {
                Ok(Some(came)) => came,
                end => {
                    let short = self.part.span(index).digest.short();
                    let absent = || FetchError::Unreachable(format!("chunk {short} did not come"));
                    broken = Some(end.err().unwrap_or_else(absent));
                    break;
                }
            };
            total += came.data.len() as u64;
            held += came.data.len();
            waiting.push((index, came));
            if held >= TOGETHER_BYTES {
                ended(verifying.take()).await?;
                verifying = Some(self.verify(std::mem::take(&mut waiting)));
                held = 0;
            }
        }
        ended(verifying).await?;
        // What came before the line broke is not fetched again.
        ended(Some(self.verify(waiting))).await?;
        broken.map_or(Ok(total), |error| Err(error.into()))
    }

    fn verify(&self, came: Vec<(usize, Came)>) -> JoinHandle<Result<(), CacheError>> {
        let (part, turn) = (Arc::clone(&self.part), Arc::clone(&self.turn));
        tokio::task::spawn_blocking(move || {
            let taken = part.take(came);
            drop(turn);
            taken
        })
    }
}

async fn ended(verifying: Option<JoinHandle<Result<(), CacheError>>>) -> Result<(), CacheError> {
    match verifying {
        None => Ok(()),
        Some(verifying) => verifying.await.map_err(|error| CacheError::Io(io::Error::other(error)))?,
    }
}
