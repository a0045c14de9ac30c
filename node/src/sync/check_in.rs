//! Check-ins: reports go up, the directive comes down. On a nudge, on a new report, and on a period.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use wardround_proto::v1::CheckInRequest;
use wardround_rollout_plans::model::{Directive, Patch, Rollout, Timestamp};
use wardround_signing::{Digest, Document, Envelope, Verified};

use super::{
    Controller, FetchError, backoff,
    connect::{in_time, request},
    convert, jittered,
    watch::refused,
};
use crate::{
    NodeError,
    executor::{Owner, Site, now},
    identity::Identity,
    trust::{self, Documents, Floor, Papers, Refusal, TrustStore, WitnessFile},
};

/// Most reports of one call (`CheckInRequest.reports`).
pub(crate) const REPORTS_MAX: usize = 256;
/// Most bytes of reports in one call: below the default limit of a gRPC message, 4 MiB.
pub(crate) const REPORT_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Bounds of the pause between two check-ins, whatever the controller asks for.
const PERIOD: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(600));

/// What the check-ins work with.
pub(crate) struct CheckIns {
    pub(crate) controller: Controller,
    pub(crate) identity: Arc<Identity>,
    pub(crate) documents: Arc<Documents>,
    pub(crate) trust: TrustStore,
    pub(crate) witness: WitnessFile,
    pub(crate) owner: Owner,
    pub(crate) site: watch::Receiver<Arc<Site>>,
    pub(crate) every: Option<Duration>,
    /// The directive that was dealt with last, the site file that it was checked against, and whether the controller's log
    /// was refused.
    pub(crate) done: Option<(Digest, u64, bool)>,
}

/// Why a check-in did not go through.
#[derive(Debug, thiserror::Error)]
enum CheckInError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("what was learnt can't be kept: {0}")]
    Keep(#[from] NodeError),
}

/// What ends the pause between two check-ins.
#[derive(Default)]
pub(crate) struct Wakers {
    /// There is something to report.
    pub(crate) news: Notify,
    /// The controller has said something: it can be reached, so it is called even in the pause after a failure.
    pub(crate) nudge: Notify,
}

/// Checks in until `stop`.
pub(crate) async fn run(mut work: CheckIns, wakers: Arc<Wakers>, stop: CancellationToken) {
    let mut failures = 0;
    loop {
        let pause = tokio::select! {
            () = stop.cancelled() => return,
            done = work.check_in() => match done {
                Ok(pause) => {
                    if failures > 0 {
                        tracing::info!("the controller answers again");
                    }
                    failures = 0;
                    pause
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(%error, "the check-in failed; the node goes on alone and tries again");
                    }
                    backoff(failures)
                }
            },
        };
        // News alone do not shorten the pause after a failure: a site that is alone has many.
        let news = async { if failures > 0 { std::future::pending().await } else { wakers.news.notified().await } };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = wakers.nudge.notified() => {}
            () = news => {}
        }
    }
}

/// Until the next check-in. Where more is waiting than fitted, and the controller takes it in, it goes on at once; one that
/// acknowledges nothing is not pestered.
fn pause(asked: Duration, goes_on: bool) -> Duration {
    if goes_on { Duration::ZERO } else { asked.clamp(PERIOD.0, PERIOD.1) }
}

impl CheckIns {
    async fn check_in(&mut self) -> Result<Duration, CheckInError> {
        let batch = self.owner.batch().await;
        let message = CheckInRequest {
            reports: batch.reports.iter().map(convert::to_wire).collect(),
            directive_counter: batch.directive_counter,
            log_size: self.witness.size(),
            cosignature: self.witness.cosignature().to_owned(),
        };
        let answer = in_time(self.controller.client().check_in(request(message))).await.map_err(FetchError::from)?;
        self.owner.acked(answer.acked_seq).await;
        let identity = Arc::clone(&self.identity);
        let log_refusal = self.witness.see(&answer.log_checkpoint, &answer.log_consistency, &identity, now())?;
        if let Some(envelope) = answer.directive {
            self.obey(&convert::from_wire(envelope), log_refusal).await?;
        }
        let asked = self.every.unwrap_or(Duration::from_millis(u64::from(answer.check_in_after_ms)));
        Ok(jittered(pause(asked, batch.more && answer.acked_seq > batch.acked)))
    }

