//! Nodes' reports. A verified report is always consumed: one that makes no sense is recorded and changes nothing, since
//! a report that is never acknowledged would hold up everything behind it.

use wardround_signing::{Envelope, KeyId};

use super::{
    Refusal, State,
    deployment::{Back, cut},
    out::Out,
    transition::{Move, by_report},
};
use crate::model::{DeploymentState, DurationMs, Evidence, Health, ReportBody, RolloutId, SiteId, SiteInventory};

/// How much earlier than the engine's own count a soak may end: the report that began it took some time to arrive, and
/// clocks tick differently.
const SOAK_TOLERANCE: DurationMs = DurationMs::from_secs(5);

/// What a node calls it when it waits for a maintenance window or the end of a freeze.
const WINDOW_CLOSED: &str = "window_closed";
/// What a node calls it when it was asked to begin nothing, and nothing had begun.
const WITHDRAWN: &str = "withdrawn";

/// What a report's machine word changes about its move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Plain,
    /// It waits for a window.
    Shut,
    /// Nothing had begun, and nothing will.
    Withdrawn,
}

impl State {
    pub(super) fn check_report(&self, site: &SiteId, seq: u64, key: Option<&KeyId>) -> Result<(), Refusal> {
        let known = self.sites.get(site).filter(|s| s.is_enrolled());
        let Some(known) = known else {
            return Err(Refusal::NotFound { what: "site", id: site.to_string() });
        };
        if let Some(key) = key.filter(|key| !known.is_key(key)) {
            return Err(Refusal::AnotherNode { site: site.clone(), key: key.clone() });
        }
        let expected = known.acked.saturating_add(1);
        match seq.cmp(&expected) {
            std::cmp::Ordering::Less => Err(Refusal::Duplicate { site: site.clone(), seq }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Refusal::Gap { site: site.clone(), seq, expected }),
        }
    }

    pub(super) fn report(
        &mut self,
        out: &mut Out,
        site: &SiteId,
        seq: u64,
        body: &ReportBody,
        envelope: Option<&Envelope>,
    ) {
        // It is enrolled: that was checked.
        let Some(known) = self.sites.position(site) else { return };
        self.sites.at_mut(known).acked = seq;
        if let Some(why) = body.foreign_to(site) {
            let text = format!("report {seq} of site {site} was ignored: {why}");
            out.alarm("report_foreign", None, Some(site), None, text.clone());
            out.audit("report_ignored", None, None, text);
            return;
        }
        let taken = match body {
            ReportBody::Inventory { inventory } => {
                self.inventory(out, site, inventory);
                Ok(())
            }
            ReportBody::Deployment { .. } => self.deployment_report(out, known, body, envelope),
            ReportBody::Health { system, health, blames, probes, .. } => {
                let what = probes.iter().find(|p| !p.ok).map_or_else(
                    || "its probes fail".to_owned(),
                    |p| cut(&format!("{} answered {:?}", cut(&p.probe), cut(&p.answer))),
                );
                self.learn_health(site, system, *health, blames.is_some(), out.now);
                match blames {
                    Some(rollout) if *health != Health::Healthy => {
                        let rollout = rollout.clone();
                        let member = self.find(&rollout).ok().map(|r| (r, self.blamed_member(r, site, system)));
                        let taken = self.blame_report(out, site, system, &rollout, &what);
                        if let (Ok(()), Some((r, Some(d))), Some(report)) = (&taken, member, envelope) {
                            self.keep_failure(out, r, d, body, report);
                        }
                        taken
                    }
                    _ => Ok(()),
                }
            }
            ReportBody::Refused { what, why, rollout } => {
                let (what, why) = (cut(what), cut(why));
                let text = format!("the node of {site} refused a {what}: {why}");
                out.audit("refused", rollout.as_ref(), None, text.clone());
                out.alarm("refused", rollout.as_ref(), Some(site), None, text);
                Ok(())
            }
            ReportBody::HaltKnown { rollout, counter } => self.halt_known(out, site, rollout, *counter),
            ReportBody::Alarm { code, text, device } => {
                out.alarm(&cut(code), None, Some(site), device.as_ref(), cut(text));
                Ok(())
            }
        };
        if let Err(why) = taken {
            out.audit("report_ignored", None, None, format!("report {seq} of site {site} was ignored: {why}"));
        }
    }

