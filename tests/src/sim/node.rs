//! A site's machine: the production node machine on a simulated disk, with what production keeps beside it.

use std::collections::BTreeMap;

use wardround_journal::JournalError;
use wardround_node::pure::{
    Action, Batch, Floor, Input, NodeState, Papers, Reader, Refusal, SiteView, Wishes, absorb, admit, halt, judge,
    open, paper, record,
};
use wardround_rollout_plans::model::{Directive, Patch, Reporter, Rollout, SiteId, SiteInventory, SystemId, Timestamp};
use wardround_signing::{Digest, Envelope, SecretKey, Signer as _, tuf::Images};

use super::{
    device::Ms,
    disk::Disk,
    hospital::{Publication, key},
    random::Random,
};

/// Records between two snapshots: fewer than in production, so that each run has some.
const SNAPSHOT_EVERY: u64 = 60;

/// How a clock goes wrong: it shows `true time + offset + drift`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    /// Milliseconds ahead.
    pub offset: Ms,
    /// Parts in a million that it is too fast since `from`.
    pub drift_ppm: i64,
    /// Since when.
    pub from: Ms,
}

impl Clock {
    /// What it shows.
    #[must_use]
    pub fn at(&self, now: Ms) -> Timestamp {
        Timestamp(now + self.offset + (now - self.from) * self.drift_ppm / 1_000_000)
    }
}

/// What came of a group of inputs.
#[derive(Debug)]
pub struct Taken {
    /// To be done now: the sync is behind us.
    pub actions: Vec<Action>,
    /// For each input given: is it on disk and in force?
    pub settled: Vec<bool>,
}

/// The power went.
#[derive(Debug)]
pub struct PowerCut;

/// What became of a directive.
#[derive(Debug)]
pub enum Read {
    /// It was dealt with before.
    Known,
    /// It is not obeyed.
    Refused(Refusal),
    /// It leans on this document, which is not here yet.
    Wants(Digest),
    /// It is to be obeyed.
    Verified {
        /// The directive.
        directive: Box<Directive>,
        /// What the machine is told.
        wishes: Wishes,
        /// What is refused of it.
        refusals: Vec<Refusal>,
        /// It need not be looked at again.
        mark: Option<(Digest, u64, u64)>,
    },
}

/// The machine.
#[derive(Debug)]
pub struct Host {
    /// Site.
    pub site: SiteId,
    /// Its disk.
    pub disk: Disk,
    /// Absent while it has no power.
    pub state: Option<NodeState>,
    /// Counts its starts: what was begun in a former life is nobody's any more.
    pub life: u32,
    /// Its clock.
    pub clock: Clock,
    /// The site file.
    pub inventory: SiteInventory,
    /// Rises with each change of the site file.
    pub generation: u64,
    /// Kept in two files beside the journal; survives.
    pub floor: Floor,
    /// The view, kept as files; survives.
    pub view: Option<(u64, Box<Images>)>,
    /// The patch is in its cache: files, which survive.
    pub has_payload: bool,
    /// Kept as files; survive.
    documents: BTreeMap<Digest, Vec<u8>>,
    done: Option<(Digest, u64, u64)>,
    postponed: Vec<Input>,
    /// When each clinical system is probed next.
    pub probes: BTreeMap<SystemId, Ms>,
    /// The call that waits for its answer.
    pub call: Option<u64>,
    /// When it calls next.
    pub call_at: Option<Ms>,
    /// Calls in a row that failed.
    pub failures: u32,
    /// Number of the newest wake-up that counts.
    pub wake: u64,
}

impl Host {
    /// A machine that has just enrolled and has no power yet.
    #[must_use]
    pub fn new(inventory: SiteInventory) -> Self {
        Self {
            site: inventory.site.clone(),
            disk: Disk::default(),
            state: None,
            life: 0,
            clock: Clock::default(),
            inventory,
            generation: 1,
            floor: Floor::default(),
            view: None,
            has_payload: false,
            documents: BTreeMap::new(),
            done: None,
            postponed: Vec::new(),
            probes: BTreeMap::new(),
            call: None,
            call_at: None,
            failures: 0,
            wake: 0,
        }
    }

