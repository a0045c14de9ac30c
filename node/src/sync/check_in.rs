//! Check-ins: reports go up, the directive comes down. On a nudge, on a new report, and on a period.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use wardround_proto::v1::CheckInRequest;
use wardround_rollout_plans::model::{Directive, Patch, Reporter, Rollout};
use wardround_signing::{
    Digest, Envelope, Signer as _,
    tuf::{Images, Moment, RoleName, TufError},
};

use super::{
    Controller, FetchError, backoff,
    connect::{in_time, request},
    convert, jittered,
    metadata::Remote,
    watch::refused,
};
use crate::{
    NodeError,
    executor::{Owner, Site, now},
    identity::Identity,
    trust::{self, Documents, Floor, Genuine, Listed, Papers, Reader, RefreshError, Refusal, TrustStore, WitnessFile},
};

/// Most reports of one call (`CheckInRequest.reports`).
pub(crate) const REPORTS_MAX: usize = 256;
/// Most bytes of reports in one call: below the default limit of a gRPC message, 4 MiB.
pub(crate) const REPORT_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Bounds of the pause between two check-ins, whatever the controller asks for.
const PERIOD: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(600));
/// When so little is left of the timestamp's life (24 hours, renewed every 6), a newer one is asked for even though the
/// controller did not speak of any.
const LIFE_LEFT_MIN_S: u32 = 12 * 60 * 60;
/// How often it is asked for then.
const ASK_AGAIN: Duration = Duration::from_secs(600);

/// The present view of the image repository; none before the first.
pub(crate) type View = Option<Arc<Images>>;

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
    /// The view, for everybody who needs it.
    pub(crate) images: watch::Sender<View>,
    /// When to try to bring the view up to date again.
    pub(crate) refresh: Refresh,
    /// What was dealt with last.
    pub(crate) done: Option<Done>,
}

/// When the view may be refreshed again.
#[derive(Default)]
pub(crate) struct Refresh {
    failures: u32,
    /// After a failure.
    not_before: Option<Instant>,
    /// When nothing newer was there though the view ends soon.
    ask_again: Option<Instant>,
}

impl Refresh {
    fn failed(&mut self) {
        self.failures += 1;
        self.not_before = Some(Instant::now() + backoff(self.failures));
    }
}