    fn inventory(&mut self, out: &mut Out, site: &SiteId, inventory: &SiteInventory) {
        let before = self.estate.site(site).map_or_else(String::new, |known| known.region.clone());
        self.estate.put(inventory.clone());
        if before != inventory.region {
            self.change_region(site, &before, &inventory.region);
        }
        let at = self.sites.enter(site);
        if let Some(inventory) = self.estate.shared(site) {
            self.sites.at_mut(at).learn_devices(inventory);
        }
        out.dirty.insert(site.clone());
    }

    fn deployment_report(
        &mut self,
        out: &mut Out,
        known: u32,
        body: &ReportBody,
        envelope: Option<&Envelope>,
    ) -> Result<(), String> {
        let ReportBody::Deployment { rollout, device, attempt, state: to, reason, code, evidence } = body else {
            return Ok(());
        };
        let r = self.find(rollout).map_err(|e| e.to_string())?;
        let at = self.sites.at(known).place_in(r);
        let d = at.and_then(|at| self.rollouts[r].find_at(at, device));
        let d = d.ok_or_else(|| format!("{device} is not in rollout {rollout}"))?;
        let deployment = self.deployment(r, d);
        if deployment.attempt == 0 {
            // A device that nobody offered is being touched: that is not a stale report but a breach.
            let text = format!("{device} reports {to} in rollout {rollout} though it was never offered");
            out.alarm("not_offered", Some(rollout), Some(&device.site()), Some(device), text.clone());
            return Err(text);
        }
        if deployment.attempt != *attempt {
            return Err(format!("attempt {attempt} of {device} is stale; the present one is {}", deployment.attempt));
        }
        let from = deployment.last_known();
        let step = by_report(from, *to).ok_or_else(|| format!("{device} can't go from {from} to {to}"))?;
        let why = match (reason.is_empty(), code.is_empty()) {
            // Why it was ordered is known here; that it was obeyed is no reason.
            _ if code == "ordered" => String::new(),
            (true, true) => String::new(),
            (true, false) => cut(code),
            (false, true) => cut(reason),
            (false, false) => cut(&format!("{reason} ({code})")),
        };
        if let Some(envelope) = envelope {
            self.rollouts[r].keep_proof(d, *to, evidence, envelope);
        }
        let said = match to {
            DeploymentState::Deferred if code == WINDOW_CLOSED => Said::Shut,
            DeploymentState::Failed if code == WITHDRAWN => Said::Withdrawn,
            _ => Said::Plain,
        };
        self.take_move(out, r, d, step, *to, said, &why, evidence);
        if let Some(envelope) = envelope {
            self.keep_failure(out, r, d, body, envelope);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one report, taken apart by its only caller")]
    fn take_move(
        &mut self,
        out: &mut Out,
        r: usize,
        d: u32,
        step: Move,
        to: DeploymentState,
        said: Said,
        why: &str,
        seen: &Evidence,
    ) {
        let now = out.now;
        let shut = said == Said::Shut;
        let plan = &self.rollouts[r].document.plan;
        let soaked = |at: &super::deployment::Deployment| {
            let known = at.note.as_ref().is_some_and(|n| n.soaking_since.is_some());
            known && now.after(SOAK_TOLERANCE) >= at.soak_end(plan)
        };
        let deployment = self.deployment(r, d);
        let withdrawn = deployment.is_withdrawn();
        // Nothing shows its node that it is to be taken back, so the node was only asked to begin nothing.
        let unshown = deployment.back == Back::Told
            && !deployment.last_known().may_be_installed()
            && !self.rollouts[r].is_shown(d);
        // It had begun before its node knew that it was given up: then it goes on. What is wanted back waits for people.
        let began = (withdrawn || unshown)
            && deployment.back != Back::No
            && to.may_be_installed()
            && !matches!(to, DeploymentState::RollingBack | DeploymentState::RollbackFailed);
        let (was, told) = (deployment.last_known(), deployment.back == Back::Told && !began);
        let in_time = soaked(self.deployment(r, d));
        self.change(out, r, d, |at| {
            at.keep(seen);
            if began {
                at.back = if withdrawn { Back::No } else { Back::Waiting };
                at.note().withdrawn = false;
            }
            let target = match (step, to) {
                (Move::Succeed, _) if in_time => to,
                // Success counts when the engine itself has seen the whole soak; till then it soaks.
                (Move::Succeed, _) => {
                    at.note().success_reported = true;
                    at.note().soaking_since.get_or_insert(now);
                    DeploymentState::Soaking
                }
                (Move::FinishRollback, _)
                    if at.note.as_ref().is_some_and(|n| n.withdrawn) && was != DeploymentState::RollingBack =>
                {
                    DeploymentState::Failed
                }
                // Nobody waits for it any longer, and its node has begun nothing.
                (Move::Fail, _) if said == Said::Withdrawn && at.is_left_out() => DeploymentState::Skipped,
                _ => to,
            };
            // The node was faster than the word that the device is wanted back; it will read it now.
            let target = if told && target.may_be_installed() && !target.is_terminal()
                || told && target == DeploymentState::Succeeded
            {
                DeploymentState::RollingBack
            } else {
                target
            };
            if target == DeploymentState::Soaking {
                at.note().soaking_since.get_or_insert(now);
            }
            at.wait_for_window(shut, now);
            if target == DeploymentState::Deferred && !shut {
                at.note().deferred_since.get_or_insert(now);
            }
            // It ends because it was given up or taken back before its install began: that is the reason, not the node's
            // obedience.
            let given_up = told
                && (target == DeploymentState::Failed && was != DeploymentState::RollingBack
                    || target == DeploymentState::Skipped && at.is_left_out());
            at.move_to(target, now);
            if target == DeploymentState::RollingBack {
                at.back = Back::Told;
            } else if target.is_terminal() && target != DeploymentState::Succeeded {
                at.back = Back::No;
            }
            if given_up {
                let reason = at.note().back_reason.clone();
                at.say(&reason);
            } else if !(why.is_empty() && (told || step == Move::FinishRollback)) {
                // The reason of a rollback stays when its end has none of its own.
                at.say(why);
            }
        });
        self.after_move(out, r, d, was, told);
    }

    /// Alarms and notes that follow from a move.
    fn after_move(&mut self, out: &mut Out, r: usize, d: u32, was: DeploymentState, told: bool) {
        let deployment = self.deployment(r, d);
        let (w, state, withdrawn) = (usize::from(deployment.wave), deployment.state, deployment.is_withdrawn());
        if state == was {
            return;
        }
        let record = &mut self.rollouts[r];
        let (code, what) = match state {
            DeploymentState::Soaking => {
                record.waves[w].soak_began = Some(out.now);
                return;
            }
            // Those that ended because the wave or the rollout did are no news.
            DeploymentState::Failed if told && !(withdrawn && record.is_active()) => return,
            DeploymentState::Failed => ("deployment_failed", "failed"),
            DeploymentState::RollbackFailed => ("rollback_failed", "could not be taken back and needs a person"),
            // The engine knows of those that it wanted back; this one the node decided by itself.
            DeploymentState::RollingBack if !told => ("rolled_back", "is taken back by its node"),
            DeploymentState::RolledBack if !told => ("rolled_back", "was taken back by its node"),
            _ => return,
        };
        let deployment = &record.deployments[d as usize];
        let (id, device, reason) = (&record.document.id, &deployment.device, deployment.reason());
        let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let text = format!("{device} in rollout {id} {what}{because}");
        out.alarm(code, Some(id), Some(&device.site()), Some(device), text);
    }

    fn blame_report(
        &mut self,
        out: &mut Out,
        site: &SiteId,
        system: &crate::model::SystemId,
        rollout: &RolloutId,
        what: &str,
    ) -> Result<(), String> {
        let r = self.find(rollout).map_err(|e| e.to_string())?;
        if self.rollouts[r].started_at.is_none() {
            return Err(format!("it blames rollout {rollout}, which has not started"));
        }
        if self.rollouts[r].site_at(site.as_str()).is_none() {
            return Err(format!("it blames rollout {rollout}, which has no device at {site}"));
        }
        self.blame(out, r, site, system, what);
        Ok(())
    }

    fn halt_known(&mut self, out: &mut Out, site: &SiteId, rollout: &RolloutId, counter: u64) -> Result<(), String> {
        let r = self.find(rollout).map_err(|e| e.to_string())?;
        let record = &mut self.rollouts[r];
        let at = record.site_at(site.as_str());
        let at = at.ok_or_else(|| format!("rollout {rollout} has no device at {site}"))?;
        let Some(halt) = &mut record.halt else {
            return Err(format!("rollout {rollout} was never halted"));
        };
        // A halt of the engine itself has no order and so no counter of its own: any word of a halt confirms it.
        if halt.counter.is_none_or(|wanted| wanted == counter) && halt.confirmed.insert(at) {
            out.rollout(&record.document.id);
        }
        Ok(())
    }
}
