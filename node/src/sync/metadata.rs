//! The image repository over the wire. Nothing that comes is believed here: `signing::tuf` verifies it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::Instant;
use tonic::Code;
use wardround_proto::v1::{FetchMetadataRequest, image_service_client::ImageServiceClient};
use wardround_signing::tuf::{Fetch, Fetched};

use super::Controller;

/// How long one file may take: the largest has 5 MB, and 2 Mbit/s carry that in 20 seconds.
const FILE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long all files of one refresh may take together; what was verified by then is kept, and the next goes on from there.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(180);
/// What a message has besides the file.
const OVERHEAD: usize = 1_024;

/// The controller's repository for one refresh.
pub(super) struct Remote {
    controller: Controller,
    until: Instant,
    silent: AtomicBool,
}

impl Remote {
    pub(super) fn new(controller: Controller) -> Self {
        Self { controller, until: Instant::now() + REFRESH_TIMEOUT, silent: AtomicBool::new(false) }
    }

    /// True when a file failed because nobody answered: no attack is seen in a line that is down.
    pub(super) fn was_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    async fn file(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, String> {
        let limit = usize::try_from(max).unwrap_or(usize::MAX).saturating_add(OVERHEAD);
        let mut client = ImageServiceClient::new(self.controller.channel()).max_decoding_message_size(limit);
        // Without a deadline in the request: its end would look like that of a line that is down.
        let asked = FetchMetadataRequest { name: name.to_owned(), max_bytes: max };
        let until = self.until.min(Instant::now() + FILE_TIMEOUT);
        match tokio::time::timeout_at(until, client.fetch_metadata(asked)).await {
            Err(_) => Err(format!(
                "it was not whole within {} s, nor all files within {} s: slow retrieval",
                FILE_TIMEOUT.as_secs(),
                REFRESH_TIMEOUT.as_secs()
            )),
            Ok(Ok(answer)) => Ok(Some(answer.into_inner().metadata)),
            Ok(Err(status)) => match status.code() {
                Code::NotFound => Ok(None),
                Code::OutOfRange => Err(format!("it is longer than {max} bytes: endless data")),
                code => {
                    let silent = matches!(code, Code::Unavailable | Code::Cancelled | Code::Unknown);
                    self.silent.fetch_or(silent, Ordering::Relaxed);
                    Err(format!("{code:?}: {}", status.message()))
                }
            },
        }
    }
}

impl Fetch for Remote {
    fn metadata<'a>(&'a self, name: &'a str, max: u64) -> Fetched<'a> {
        Box::pin(self.file(name, max))
    }
}
