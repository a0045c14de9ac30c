//! The sweep: chunks that no patch names, and that no import of the last day can be about to name, make room.
//!
//! **Invariant:** a chunk that a known patch names is never removed. A chunk that an import was told to be here is not removed
//! within [`UNUSED_MIN`] of that.

use std::{
    fs, io,
    sync::PoisonError,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;
use wardround_signing::Digest;

use super::{Form, Payloads};
use crate::core::Core;

/// How long a chunk that nobody names stays: an import over a thin line may take a night, and goes on the next day.
const UNUSED_MIN: Duration = Duration::from_secs(24 * 3600);
/// When the first sweep begins after a start, which has other things to do.
const FIRST: Duration = Duration::from_secs(15 * 60);
/// Between two sweeps.
const EVERY: Duration = Duration::from_secs(6 * 3600);

/// What a sweep removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Sweeps until `stop`.
pub(crate) async fn keep_swept(core: Core, payloads: Payloads, stop: CancellationToken) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = EVERY;
        let (core, payloads) = (core.clone(), payloads.clone());
        let swept = tokio::task::spawn_blocking(move || {
            payloads.sweep(SystemTime::now(), &|digest| core.read(|facts| facts.registry.may_name_chunk(digest)))
        });
        match swept.await {
            Ok(Ok(swept)) if swept.files > 0 => {
                tracing::info!(chunks = swept.files, bytes = swept.bytes, "chunks that no patch names were removed");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the sweep of the payload store did not come to its end"),
            Err(error) => tracing::error!(%error, "the sweep of the payload store failed"),
        }
    }
}

impl Payloads {
    /// Removes the chunks that are `named` by nothing and were last written, or held, a day before `now`.
    pub(super) fn sweep(&self, now: SystemTime, named: &dyn Fn(&Digest) -> bool) -> io::Result<Swept> {
        let mut swept = Swept::default();
        for folder in 0..=u8::MAX {
            for entry in fs::read_dir(self.directory.join(format!("{folder:02x}")))? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let hex = name.strip_suffix(Form::Packed.ending()).unwrap_or(name);
                let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() else { continue };
                if named(&digest) {
                    continue;
                }
                // One chunk at a time: uploads wait for no more than that. Whoever holds chunks has come before this one,
                // or finds that it is gone.
                let _alone = self.sweeping.write().unwrap_or_else(PoisonError::into_inner);
                let meta = match entry.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    meta => meta?,
                };
                let old = now.duration_since(meta.modified()?).is_ok_and(|age| age >= UNUSED_MIN);
                if old && !named(&digest) {
                    fs::remove_file(entry.path())?;
                    self.sound().remove(&digest);
                    swept.files += 1;
                    swept.bytes += meta.len();
                }
            }
        }
        Ok(swept)
    }
}
