//! The watch stream: nudges, and halts before anything else. A lost nudge costs only time.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use wardround_proto::v1::WatchRequest;
use wardround_signing::Envelope;

use super::{Controller, View, Wakers, backoff, connect::in_time, convert::from_wire};
use crate::{
    executor::Owner,
    machine::OrderMark,
    trust::{self, Refusal},
};

/// A stream that held for so long was a good one: the next pause begins at the shortest again.
const GOOD_STREAM: Duration = Duration::from_secs(10);
/// How long a halt that does not verify waits for newer metadata.
const NEWER_VIEW: Duration = Duration::from_secs(10);

/// Holds the stream until `stop`.
pub(crate) async fn run(
    controller: Controller,
    images: watch::Receiver<View>,
    owner: Owner,
    wakers: Arc<Wakers>,
    stop: CancellationToken,
) {
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let end = tokio::select! {
            () = stop.cancelled() => return,
            end = hold(&controller, &images, &owner, &wakers) => end,
        };
        failures = if begun.elapsed() >= GOOD_STREAM { 1 } else { failures + 1 };
        let pause = backoff(failures);
        tracing::debug!(why = end, pause_ms = pause.as_millis(), "the watch stream ended");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn hold(controller: &Controller, images: &watch::Receiver<View>, owner: &Owner, wakers: &Wakers) -> String {
    let mut client = controller.client();
    let mut stream = match in_time(client.watch(WatchRequest {})).await {
        Ok(stream) => stream,
        Err(status) => return format!("{:?}: {}", status.code(), status.message()),
    };
    tracing::info!("the watch stream stands");
    // What was said while there was no stream is asked for now.
    wakers.nudge.notify_one();
    loop {
        match stream.message().await {
            Ok(Some(message)) => {
                if let Some(halt) = message.halt {
                    match verified(&from_wire(halt), images, wakers).await {
                        Ok(order) => {
                            tracing::warn!(rollout = %order.rollout, counter = order.counter, "a halt came");
                            owner.halt(order).await;
                        }
                        Err(refusal) => refused(owner, refusal).await,
                    }
                }
                wakers.nudge.notify_one();
            }
            Ok(None) => return "the controller closed it".to_owned(),
            Err(status) => return format!("{:?}: {}", status.code(), status.message()),
        }
    }
}

/// A halt by the keys of the present view; one that they do not verify, by those of the next, for whose key was given
/// to them a moment ago halts too.
async fn verified(halt: &Envelope, images: &watch::Receiver<View>, wakers: &Wakers) -> Result<OrderMark, Refusal> {
    let mut images = images.clone();
    let judge = |view: &View| match view {
        Some(images) => trust::halt(halt, images.people()),
        None => Err(Refusal {
            what: "metadata",
            why: "a halt came before any metadata that verifies: whose it is is not known yet".to_owned(),
            rollout: None,
        }),
    };
    let first = judge(&images.borrow_and_update());
    if first.is_ok() {
        return first;
    }
    wakers.nudge.notify_one();
    match tokio::time::timeout(NEWER_VIEW, images.changed()).await {
        Ok(Ok(())) => judge(&images.borrow()),
        _ => first,
    }
}

/// Logs a refusal and has it reported.
pub(super) async fn refused(owner: &Owner, refusal: Refusal) {
    tracing::error!(what = refusal.what, why = refusal.why, rollout = ?refusal.rollout, "refused");
    owner.refused(refusal).await;
}