    async fn obey(&mut self, envelope: &Envelope, log_refusal: Option<Refusal>) -> Result<(), CheckInError> {
        let site = Arc::clone(&self.site.borrow_and_update());
        let this = (envelope.digest(), site.generation, log_refusal.is_some());
        if self.done == Some(this) {
            return Ok(());
        }
        let identity = Arc::clone(&self.identity);
        let opened = trust::open(envelope, identity.directive_key, &identity.site, self.trust.floor());
        let directive = match opened {
            Ok(directive) => directive.into_document(),
            Err(refusal) => {
                refused(&self.owner, refusal).await;
                self.done = Some(this);
                return Ok(());
            }
        };
        let (papers, mut refusals) = self.papers(&directive).await?;
        let expired = trust::expired(&directive, self.trust.floor(), now());
        let (mut wishes, more) = trust::wishes(&directive, &papers, &identity.anchor, &site.file.inventory);
        refusals.extend(more);
        let fresh = expired.is_none();
        if let Some(refusal) = expired {
            wishes.expires_at = Timestamp(0);
            refusals.push(refusal);
        }
        // As an expired one: nothing new begins, but halts and rollbacks count.
        if let Some(refusal) = log_refusal {
            wishes.expires_at = Timestamp(0);
            refusals.push(refusal);
        }
        // The floor first: what is acted on can never be followed by something older.
        self.trust.raise(Floor { counter: directive.counter, attested: directive.issued_at })?;
        for refusal in refusals {
            refused(&self.owner, refusal).await;
        }
        // Without room for it, and when a clock may be put right, the directive is dealt with again at the next check-in.
        self.done = (self.owner.wishes(wishes).await && fresh).then_some(this);
        Ok(())
    }

    /// The documents that the directive leans on, fetched where they are not here yet. One that the controller hasn't got,
    /// or that does not verify, is refused; a controller that does not answer ends the whole, to be tried again.
    async fn papers(&self, directive: &Directive) -> Result<(Papers, Vec<Refusal>), CheckInError> {
        let mut papers = Papers::new();
        let mut refusals = Vec::new();
        for wanted in &directive.rollouts {
            let refuse = |what: &'static str, why: String| Refusal { what, why, rollout: Some(wanted.rollout.clone()) };
            let rollout: Verified<Rollout> = match self.paper(&wanted.digest).await? {
                Ok(rollout) => rollout,
                Err(why) => {
                    refusals.push(refuse("rollout", why));
                    continue;
                }
            };
            if rollout.document().id != wanted.rollout {
                let why = format!("the signed document is of rollout {}", rollout.document().id);
                refusals.push(refuse("rollout", why));
                continue;
            }
            let patch: Verified<Patch> = match self.paper(&rollout.document().patch_digest).await? {
                Ok(patch) => patch,
                Err(why) => {
                    refusals.push(refuse("patch", why));
                    continue;
                }
            };
            if patch.document().id != rollout.document().patch {
                let why = format!("the signed document is of patch {}", patch.document().id);
                refusals.push(refuse("patch", why));
                continue;
            }
            papers.insert(wanted.rollout.clone(), (rollout, patch));
        }
        Ok((papers, refusals))
    }

    async fn paper<D: Document>(&self, digest: &Digest) -> Result<Result<Verified<D>, String>, CheckInError> {
        let anchor = &self.identity.anchor;
        if let Some(known) = self.documents.get(digest, anchor) {
            return Ok(Ok(known));
        }
        match self.controller.document(digest).await {
            Ok(envelope) => Ok(self.documents.admit(&envelope, digest, anchor)?),
            Err(FetchError::Refused(why)) => Ok(Err(why)),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controllers_wish_has_bounds_and_a_backlog_goes_on_at_once() {
        let second = Duration::from_secs(1);
        assert_eq!(pause(second, false), second);
        assert_eq!(pause(Duration::ZERO, false), PERIOD.0);
        assert_eq!(pause(second * 86_400, false), PERIOD.1);
        assert_eq!(pause(second, true), Duration::ZERO);
    }
}