    /// Its report key.
    #[must_use]
    pub fn key(&self) -> &'static SecretKey {
        let number = self.site.as_str().bytes().last().map_or(0, |b| b - b'0');
        key(40 + number)
    }

    /// As documents pin it.
    #[must_use]
    pub fn reporter(&self) -> Reporter {
        Reporter { site: self.site.clone(), key: self.key().public() }
    }

    /// Reads the journal as the production start does. What it is told first comes from the caller.
    ///
    /// # Errors
    /// A sentence when the disk holds what can't be read: that is a violation, since nothing but a cut-off end may be lost.
    pub fn start(&mut self) -> Result<(), String> {
        let found = self.disk.open().map_err(|e| e.to_string())?;
        let mut state = match found.snapshot {
            Some((_, bytes)) => record::restore(&bytes)?,
            None => NodeState::new(self.site.clone()),
        };
        for (_, bytes) in &found.records {
            record::replay(&mut state, bytes)?;
        }
        self.state = Some(state);
        self.life += 1;
        Ok(())
    }

    /// The first two inputs of a life.
    #[must_use]
    pub fn first_inputs(&self) -> Vec<Input> {
        vec![self.site_input(), Input::Restarted]
    }

    /// The site file as it is.
    #[must_use]
    pub fn site_input(&self) -> Input {
        let view = SiteView {
            inventory: Some(self.inventory.clone()),
            concurrency_max: 4,
            spares_disrupted: true,
            ..SiteView::default()
        };
        Input::Site(Box::new(view))
    }

    /// The power goes: what only memory held is gone.
    pub fn power_off(&mut self, random: &mut Random, torn: bool) {
        self.disk.crash(random, torn);
        self.state = None;
        self.life += 1;
        self.done = None;
        self.postponed.clear();
        self.probes.clear();
        self.call = None;
        self.call_at = None;
        self.failures = 0;
        self.wake += 1;
    }

    /// One group, as the production owner takes it: journal, step, sync; what follows may be done afterwards.
    ///
    /// # Errors
    /// [`PowerCut`] when the disk stopped in between.
    pub fn take(&mut self, inputs: Vec<Input>, now: Ms) -> Result<Taken, PowerCut> {
        let at = self.clock.at(now);
        let Some(state) = &mut self.state else { return Err(PowerCut) };
        let count = inputs.len();
        let group = inputs.into_iter().zip((0..).map(Some)).collect();
        let disk = &self.disk;
        let mut append = |input: &Input| -> Result<(), JournalError> { record::append(disk, input, at) };
        let absorbed = absorb(state, &mut self.postponed, group, at, &mut append).map_err(|_| PowerCut)?;
        if absorbed.appended {
            wardround_journal::Log::sync(disk).map_err(|_| PowerCut)?;
        }
        if disk.last() >= disk.snapshot_at() + SNAPSHOT_EVERY && !disk.is_full() {
            let bytes = record::snapshot(state).map_err(|_| PowerCut)?;
            disk.put_snapshot(disk.last(), bytes).map_err(|_| PowerCut)?;
        }
        let mut settled = vec![true; count];
        for (number, taken) in absorbed.settled {
            if let Some(number) = number {
                let number: usize = number;
                settled[number] = taken;
            }
        }
        Ok(Taken { actions: absorbed.actions, settled })
    }

    /// Inputs wait for room on the disk.
    #[must_use]
    pub fn has_postponed(&self) -> bool {
        !self.postponed.is_empty()
    }

    /// The reports of the next call.
    #[must_use]
    pub fn batch(&self) -> Option<Batch> {
        self.state.as_ref().map(|state| Batch::of(state, self.key()))
    }

    /// A halt that was pushed.
    ///
    /// # Errors
    /// What it is refused for.
    pub fn halt(&self, envelope: &Envelope) -> Result<Input, Refusal> {
        let Some((_, images)) = &self.view else {
            let why = "a halt came before any metadata that verifies".to_owned();
            return Err(Refusal { what: "metadata", why, rollout: None });
        };
        halt(envelope, images.people()).map(Input::Halt)
    }

    /// Takes the newest publication for its view.
    pub fn refresh(&mut self, newest: &Publication) {
        if self.view.as_ref().is_none_or(|(version, _)| *version < newest.version) {
            self.view = Some((newest.version, Box::new(newest.images.clone())));
        }
    }

    /// Keeps a document that came, if it counts now.
    ///
    /// # Errors
    /// A sentence.
    pub fn keep(&mut self, bytes: &[u8], digest: &Digest) -> Result<(), String> {
        let Some((_, images)) = &self.view else { return Err("there is no view".to_owned()) };
        admit::<Rollout>(bytes, digest, images)
            .map(drop)
            .or_else(|_| admit::<Patch>(bytes, digest, images).map(drop))?;
        self.documents.insert(*digest, bytes.to_vec());
        Ok(())
    }

    /// Reads a directive as the production check-in does.
    #[must_use]
    pub fn read(&self, envelope: &Envelope, now: Ms) -> Read {
        let refuse = |what, why: String| Read::Refused(Refusal { what, why, rollout: None });
        let Some((version, images)) = &self.view else {
            return refuse("metadata", "a directive came before any metadata that verifies".to_owned());
        };
        let this = (envelope.digest(), self.generation, *version);
        if self.done == Some(this) {
            return Read::Known;
        }
        let directive = match open(envelope, images.controller_key(), &self.site, self.floor) {
            Ok(directive) => directive.into_document(),
            Err(refusal) => return Read::Refused(refusal),
        };
        let (mut papers, mut refusals) = (Papers::new(), Vec::new());
        for wanted in &directive.rollouts {
            let refuse = |what, why: String| Refusal { what, why, rollout: Some(wanted.rollout.clone()) };
            let Some(bytes) = self.documents.get(&wanted.digest) else { return Read::Wants(wanted.digest) };
            let rollout = match wardround_node::pure::Genuine::<Rollout>::read(bytes, &wanted.digest) {
                Ok(rollout) => rollout,
                Err(why) => {
                    refusals.push(refuse("rollout", why));
                    continue;
                }
            };
            let digest = rollout.document().patch_digest;
            let Some(bytes) = self.documents.get(&digest) else { return Read::Wants(digest) };
            let judged = wardround_node::pure::Genuine::<Patch>::read(bytes, &digest)
                .map_err(|why| refuse("patch", why))
                .and_then(|patch| paper(wanted, rollout, patch, images));
            match judged {
                Ok((paper, lacking)) => {
                    papers.insert(wanted.rollout.clone(), paper);
                    refusals.extend(lacking);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        let own = self.reporter();
        let reader =
            Reader { images, inventory: &self.inventory, own: &own, floor: self.floor, now: self.clock.at(now) };
        let (wishes, refusals, fresh) = judge(&reader, &directive, &papers, None, refusals);
        Read::Verified { directive: Box::new(directive), wishes, refusals, mark: fresh.then_some(this) }
    }

    /// The floor rises before anything of a directive is acted on.
    pub fn raise(&mut self, directive: &Directive) {
        self.floor.counter = self.floor.counter.max(directive.counter);
        self.floor.attested = self.floor.attested.max(directive.issued_at);
    }

    /// The directive was dealt with.
    pub fn mark(&mut self, mark: Option<(Digest, u64, u64)>) {
        self.done = mark;
    }
}
