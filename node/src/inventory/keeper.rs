//! When each device is looked at, what becomes of it, and what the controller is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use wardround_proto::v1::InventoryFacts;
use wardround_rollout_plans::model::{DeviceId, DurationMs, Patch, RolloutId, Timestamp, VariantId};
use wardround_signing::Digest;

use super::{
    LOOK_MAX,
    ask::{Found, OP, ask},
    clean,
    drift::{Baseline, Check, Checks, Finding, Kind, Known, Merged, merge, of_lists, of_patch},
    shelf::{Kept, Shelf},
};
use crate::{
    NodeError,
    device::{DeviceError, DeviceHandle, Looked},
    executor::{Guests, Owner, Site, now},
    sync::{Controller, FetchError},
    trust::{Documents, Genuine},
};

/// Between two looks at what is due.
const TICK: Duration = Duration::from_secs(1);
/// The first looks after a start are spread over so much, or the interval where that is shorter.
const SPREAD_MAX: Duration = Duration::from_secs(10 * 60);
/// After a device did not answer, or was needed for something else; the interval where that is shorter.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// After a device was wanted by a task.
const DISTURBED: Duration = Duration::from_secs(5);
/// After the controller could not be told.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// Most patches that are followed on one device.
const BASELINES_MAX: usize = 200;

/// Where each device with a deployment stands.
pub(crate) type Standings = BTreeMap<DeviceId, Standing>;

/// One device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// A task is at work on it, or will go on with what it began.
    pub(crate) at_work: bool,
    /// Patches that a rollout has brought or taken back, the newest word last.
    pub(crate) patches: Vec<StandingPatch>,
}

/// A patch of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StandingPatch {
    pub(crate) rollout: RolloutId,
    /// Its document.
    pub(crate) patch: Digest,
    pub(crate) variant: VariantId,
    /// It is there; else it was taken back.
    pub(crate) there: bool,
    /// Since when.
    pub(crate) since: Timestamp,
}

impl Standing {
    /// What was done on the device, as one word: another one after each piece of work.
    fn work(&self) -> String {
        Digest::of(format!("{:?}", self.patches).as_bytes()).hex()
    }
}

/// What the inventory works with.
pub(crate) struct Keeper {
    pub(crate) site: watch::Receiver<Arc<Site>>,
    pub(crate) standings: watch::Receiver<Option<Standings>>,
    pub(crate) guests: Guests,
    pub(crate) documents: Arc<Documents>,
    pub(crate) controller: Controller,
    pub(crate) owner: Owner,
    pub(crate) state_dir: PathBuf,
}

/// What is to be done with a device. No more than this stays in memory.
struct Turn {
    /// When it is looked at next.
    look: Instant,
    /// What had been done on it when it was looked at last.
    work: String,
    /// When the controller is told, where it has not been yet.
    tell: Option<Instant>,
}

/// Why a look came to nothing.
enum Missed {
    /// It is needed for something else.
    Disturbed,
    /// It does not answer.
    Silent(String),
    /// What was found could not be written down.
    Unkept(NodeError),
}

/// All that a look gathered.
struct Seen {
    found: Found,
    patches: Vec<Result<Looked, DeviceError>>,
}

