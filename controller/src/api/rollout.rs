//! `RolloutService`: plans, documents, orders, and watching.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use wardround_proto::v1::{self, rollout_service_server::RolloutService};
use wardround_rollout_plans::model::{Command, DeploymentState, RolloutId, WaveName};

use super::{Api, Service, certificate_end, convert, id, operator, page, status};
use crate::registry::Alarm;

/// A watcher hears of what no event tells (connections) after this time at the latest.
const REFRESH: Duration = Duration::from_secs(5);
/// Least time between two messages to one watcher: a thousand reports a second are one picture.
const PAUSE: Duration = Duration::from_millis(50);
/// Most alarms in one message.
const ALARMS_MAX: usize = 100;

#[tonic::async_trait]
impl RolloutService for Service {
    type WatchRolloutStream = ReceiverStream<Result<v1::WatchRolloutResponse, Status>>;

    async fn preview_plan(
        &self,
        request: Request<v1::PreviewPlanRequest>,
    ) -> Result<Response<v1::PreviewPlanResponse>, Status> {
        let by = operator(&request)?;
        Ok(Response::new(Box::pin(self.0.preview(&by, &request.into_inner())).await?))
    }

    async fn create_rollout(
        &self,
        request: Request<v1::CreateRolloutRequest>,
    ) -> Result<Response<v1::CreateRolloutResponse>, Status> {
        let by = operator(&request)?;
        let id = Box::pin(self.0.create_rollout(by, &request.into_inner())).await?;
        Ok(Response::new(v1::CreateRolloutResponse { rollout: Some(self.0.rollout(&id).await?) }))
    }

    async fn amend_rollout(
        &self,
        request: Request<v1::AmendRolloutRequest>,
    ) -> Result<Response<v1::AmendRolloutResponse>, Status> {
        let by = operator(&request)?;
        let (id, left_out) = Box::pin(self.0.amend_rollout(&by, &request.into_inner())).await?;
        Ok(Response::new(v1::AmendRolloutResponse { rollout: Some(self.0.rollout(&id).await?), left_out }))
    }

    async fn get_rollout(
        &self,
        request: Request<v1::GetRolloutRequest>,
    ) -> Result<Response<v1::GetRolloutResponse>, Status> {
        let id: RolloutId = id("id", &request.into_inner().id)?;
        Ok(Response::new(v1::GetRolloutResponse { rollout: Some(self.0.rollout(&id).await?) }))
    }

    async fn list_rollouts(
        &self,
        request: Request<v1::ListRolloutsRequest>,
    ) -> Result<Response<v1::ListRolloutsResponse>, Status> {
        let asked = request.into_inner();
        let size = page::size(asked.page_size, 100, 1000);
        let after: Option<RolloutId> = page::after(&asked.page_token)?.map(|t| id("page_token", &t)).transpose()?;
        let hub = self.0.core.hub();
        let found = self.0.core.read(|facts| {
            let ids = facts.engine.rollouts();
            let start = match &after {
                Some(after) => ids.iter().position(|id| id == after).map(|at| at + 1),
                None => Some(0),
            };
            let start = start.ok_or_else(|| status::invalid("page_token", "this is not a token of an earlier page"))?;
            let page = ids[start..].iter().take(size + 1);
            Ok::<_, Status>(page.filter_map(|id| convert::rollout(facts, hub, id, None)).collect())
        })?;
        let (rollouts, next_page_token) = page::cut(found, size, |r: &v1::Rollout| r.id.clone());
        Ok(Response::new(v1::ListRolloutsResponse { rollouts, next_page_token }))
    }

    async fn watch_rollout(
        &self,
        request: Request<v1::WatchRolloutRequest>,
    ) -> Result<Response<Self::WatchRolloutStream>, Status> {
        let end = certificate_end(&request)?;
        let id: RolloutId = id("id", &request.into_inner().id)?;
        self.0.core.read(|facts| facts.registry.rollout(&id).map(|_| ())).ok_or_else(|| unknown(&id))?;
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(watch(Arc::clone(&self.0), id, sender, end));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let asked = request.into_inner();
        let id: RolloutId = id("id", &asked.id)?;
        let size = page::size(asked.page_size, 1_000, 10_000);
        let after = page::position(&asked.page_token)?;
        let start = usize::try_from(after.map_or(0, |at| at.saturating_add(1))).unwrap_or(usize::MAX);
        let members = self.0.core.read(|facts| facts.registry.rollout(&id).map(|r| Arc::clone(&r.members)));
        let mut members = members.ok_or_else(|| unknown(&id))?;
        if asked.version != 0 && asked.version != self.0.core.read(|facts| facts.registry.version(&id)) {
            members = self.0.waiting_members(&id, asked.version)?;
        }
        let found = members.iter().enumerate().skip(start).take(size + 1);
        let (found, next_page_token) = page::cut(found.collect(), size, |(at, _)| at.to_string());
        let members = found.into_iter().map(|(_, m)| convert::member(m)).collect();
        Ok(Response::new(v1::ListMembersResponse { members, next_page_token }))
    }