/// A directive, and what it was checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    directive: Digest,
    /// Generation of the site file.
    site: u64,
    /// Whether the controller's log was refused.
    log_refused: bool,
    /// Version of the view's timestamp.
    view: u64,
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
    /// A check-in went through.
    pub(crate) answered: Notify,
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
                    wakers.answered.notify_one();
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
        self.bring_up_to_date(answer.timestamp_version).await?;
        if let Some(envelope) = answer.directive {
            self.obey(&convert::from_wire(envelope), log_refusal).await?;
        }
        let asked = self.every.unwrap_or(Duration::from_millis(u64::from(answer.check_in_after_ms)));
        Ok(jittered(pause(asked, batch.more && answer.acked_seq > batch.acked)))
    }

    /// The clock, which counts as no earlier than the latest attested time.
    fn moment(&self) -> Moment {
        Moment::from_ms(now().max(self.trust.attested()).0)
    }

    /// Refreshes the view when the controller speaks of newer metadata, when there is none yet, and in good time before it
    /// expires. Where that fails, and where the view has expired, it is said by name, and what was verified before goes on
    /// to count for what has begun.
    async fn bring_up_to_date(&mut self, newest: u64) -> Result<(), CheckInError> {
        let held = self.images.borrow().clone();
        let version = |view: &View| view.as_ref().map_or(0, |images| images.version(RoleName::Timestamp));
        let soon = self.moment().plus_seconds(LIFE_LEFT_MIN_S);
        let ends = held.as_ref().is_none_or(|i| i.expires(RoleName::Timestamp).is_none_or(|at| at < soon));
        let over = |at: Option<Instant>| at.is_none_or(|at| at <= Instant::now());
        let due = version(&held) < newest || (ends && over(self.refresh.ask_again));
        if due && over(self.refresh.not_before) {
            self.refresh(newest).await?;
        }
        let view = self.images.borrow().clone();
        if let Some(error) = view.and_then(|images| images.is_fresh(self.moment()).err()) {
            let why = format!("no fresh metadata: {error}; nothing new begins until the controller has newer");
            refused(&self.owner, Refusal { what: "metadata", why, rollout: None }).await;
        }
        Ok(())
    }

    async fn refresh(&mut self, newest: u64) -> Result<(), CheckInError> {
        let remote = Arc::new(Remote::new(self.controller.clone()));
        let refuse = |why: String| Refusal { what: "metadata", why, rollout: None };
        match self.trust.refresh(&self.identity.root, remote.clone(), now()).await {
            Ok(images) => {
                let found = images.version(RoleName::Timestamp);
                tracing::info!(
                    timestamp = found,
                    root = images.version(RoleName::Root),
                    "the image repository is verified"
                );
                self.images.send_replace(Some(Arc::new(images)));
                if found < newest {
                    self.refresh.failed();
                    let why = format!(
                        "the controller speaks of timestamp metadata of version {newest}, and serves version {found}"
                    );
                    refused(&self.owner, refuse(why)).await;
                } else {
                    self.refresh = Refresh { ask_again: Some(Instant::now() + ASK_AGAIN), ..Refresh::default() };
                }
                Ok(())
            }
            Err(RefreshError::Node(error)) => Err(error.into()),
            Err(RefreshError::Metadata(TufError::Fetch { name, why })) if remote.was_silent() => {
                Err(FetchError::Unreachable(format!("{name}: {why}")).into())
            }
            Err(RefreshError::Metadata(error)) => {
                self.refresh.failed();
                refused(&self.owner, refuse(error.to_string())).await;
                Ok(())
            }
        }
    }

    async fn obey(&mut self, envelope: &Envelope, log_refusal: Option<Refusal>) -> Result<(), CheckInError> {
        let Some(images) = self.images.borrow().clone() else {
            let why = "a directive came before any metadata that verifies: whom to believe is not known yet".to_owned();
            refused(&self.owner, Refusal { what: "metadata", why, rollout: None }).await;
            return Ok(());
        };
        let site = Arc::clone(&self.site.borrow_and_update());
        let this = Done {
            directive: envelope.digest(),
            site: site.generation,
            log_refused: log_refusal.is_some(),
            view: images.version(RoleName::Timestamp),
        };
        if self.done == Some(this) {
            return Ok(());
        }
        let opened = trust::open(envelope, images.controller_key(), &self.identity.site, self.trust.floor());
        let directive = match opened {
            Ok(directive) => directive.into_document(),
            Err(refusal) => {
                refused(&self.owner, refusal).await;
                self.done = Some(this);
                return Ok(());
            }
        };
        let (papers, refusals) = self.papers(&directive, &images).await?;
        let own = Reporter { site: self.identity.site.clone(), key: self.identity.report_key.public() };
        let reader = Reader {
            images: &images,
            inventory: &site.file.inventory,
            own: &own,
            floor: self.trust.floor(),
            now: now(),
        };
        let (wishes, refusals, fresh) = trust::judge(&reader, &directive, &papers, log_refusal, refusals);
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
    /// or that people do not agree on, is refused; a controller that does not answer ends the whole, to be tried again.
    async fn papers(&self, directive: &Directive, images: &Images) -> Result<(Papers, Vec<Refusal>), CheckInError> {
        let mut papers = Papers::new();
        let mut refusals = Vec::new();
        for wanted in &directive.rollouts {
            let refuse = |what: &'static str, why: String| Refusal { what, why, rollout: Some(wanted.rollout.clone()) };
            let rollout = match self.paper::<Rollout>(&wanted.digest, images).await? {
                Ok(rollout) => rollout,
                Err(why) => {
                    refusals.push(refuse("rollout", why));
                    continue;
                }
            };
            let patch = match self.paper::<Patch>(&rollout.document().patch_digest, images).await? {
                Ok(patch) => patch,
                Err(why) => {
                    refusals.push(refuse("patch", why));
                    continue;
                }
            };
            match trust::paper(wanted, rollout, patch, images) {
                Ok((paper, lacking)) => {
                    papers.insert(wanted.rollout.clone(), paper);
                    refusals.extend(lacking);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        Ok((papers, refusals))
    }

    /// One that was kept counts to the end of what it began; a new one must be agreed on now.
    async fn paper<D: Listed>(
        &self,
        digest: &Digest,
        images: &Images,
    ) -> Result<Result<Genuine<D>, String>, CheckInError> {
        if let Some(known) = self.documents.get(digest) {
            return Ok(Ok(known));
        }
        let bytes = match self.controller.document(digest).await {
            Ok(bytes) => bytes,
            Err(FetchError::Refused(why)) => return Ok(Err(why)),
            Err(error) => return Err(error.into()),
        };
        let judged = trust::admit(&bytes, digest, images);
        if judged.is_ok() {
            self.documents.keep(&bytes)?;
        }
        Ok(judged)
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