impl Keeper {
    /// Looks at one device after the other until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let shelf = Shelf::new(&self.state_dir);
        let mut turns: BTreeMap<DeviceId, Turn> = BTreeMap::new();
        loop {
            let standings = self.standings.borrow_and_update().clone();
            // Before the machine has said where each device stands, none is touched.
            if let Some(standings) = standings {
                let round = self.round(&shelf, &standings, &mut turns, &stop);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = round => {}
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
                changed = self.standings.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The first device that is due.
    async fn round(
        &self,
        shelf: &Shelf,
        standings: &Standings,
        turns: &mut BTreeMap<DeviceId, Turn>,
        stop: &CancellationToken,
    ) {
        let site = Arc::clone(&self.site.borrow());
        let interval = Duration::from_millis(site.file.inventory_interval.0);
        let wanted = shelf.all_asked();
        turns.retain(|device, _| site.file.devices.contains_key(device));
        for device in site.file.devices_to_look_at() {
            if stop.is_cancelled() {
                return;
            }
            let idle = Standing::default();
            let standing = standings.get(device).unwrap_or(&idle);
            let turn = turns.entry(device.clone()).or_insert_with(|| Turn {
                look: Instant::now() + spread(device, interval.min(SPREAD_MAX)),
                work: standing.work(),
                tell: None,
            });
            if turn.tell.is_some_and(|at| at <= Instant::now()) {
                self.tell(shelf, device, turn).await;
            }
            let asked = if wanted.contains(device.name()) { shelf.asked(device) } else { None };
            let worked = turn.work != standing.work();
            // A new interval counts at once.
            turn.look = turn.look.min(Instant::now() + interval);
            if standing.at_work || !(turn.look <= Instant::now() || worked || asked.is_some()) {
                continue;
            }
            match self.look(shelf, &site, device, standing, asked == Some(true)).await {
                Ok(()) => {
                    turn.look = Instant::now() + interval;
                    turn.work = standing.work();
                    turn.tell = Some(Instant::now());
                }
                Err(Missed::Disturbed) => {
                    turn.look = Instant::now() + DISTURBED;
                    continue;
                }
                Err(Missed::Silent(why)) => {
                    tracing::info!(%device, why, "no inventory: the device does not answer");
                    turn.look = Instant::now() + interval.min(AGAIN);
                    turn.work = standing.work();
                    turn.tell = self.missed(shelf, device, &why).then(Instant::now);
                }
                Err(Missed::Unkept(error)) => {
                    tracing::warn!(%device, %error, "the inventory could not be kept");
                    turn.look = Instant::now() + interval.min(AGAIN);
                    turn.work = standing.work();
                }
            }
            if asked.is_some() {
                shelf.answered(device);
            }
            if turn.tell.is_some() {
                self.tell(shelf, device, turn).await;
            }
        }
    }

    /// One look, from the door to the file.
    async fn look(
        &self,
        shelf: &Shelf,
        site: &Site,
        device: &DeviceId,
        standing: &Standing,
        accept: bool,
    ) -> Result<(), Missed> {
        let Some(config) = site.file.devices.get(device) else { return Err(Missed::Disturbed) };
        let Some(guest) = self.guests.enter(device) else { return Err(Missed::Disturbed) };
        let mut kept = match shelf.read(device) {
            Ok(kept) => kept,
            Err(error) => {
                let text = format!("what was known of {device} can't be read and is learnt anew: {error}");
                if !self.owner.alarm_of("inventory_lost", text, device).await {
                    return Err(Missed::Unkept(error));
                }
                shelf.set_aside(device);
                Kept::default()
            }
        };
        self.follow(&mut kept.baselines, standing);
        let handle = DeviceHandle::new(device, config, &self.state_dir.join("devices"));
        let seen = tokio::select! {
            biased;
            () = guest.leave.cancelled() => return Err(Missed::Disturbed),
            seen = tokio::time::timeout(LOOK_MAX, gather(&handle, &kept.baselines)) => match seen {
                Ok(Ok(seen)) => seen,
                Ok(Err(error)) => return Err(Missed::Silent(error.to_string())),
                Err(_) => return Err(Missed::Silent(format!("the look took longer than {}s", LOOK_MAX.as_secs()))),
            },
        };
        drop(guest);
        // What began meanwhile makes another device of it.
        let still = self.standings.borrow().as_ref().is_some_and(|all| {
            let idle = Standing::default();
            all.get(device).unwrap_or(&idle) == standing
        });
        if !still {
            return Err(Missed::Disturbed);
        }
        let merged = settle(&mut kept, &seen, standing.work(), accept, &config.platform.to_string());
        // The alarm first: a crash between the two says it twice, and never not at all.
        self.alarm(device, &merged).await?;
        kept.findings = merged.findings;
        kept.findings_left_out = merged.left_out;
        kept.set_facts(&seen.found.facts);
        kept.set_moment(&seen.found.moment);
        shelf.write(device, &kept).map_err(Missed::Unkept)
    }

    /// Patches that a rollout brought are followed from now on, and those that one took back no more.
    fn follow(&self, baselines: &mut Vec<Baseline>, standing: &Standing) {
        // The newest word on each.
        let newest: BTreeMap<Digest, &StandingPatch> = standing.patches.iter().map(|one| (one.patch, one)).collect();
        for found in newest.into_values() {
            let known = baselines.iter().position(|one| one.digest == found.patch);
            match (found.there, known) {
                (false, Some(at)) => drop(baselines.remove(at)),
                (true, Some(at)) if baselines[at].rollout != found.rollout => {
                    // It was brought again: what it left may be something else.
                    baselines[at].rollout.clone_from(&found.rollout);
                    baselines[at].seen.clear();
                }
                (true, None) if baselines.len() < BASELINES_MAX => baselines.extend(self.baseline(found)),
                _ => {}
            }
        }
    }

    fn baseline(&self, found: &StandingPatch) -> Option<Baseline> {
        let document: Genuine<Patch> = self.documents.get(&found.patch)?;
        let variant = document.document().variant(&found.variant)?.clone();
        let (patch, rollout) = (document.document().id.clone(), found.rollout.clone());
        Some(Baseline { patch, digest: found.patch, rollout, variant, seen: Vec::new() })
    }

    async fn alarm(&self, device: &DeviceId, merged: &Merged) -> Result<(), Missed> {
        for (code, findings) in [("drift", &merged.begun), ("drift_ended", &merged.ended)] {
            if findings.is_empty() {
                continue;
            }
            let text = words(code, device, findings);
            tracing::warn!(%device, text, code, "the device has changed");
            if !self.owner.alarm_of(code, text, device).await {
                let source = std::io::Error::other("no room for the alarm");
                return Err(Missed::Unkept(NodeError::File { path: self.state_dir.clone(), verb: "written", source }));
            }
        }
        Ok(())
    }

    /// Notes that a look came to nothing; false where it could not be noted. What was known stays known.
    fn missed(&self, shelf: &Shelf, device: &DeviceId, why: &str) -> bool {
        let Ok(mut kept) = shelf.read(device) else { return false };
        let mut moment = kept.moment();
        // Once is enough for those who read it.
        let first = moment.missed_at_ms == 0;
        moment.missed_at_ms = now().0;
        moment.missed_why = clean(why);
        kept.set_moment(&moment);
        shelf.write(device, &kept).is_ok() && first
    }

    /// Tells the controller, its facts only where it has not got them.
    async fn tell(&self, shelf: &Shelf, device: &DeviceId, turn: &mut Turn) {
        turn.tell = match self.told(shelf, device).await {
            Ok(()) => None,
            Err(error) => {
                tracing::debug!(%device, %error, "the inventory waits for the controller");
                Some(Instant::now() + TELL_AGAIN)
            }
        };
    }

    async fn told(&self, shelf: &Shelf, device: &DeviceId) -> Result<(), FetchError> {
        let kept = shelf.read(device).map_err(|error| FetchError::Refused(error.to_string()))?;
        if self.controller.report_inventory(kept.message(device, false)).await? {
            self.controller.report_inventory(kept.message(device, true)).await?;
        }
        Ok(())
    }
}

/// Everything that is asked of a device, one after the other.
async fn gather(handle: &DeviceHandle, baselines: &[Baseline]) -> Result<Seen, DeviceError> {
    let found = ask(handle, now()).await?;
    let mut patches = Vec::new();
    for baseline in baselines {
        patches.push(handle.look(OP, &baseline.variant).await);
    }
    // What was put there for the questions.
    let _ = handle.cleanup(OP).await;
    Ok(Seen { found, patches })
}

/// What a look makes of what was known. Nothing is written yet.
fn settle(kept: &mut Kept, seen: &Seen, work: String, accept: bool, declared: &str) -> Merged {
    let mut checks = Checks::default();
    let mut unseen = BTreeSet::new();
    if accept {
        kept.findings.retain(|finding| finding.kind == Kind::PlatformDiffers);
    }
    for (baseline, looked) in kept.baselines.iter_mut().zip(&seen.patches) {
        let Ok(looked) = looked else {
            unseen.insert(baseline.patch.clone());
            continue;
        };
        let there = matches!(looked.detected, wardround_rollout_plans::model::Detected::Present { .. });
        if there && (baseline.seen.is_empty() || accept) {
            baseline.seen.clone_from(&looked.seen);
        }
        of_patch(baseline, looked, &mut checks);
    }
    if accept {
        // What a person accepts as gone is followed no more.
        let gone: BTreeSet<String> = checks.differing(Kind::UpdateGone);
        kept.baselines.retain(|baseline| !gone.contains(baseline.patch.as_str()));
        checks.all.clear();
    }
    // A patch that could not be asked leaves its findings as they are.
    for finding in &kept.findings {
        let of = |patch: &&wardround_rollout_plans::model::PatchId| {
            finding.subject == patch.as_str() || finding.subject.starts_with(&format!("{patch} "))
        };
        if unseen.iter().any(|patch| of(&patch)) {
            checks.all.push(Check {
                kind: finding.kind,
                subject: finding.subject.clone(),
                verdict: super::drift::Verdict::Unknown,
            });
        }
    }
    let ordered = accept || kept.work != work;
    learn(&mut kept.known, &seen.found.facts, ordered, accept, &kept.findings);
    kept.work = work;
    of_lists(&kept.known, &seen.found.facts, &kept.baselines, &mut checks);
    checks.all.push(Check::new(Kind::PlatformDiffers, declared, seen.found.platform.clone()));
    merge(&kept.findings, &checks, Timestamp(seen.found.moment.collected_at_ms))
}

fn learn(known: &mut Known, facts: &InventoryFacts, ordered: bool, accept: bool, findings: &[Finding]) {
    known.learn(facts, ordered, if accept { &[] } else { findings });
}

/// A sentence for a person.
fn words(code: &str, device: &DeviceId, findings: &[Finding]) -> String {
    let texts: Vec<&str> = findings.iter().take(5).map(|finding| finding.text.as_str()).collect();
    let more = findings.len() - texts.len();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let begin = if code == "drift" { "is not as it was" } else { "is as it was again; over is" };
    format!("{device} {begin}: {}{more}", texts.join("; "))
}

/// A device's own part of a length of time, so that a site's devices do not come all at once.
fn spread(device: &DeviceId, over: Duration) -> Duration {
    let digest = Digest::of(device.as_str().as_bytes());
    let share = u16::from_be_bytes([digest.as_bytes()[0], digest.as_bytes()[1]]);
    over.mul_f64(f64::from(share) / f64::from(u16::MAX)).min(Duration::from_millis(DurationMs::from_secs(600).0))
}

#[cfg(test)]
mod tests {
    use wardround_proto::v1::{InstalledUpdate, InventoryMoment};

    use super::{super::drift::Verdict, *};

    fn seen(updates: &[&str], platform: Verdict) -> Seen {
        let update = |id: &&str| InstalledUpdate { id: (*id).to_owned(), sources: vec!["qfe".to_owned()] };
        let facts = InventoryFacts {
            updates: updates.iter().map(update).collect(),
            update_sources: vec!["qfe".to_owned()],
            ..Default::default()
        };
        let moment = InventoryMoment { collected_at_ms: 9, ..Default::default() };
        Seen { found: Found { facts, moment, platform }, patches: Vec::new() }
    }

    fn step(kept: &mut Kept, seen: &Seen, work: &str, accept: bool) -> Merged {
        let merged = settle(kept, seen, work.to_owned(), accept, "cpe");
        kept.findings.clone_from(&merged.findings);
        merged
    }

    #[test]
    fn what_comes_by_itself_is_a_difference_until_a_person_accepts_it() {
        let mut kept = Kept::default();
        assert_eq!(step(&mut kept, &seen(&["KB1000"], Verdict::Fine), "a", false), Merged::default());
        let by_hand = seen(&["KB1000", "KB2000"], Verdict::Fine);
        assert_eq!(step(&mut kept, &by_hand, "a", false).begun[0].subject, "KB2000");
        assert!(step(&mut kept, &by_hand, "a", false).begun.is_empty(), "it is told once");
        // A rollout's work, and what it brought: only what was there before goes on to differ.
        let ours = seen(&["KB1000", "KB2000", "KB3000"], Verdict::Fine);
        let merged = step(&mut kept, &ours, "b", false);
        assert_eq!((merged.findings.len(), merged.findings[0].subject.as_str()), (1, "KB2000"));
        let accepted = step(&mut kept, &ours, "b", true);
        assert!(accepted.findings.is_empty() && accepted.begun.is_empty());
        assert!(step(&mut kept, &ours, "b", false).findings.is_empty());
    }

    #[test]
    fn another_platform_than_the_declared_is_a_difference_that_nobody_can_accept_away() {
        let mut kept = Kept::default();
        let other = seen(&[], Verdict::Differs("it is Windows NT 6.1".to_owned()));
        assert_eq!(step(&mut kept, &other, "a", false).begun[0].kind, Kind::PlatformDiffers);
        assert_eq!(step(&mut kept, &other, "a", true).findings.len(), 1);
        assert_eq!(step(&mut kept, &seen(&[], Verdict::Unknown), "a", false).findings.len(), 1, "silence");
        assert_eq!(step(&mut kept, &seen(&[], Verdict::Fine), "a", false).ended.len(), 1);
    }

    #[test]
    fn devices_are_spread_and_stay_where_they_are() {
        let over = Duration::from_secs(600);
        let at = |name: &str| spread(&DeviceId::new(name).unwrap(), over);
        assert!((0..50).all(|n| at(&format!("rx1/d{n}")) <= over));
        assert_eq!(at("rx1/d1"), at("rx1/d1"));
        assert!((0..50).map(|n| at(&format!("rx1/d{n}"))).collect::<BTreeSet<_>>().len() > 40);
    }
}