    async fn list_deployments(
        &self,
        request: Request<v1::ListDeploymentsRequest>,
    ) -> Result<Response<v1::ListDeploymentsResponse>, Status> {
        let asked = request.into_inner();
        let rollout: RolloutId = id("id", &asked.id)?;
        let size = page::size(asked.page_size, 100, 1000);
        let wave: Option<WaveName> = (!asked.wave.is_empty()).then(|| id("wave", &asked.wave)).transpose()?;
        let state = (!asked.state.is_empty()).then(|| state(&asked.state)).transpose()?;
        let after = page::position(&asked.page_token)?;
        let found = self.0.core.read(|facts| {
            let view = facts.engine.rollout(&rollout).ok_or_else(|| unknown(&rollout))?;
            if let Some(wave) = wave.as_ref().filter(|w| view.waves.iter().all(|v| v.name != **w)) {
                return Err(status::not_found("wave", wave.as_str(), "see `wardround rollout status`"));
            }
            Ok(facts.engine.deployments(&rollout, wave.as_ref(), state, after, size + 1))
        })?;
        let (found, next_page_token) = page::cut(found, size, |d| d.index.to_string());
        let deployments = found.iter().map(convert::deployment).collect();
        Ok(Response::new(v1::ListDeploymentsResponse { deployments, next_page_token }))
    }

    async fn start_rollout(
        &self,
        request: Request<v1::StartRolloutRequest>,
    ) -> Result<Response<v1::StartRolloutResponse>, Status> {
        let is_meant = |c: &Command| matches!(c, Command::Start);
        let rollout = self.0.order("StartRollout", is_meant, request.into_inner().order).await?;
        Ok(Response::new(v1::StartRolloutResponse { rollout: Some(rollout) }))
    }

    async fn approve_wave(
        &self,
        request: Request<v1::ApproveWaveRequest>,
    ) -> Result<Response<v1::ApproveWaveResponse>, Status> {
        let is_meant = |c: &Command| matches!(c, Command::Approve { .. });
        let rollout = self.0.order("ApproveWave", is_meant, request.into_inner().order).await?;
        Ok(Response::new(v1::ApproveWaveResponse { rollout: Some(rollout) }))
    }

    async fn pause_rollout(
        &self,
        request: Request<v1::PauseRolloutRequest>,
    ) -> Result<Response<v1::PauseRolloutResponse>, Status> {
        let is_meant = |c: &Command| matches!(c, Command::Pause);
        let rollout = self.0.order("PauseRollout", is_meant, request.into_inner().order).await?;
        Ok(Response::new(v1::PauseRolloutResponse { rollout: Some(rollout) }))
    }

    async fn resume_rollout(
        &self,
        request: Request<v1::ResumeRolloutRequest>,
    ) -> Result<Response<v1::ResumeRolloutResponse>, Status> {
        let is_meant = |c: &Command| matches!(c, Command::Resume { .. });
        let rollout = self.0.order("ResumeRollout", is_meant, request.into_inner().order).await?;
        Ok(Response::new(v1::ResumeRolloutResponse { rollout: Some(rollout) }))
    }

    async fn halt_rollout(
        &self,
        request: Request<v1::HaltRolloutRequest>,
    ) -> Result<Response<v1::HaltRolloutResponse>, Status> {
        let is_meant = |c: &Command| matches!(c, Command::Halt);
        let rollout = self.0.order("HaltRollout", is_meant, request.into_inner().order).await?;
        Ok(Response::new(v1::HaltRolloutResponse { rollout: Some(rollout) }))
    }

    async fn roll_back_rollout(
        &self,
        request: Request<v1::RollBackRolloutRequest>,
    ) -> Result<Response<v1::RollBackRolloutResponse>, Status> {
        let is_meant = |c: &Command| matches!(c, Command::RollBack { .. });
        let rollout = self.0.order("RollBackRollout", is_meant, request.into_inner().order).await?;
        Ok(Response::new(v1::RollBackRolloutResponse { rollout: Some(rollout) }))
    }

    async fn cancel_rollout(
        &self,
        request: Request<v1::CancelRolloutRequest>,
    ) -> Result<Response<v1::CancelRolloutResponse>, Status> {
        let is_meant = |c: &Command| matches!(c, Command::Cancel);
        let rollout = self.0.order("CancelRollout", is_meant, request.into_inner().order).await?;
        Ok(Response::new(v1::CancelRolloutResponse { rollout: Some(rollout) }))
    }

