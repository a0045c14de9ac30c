//! `NodeService`: what a site's node calls.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use wardround_proto::v1::{
    CheckInRequest, CheckInResponse, FetchChunksRequest, FetchChunksResponse, FetchDocumentRequest,
    FetchDocumentResponse, ReportInventoryRequest, ReportInventoryResponse, WatchRequest, WatchResponse,
    node_service_server::NodeService,
};
use wardround_rollout_plans::{
    engine::{Event, Refusal},
    model::{Report, SiteId},
};
use wardround_signing::{Envelope, KeyId, Policy, PublicKey, VerifyError, verify};

use super::{
    Api, Service, blocking, certificate_end,
    chunks::{self, Asked},
    convert, node, status,
};
use crate::{
    clock,
    core::{Change, Facts, NodeStream, Nudge},
    registry::RegistryEvent,
};

/// Reports of one check-in.
const REPORTS_MAX: usize = 256;
/// Digests of one fetch.
const DIGESTS_MAX: usize = 4096;
/// How often one site's stream may be replaced before it looks like two nodes with one identity. A node on a bad line
/// comes again while its old stream still seems open, but not again and again within [`REPLACED_WINDOW`].
const REPLACED_MAX: u32 = 3;
const REPLACED_WINDOW: Duration = Duration::from_secs(60);

#[tonic::async_trait]
impl NodeService for Service {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;
    type FetchChunksStream = ReceiverStream<Result<FetchChunksResponse, Status>>;

    async fn check_in(&self, request: Request<CheckInRequest>) -> Result<Response<CheckInResponse>, Status> {
        let site = node(&request)?;
        let api = &self.0;
        // Before the ceremony nobody has said whose word counts: there is nothing to tell a node.
        let view = api.view()?;
        let asked = request.into_inner();
        let reports = api.read_reports(&site, asked.reports).await?;
        api.take_reports(&site, reports).await?;
        let now = clock::now();
        api.core.hub().heard(&site, now, asked.directive_counter);
        let counter = api.directives.counter(&api.core);
        if asked.directive_counter > counter {
            let text = format!(
                "the node of site {site} has accepted directive {} but this controller is only at {counter}: it was \
                 restored from an older copy, or another controller signs with its key",
                asked.directive_counter
            );
            api.alarm("directive_counter_ahead", &site, &text).await;
        }
        api.take_cosignature(&site, asked.cosignature).await;
        let (log_checkpoint, log_consistency) = api.newest_checkpoint(&site, asked.log_size).await?;
        let issued = api
            .directives
            .for_site(&api.core, &view.directives, &site, now)
            .map_err(|e| Status::internal(e.to_string()))?;
        if let Some(mark) = issued.news {
            // What can't be written down is said all the same: it may hold a halt, or take a patch back.
            if let Err(error) = api.core.submit(RegistryEvent::DirectiveIssued { mark }).await {
                tracing::error!(%site, %error, "what a site is told could not be logged");
            }
        }
        Ok(Response::new(CheckInResponse {
            acked_seq: api.core.read(|facts| facts.engine.acked_seq(&site)),
            directive: Some(convert::envelope(&issued.envelope)),
            now_ms: now.0,
            check_in_after_ms: jittered(api.check_in_every),
            timestamp_version: api.images.timestamp_version(),
            log_checkpoint,
            log_consistency,
        }))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (site, end) = (node(&request)?, certificate_end(&request)?);
        let api = Arc::clone(&self.0);
        let (stream, replaced) = api.core.hub().connect(&site, Instant::now(), REPLACED_WINDOW);
        if replaced >= REPLACED_MAX {
            let text = format!(
                "the watch stream of site {site} was replaced {replaced} times within {} s: two nodes seem to hold one \
                 identity",
                REPLACED_WINDOW.as_secs()
            );
            api.alarm("identity_shared", &site, &text).await;
        }
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            tracing::debug!(%site, "watch stream opened");
            push(&api, &stream, &sender, end).await;
            api.core.hub().disconnect(&site, &stream);
            tracing::debug!(%site, "watch stream closed");
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn fetch_chunks(
        &self,
        request: Request<FetchChunksRequest>,
    ) -> Result<Response<Self::FetchChunksStream>, Status> {
        let FetchChunksRequest { digests, takes_packed, afresh } = request.into_inner();
        let digests = convert::digests("digests", &digests, DIGESTS_MAX)?;
        let unnamed = self.0.core.read(|facts| digests.iter().find(|d| !facts.registry.names_chunk(d)).copied());
        if let Some(digest) = unnamed {
            return Err(status::not_found("chunk of any patch", &digest.to_string(), ""));
        }
        Ok(Response::new(chunks::serve(Arc::clone(&self.0), Asked { digests, takes_packed, afresh })))
    }

    async fn fetch_document(
        &self,
        request: Request<FetchDocumentRequest>,
    ) -> Result<Response<FetchDocumentResponse>, Status> {
        let digest = convert::digest("digest", &request.into_inner().digest)?;
        let found = self.0.core.read(|facts| facts.registry.document(&digest));
        let found = found.ok_or_else(|| {
            status::not_found(
                "document signed for by both roles",
                &digest.to_string(),
                "check in again for the present digest",
            )
        })?;
        Ok(Response::new(FetchDocumentResponse { document: found.as_bytes().to_vec() }))
    }

    async fn report_inventory(
        &self,
        request: Request<ReportInventoryRequest>,
    ) -> Result<Response<ReportInventoryResponse>, Status> {
        let site = node(&request)?;
        let facts_wanted = self.0.take_inventory(&site, request.into_inner().inventory).await?;
        Ok(Response::new(ReportInventoryResponse { facts_wanted }))
    }
}

/// Nine to eleven tenths of `period`, milliseconds: after a restart all nodes come at once, and must not stay in step.
fn jittered(period: Duration) -> u32 {
    let mut tenth = [128];
    // Without randomness there is no jitter, which costs only smoothness.
    let _ = getrandom::fill(&mut tenth);
    let share = 9_000 + u128::from(tenth[0]) * 2_000 / 255;
    u32::try_from(period.as_millis() * share / 10_000).unwrap_or(u32::MAX)
}

/// Passes nudges on until the node goes, another stream comes, the certificate ends, or the controller stops.
async fn push(
    api: &Api,
    stream: &NodeStream,
    sender: &mpsc::Sender<Result<WatchResponse, Status>>,
    end: tokio::time::Instant,
) {
    loop {
        let message = tokio::select! {
            biased;
            () = sender.closed() => return,
            nudge = stream.next() => match nudge {
                Nudge::Halt(order) => Ok(WatchResponse { halt: Some(convert::envelope(&order)) }),
                Nudge::CheckIn => Ok(WatchResponse { halt: None }),
                Nudge::Replaced => Err(status::make(
                    Code::Aborted,
                    "REPLACED",
                    "another watch stream of this site has taken the place of this one",
                    "if it keeps happening, two nodes hold one identity: enrol one of them for its own site",
                )),
            },
            () = api.shutdown.cancelled() => Err(Status::unavailable("the controller is shutting down")),
            () = tokio::time::sleep_until(end) => Err(Status::unauthenticated("the client certificate has expired")),
        };
        let last = message.is_err();
        if sender.send(message).await.is_err() || last {
            return;
        }
    }
}

impl Api {
    /// Verifies what a node says. One report that does not verify refuses the whole call, and a person hears of it.
    async fn read_reports(
        &self,
        site: &SiteId,
        given: Vec<wardround_proto::v1::Envelope>,
    ) -> Result<Vec<(Report, KeyId, Envelope)>, Status> {
        if given.len() > REPORTS_MAX {
            return Err(status::invalid("reports", format!("at most {REPORTS_MAX} at once, not {}", given.len())));
        }
        if given.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.core.read(|facts| facts.registry.node(site).map(|node| node.report_key));
        let key = key.ok_or_else(|| status::not_found("node of site", site.as_str(), "enrol it"))?;
        let envelopes =
            given.into_iter().enumerate().map(|(n, e)| convert::required(&format!("reports[{n}]"), Some(e)));
        let envelopes = envelopes.collect::<Result<Vec<_>, _>>()?;
        let owner = site.clone();
        // A batch of 256 signatures takes some 20 ms.
        let read = blocking(move || {
            let read = |envelope| Ok((read_report(&owner, key, &envelope)?, key.id(), envelope));
            envelopes.into_iter().map(read).collect::<Result<Vec<_>, Unverified>>()
        })
        .await?;
        match read {
            Ok(reports) => Ok(reports),
            Err(unverified) => {
                let text = format!("the node of site {site} sent a report that does not count: {}", unverified.why);
                self.alarm("report_unverified", site, &text).await;
                Err(status::make(unverified.code, "REPORT", &unverified.why, "enrol the node anew if its key was lost"))
            }
        }
    }

