//! Chunks on their way to a node.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc::{self, Permit};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, codegen::Bytes};
use wardround_proto::v1::FetchChunksResponse;
use wardround_signing::Digest;

use super::{Api, blocking, status};
use crate::payloads::{Kept, PayloadError, Payloads};

/// Chunks that wait for a slow line, each up to 1 MiB.
const CHUNKS_AHEAD: usize = 4;
/// Bytes that are read together: to change threads costs as much as to read a chunk.
const TOGETHER_BYTES: usize = 512 * 1024;
/// How long a node may take nothing of what it fetches: at 2 Mbit/s a chunk of 256 KiB is there after a second.
const STALL_MAX: Duration = Duration::from_secs(60);

type Answer = Result<FetchChunksResponse, Status>;

/// What a node asks for.
pub(super) struct Asked {
    pub(super) digests: Vec<Digest>,
    pub(super) takes_packed: bool,
    pub(super) afresh: bool,
}

/// Sends chunks in the order asked.
pub(super) fn serve(api: Arc<Api>, asked: Asked) -> ReceiverStream<Answer> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::spawn(async move { send(&api, asked, &sender).await });
    ReceiverStream::new(receiver)
}

/// A thread is used only while chunks are read, never while the line is waited for: many slow nodes would else take every
/// thread, and the journal needs one to write a halt down. Ends early when the node goes, or the controller stops.
async fn send(api: &Api, asked: Asked, sender: &mpsc::Sender<Answer>) -> Option<()> {
    let asked = Arc::new(asked);
    let mut sent = 0;
    while sent < asked.digests.len() {
        // Nothing is read before the line takes something.
        let mut first = Some(room(api, sender).await?);
        let (payloads, all) = (api.payloads.clone(), Arc::clone(&asked));
        let (answers, fault) = match blocking(move || read(&payloads, &all, sent)).await {
            Ok(read) => read,
            Err(status) => (Vec::new(), Some(status)),
        };
        sent += answers.len();
        let failed = fault.is_some();
        for answer in answers.into_iter().map(Ok).chain(fault.map(Err)) {
            let room = match first.take() {
                Some(room) => room,
                None => room(api, sender).await?,
            };
            room.send(answer);
        }
        if failed {
            return None;
        }
    }
    Some(())
}

/// Room for one chunk; none when the node or the controller stops.
async fn room<'s>(api: &Api, sender: &'s mpsc::Sender<Answer>) -> Option<Permit<'s, Answer>> {
    tokio::select! {
        room = tokio::time::timeout(STALL_MAX, sender.reserve()) => room.ok()?.ok(),
        () = api.shutdown.cancelled() => None,
    }
}

/// The next chunks, at least one, and what went wrong after them.
fn read(payloads: &Payloads, asked: &Asked, from: usize) -> (Vec<FetchChunksResponse>, Option<Status>) {
    let (mut answers, mut bytes) = (Vec::new(), 0);
    for digest in &asked.digests[from..] {
        match payloads.serve(digest, asked.takes_packed, asked.afresh) {
            Ok(Kept { data, packed }) => {
                bytes += data.len();
                let digest = digest.as_bytes().to_vec();
                answers.push(FetchChunksResponse { digest, data: Bytes::from(data), packed });
                if bytes >= TOGETHER_BYTES {
                    break;
                }
            }
            Err(error) => return (answers, Some(fault(&error))),
        }
    }
    (answers, None)
}

fn fault(error: &PayloadError) -> Status {
    tracing::error!(%error, "a chunk could not be served");
    status::payload(error)
}