    async fn hold_wave(&self, request: Request<v1::HoldWaveRequest>) -> Result<Response<v1::HoldWaveResponse>, Status> {
        let is_meant = |c: &Command| matches!(c, Command::Hold { .. });
        let rollout = self.0.order("HoldWave", is_meant, request.into_inner().order).await?;
        Ok(Response::new(v1::HoldWaveResponse { rollout: Some(rollout) }))
    }

    async fn release_wave(
        &self,
        request: Request<v1::ReleaseWaveRequest>,
    ) -> Result<Response<v1::ReleaseWaveResponse>, Status> {
        let is_meant = |c: &Command| matches!(c, Command::Release { .. });
        let rollout = self.0.order("ReleaseWave", is_meant, request.into_inner().order).await?;
        Ok(Response::new(v1::ReleaseWaveResponse { rollout: Some(rollout) }))
    }

    async fn withdraw_order(
        &self,
        request: Request<v1::WithdrawOrderRequest>,
    ) -> Result<Response<v1::WithdrawOrderResponse>, Status> {
        let is_meant = |c: &Command| matches!(c, Command::Withdraw { .. });
        let rollout = self.0.order("WithdrawOrder", is_meant, request.into_inner().order).await?;
        Ok(Response::new(v1::WithdrawOrderResponse { rollout: Some(rollout) }))
    }
}

fn unknown(id: &RolloutId) -> Status {
    status::not_found("rollout", id.as_str(), "see `wardround rollout list`")
}

fn state(word: &str) -> Result<DeploymentState, Status> {
    let known = || DeploymentState::ALL.map(DeploymentState::word).join(", ");
    DeploymentState::ALL
        .into_iter()
        .find(|s| s.word() == word)
        .ok_or_else(|| status::invalid("state", format!("{word:?} is not one of {}", known())))
}

impl Api {
    /// One rollout as people see it.
    pub(super) async fn rollout(&self, id: &RolloutId) -> Result<v1::Rollout, Status> {
        let document = self.core.read(|facts| facts.registry.rollout(id).map(|rollout| rollout.document.clone()));
        let signatures = self.rollout_signatures(id, &document.ok_or_else(|| unknown(id))?).await?;
        let hub = self.core.hub();
        let found = self.core.read(|facts| convert::rollout(facts, hub, id, Some(signatures)));
        let mut rollout = found.ok_or_else(|| unknown(id))?;
        self.sign_state(&mut rollout);
        Ok(rollout)
    }
}

/// Sends the rollout now and after each change, until the watcher goes, their certificate ends or the controller stops.
async fn watch(
    api: Arc<Api>,
    id: RolloutId,
    sender: mpsc::Sender<Result<v1::WatchRolloutResponse, Status>>,
    end: Instant,
) {
    let mut news = api.core.hub().watch_rollout(&id);
    let mut alarms_from = api.core.read(|facts| facts.alarms.next());
    let mut sent: Option<v1::Rollout> = None;
    loop {
        // Marked as seen before it is looked at: what happens in between is news again.
        news.mark_unchanged();
        let (rollout, alarms, next) = api.core.read(|facts| {
            let ours = facts.alarms.since(alarms_from).filter(|a| a.rollout.as_ref() == Some(&id));
            let ours: Vec<&Alarm> = ours.take(ALARMS_MAX).collect();
            // What a full message leaves out comes in the next one.
            let next = match ours.last() {
                Some(last) if ours.len() == ALARMS_MAX => last.index + 1,
                _ => facts.alarms.next(),
            };
            let alarms: Vec<v1::Alarm> = ours.into_iter().map(convert::alarm).collect();
            (convert::rollout(facts, api.core.hub(), &id, None), alarms, next)
        });
        alarms_from = next;
        let more = alarms.len() == ALARMS_MAX;
        if !alarms.is_empty() || rollout != sent {
            sent.clone_from(&rollout);
            if sender.send(Ok(v1::WatchRolloutResponse { rollout, alarms })).await.is_err() {
                return;
            }
        }
        if more {
            continue;
        }
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep_until(end) => {
                let _ = sender.send(Err(Status::unauthenticated("the client certificate has expired"))).await;
                return;
            }
            () = api.shutdown.cancelled() => {
                let _ = sender.send(Err(Status::unavailable("the controller is shutting down"))).await;
                return;
            }
            _ = news.changed() => tokio::time::sleep(PAUSE).await,
            () = tokio::time::sleep(REFRESH) => {}
        }
    }
}