    /// Takes in what is new, in order, up to the first gap.
    async fn take_reports(&self, site: &SiteId, reports: Vec<(Report, KeyId, Envelope)>) -> Result<(), Status> {
        let changes = self.core.read(|facts| news(facts, site, reports));
        if changes.is_empty() {
            return Ok(());
        }
        let outcomes = self.core.submit_all(changes).await.map_err(|e| status::core(&e))?;
        for outcome in outcomes {
            match outcome {
                // Taken in through another call at the same moment, or cut off by it: the answer's acked_seq tells.
                Ok(()) | Err(Refusal::Duplicate { .. }) => {}
                Err(Refusal::Gap { .. }) => break,
                Err(refusal) => return Err(status::refusal(&refusal)),
            }
        }
        Ok(())
    }
}

/// What of these verified reports is new, in order, up to the first gap.
pub(crate) fn news(facts: &Facts, site: &SiteId, reports: Vec<(Report, KeyId, Envelope)>) -> Vec<Change> {
    let (acked, silent) = (facts.engine.acked_seq(site), facts.registry.is_silent(site));
    let mut changes: Vec<Change> = Vec::new();
    if silent {
        changes.push(Event::SiteHeard { site: site.clone() }.into());
    }
    let mut next = acked + 1;
    for (report, key, envelope) in reports {
        if report.seq < next {
            continue;
        }
        if report.seq > next {
            break;
        }
        next += 1;
        // Another node may enrol before this is written down: the report then counts no more.
        let (site, node_key) = (site.clone(), Some(key));
        let envelope = report.body.is_proof().then_some(envelope);
        let event = Event::Report { site, seq: report.seq, at: report.at, body: report.body, node_key, envelope };
        changes.push(event.into());
    }
    changes
}

/// Why a report does not count.
#[derive(Debug)]
pub(crate) struct Unverified {
    code: Code,
    /// One sentence.
    pub(crate) why: String,
}

pub(crate) fn read_report(site: &SiteId, key: PublicKey, envelope: &Envelope) -> Result<Report, Unverified> {
    let report: Report = match verify(envelope, &Policy::node(key)) {
        Ok(verified) => verified.into_document(),
        Err(error) => {
            let code = match error {
                VerifyError::Missing { .. } | VerifyError::Altered { .. } => Code::PermissionDenied,
                _ => Code::InvalidArgument,
            };
            return Err(Unverified { code, why: error.to_string() });
        }
    };
    if report.site != *site {
        let why = format!("it speaks for site {}, but the certificate is for {site}", report.site);
        return Err(Unverified { code: Code::PermissionDenied, why });
    }
    Ok(report)
}
