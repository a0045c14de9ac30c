//! People: what they sign, when they meddle, and how they help in the end.

use std::collections::BTreeSet;

use wardround_controller::pure::{Answer, Wish, rollout_drafted};
use wardround_rollout_plans::{
    engine::RolloutState,
    language::parse_plan,
    model::{Command, Order, RollBackTarget, Rollout, RolloutId, Timestamp, WaveName},
    resolve::{document, resolve},
};
use wardround_signing::{Digest, Envelope, Signer as _, document_bytes, tuf::RoleName};

use super::{
    device::{MINUTE, Ms, SECOND},
    faults::Fault,
    hospital::{self, Person},
    invariants::{Seen, Signed, Version},
    world::{What, World},
};

/// Something that a person does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Drafts a rollout of this plan (YAML).
    Draft {
        /// Id.
        id: RolloutId,
        /// Plan.
        plan: String,
    },
    /// Signs the newest version of a rollout for a role, or takes the signature back, and has it published.
    Sign {
        /// Rollout.
        id: RolloutId,
        /// Roles.
        roles: Vec<RoleName>,
        /// Signs, or takes back.
        signs: bool,
    },
    /// Orders something, counting on what the controller shows at that moment.
    Order {
        /// Rollout.
        id: RolloutId,
        /// What.
        command: Command,
        /// Who.
        by: Vec<Person>,
    },
    /// A halt, and a resume that names it so much later.
    HaltAndResume {
        /// Rollout.
        id: RolloutId,
        /// Milliseconds.
        pause: Ms,
    },
    /// Resumes with all halts named.
    Resume {
        /// Rollout.
        id: RolloutId,
    },
    /// Resumes without naming the newest halt.
    ResumeBlindly {
        /// Rollout.
        id: RolloutId,
    },
    /// Makes the next version of a rollout.
    Amend {
        /// Rollout.
        id: RolloutId,
    },
    /// Approves the next wave in the name of all roles, from time to time.
    Routine {
        /// Rollout.
        id: RolloutId,
    },
    /// Approves a wave, unless this person did so a moment ago.
    ApproveOnce {
        /// Rollout.
        id: RolloutId,
        /// Wave.
        wave: WaveName,
        /// Who.
        person: Person,
    },
    /// Something out of the blue.
    Whim {
        /// Rollout.
        id: RolloutId,
    },
    /// Looks at everything that waits, and answers it.
    Help,
}

impl World {
    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Draft { id, plan } => self.draft(&id, &plan),
            Act::Sign { id, roles, signs } => self.sign(&id, &roles, signs),
            Act::Order { id, command, by } => drop(self.order(&id, command, &by)),
            Act::HaltAndResume { id, pause } => {
                drop(self.order(&id, Command::Halt, &[Person::Cem]));
                if !self.healing && self.setting.has(Fault::Meddling) && self.random.chance(150) {
                    let early = self.random.between(SECOND, pause.max(2 * SECOND));
                    self.after(early, What::Person(Act::ResumeBlindly { id: id.clone() }));
                }
                self.after(pause, What::Person(Act::Resume { id }));
            }
            Act::Resume { id } => self.resume(&id),
            Act::ResumeBlindly { id } => self.resume_blindly(&id),
            Act::Amend { id } => self.amend(&id),
            Act::Routine { id } => self.routine(&id),
            Act::ApproveOnce { id, wave, person } => self.approve_once(&id, &wave, person),
            Act::Whim { id } => self.whim(&id),
            Act::Help => self.help(),
        }
    }

    /// Signs an order and sends it to the controller.
    pub fn send_order(&mut self, order: &Order, by: &[Person], delay: Ms) {
        let envelope = hospital::order(order, by);
        let signed = Signed {
            order: order.clone(),
            digest: envelope.digest(),
            by: by.to_vec(),
            accepted: None,
            uncertain: false,
        };
        self.truth.orders.push(signed);
        self.say(&format!("{by:?} sign order {}: {}", order.counter, order.command.sentence()));
        self.sent_orders.push(envelope.clone());
        self.after(delay, What::OrderComes(Box::new(envelope)));
    }

    pub(super) fn order_comes(&mut self, envelope: &Envelope) {
        let Ok(order) = envelope.peek_unverified::<Order>() else { return };
        let wish = match self.tower.read_order(envelope, &order.rollout) {
            Ok(wish) => wish,
            Err(why) => return self.say(&format!("order {} is refused: {why}", order.counter)),
        };
        let waits = |world: &Self| {
            let engine = world.ledger()?.engine();
            Some(engine.waiting_order(&order.rollout, envelope).is_some())
        };
        let signed = |p: &Person| envelope.signatures.iter().any(|s| s.keyid == p.key().public().id());
        let digest = envelope.digest();
        let known = self.truth.orders.iter().position(|o| o.digest == digest && o.by.iter().all(signed));
        let Some(committed) = self.commit(vec![vec![wish]]) else {
            // Nobody knows whether it is on the disk.
            if let Some(known) = known {
                self.truth.orders[known].uncertain = true;
            }
            return self.see(&Seen::OrderUncertain { order: &order });
        };
        match committed.answers.first() {
            Some(Answer::Outcomes(outcomes)) if outcomes.first().is_some_and(Result::is_ok) => {
                let now = self.now();
                let complete = waits(self) == Some(false);
                let known = known.map(|known| &mut self.truth.orders[known]);
                let again = known.as_ref().is_some_and(|known| known.accepted.is_some());
                if let Some(known) = known.filter(|_| complete) {
                    known.accepted.get_or_insert(now);
                }
                self.say(&format!("order {} counts: {}", order.counter, order.command.sentence()));
                self.see(&Seen::OrderAccepted { order: &order, digest, again, complete });
                self.people_look();
            }
            Some(answer) => self.say(&format!("order {} is refused: {answer:?}", order.counter)),
            None => {}
        }
    }

    fn draft(&mut self, id: &RolloutId, plan: &str) {
        let retry = What::Person(Act::Draft { id: id.clone(), plan: plan.to_owned() });
        let Some(ledger) = self.ledger() else { return self.after(20 * SECOND, retry) };
        if let Some(view) = ledger.engine().rollout(id) {
            // It is there: the try whose answer nobody heard.
            self.truth.versions.retain(|digest, version| version.rollout.id != *id || *digest == view.digest);
            return self.drafted(id);
        }
        let estate = ledger.engine().estate().clone();
        // Everybody waits until each site has told what it has.
        if self.truth.sites.keys().any(|site| estate.site(site).is_none()) {
            return self.after(20 * SECOND, retry);
        }
        let Some(patch) = self.truth.patch.clone() else { return };
        let reporters = ledger.reporters();
        let drafted = parse_plan(plan, "plan.yaml").map_err(|e| format!("{e:?}")).and_then(|parsed| {
            let resolution = resolve(&parsed, &patch, &estate).map_err(|e| format!("{e:?}"))?;
            let digest = Digest::of(&document_bytes(&patch).map_err(|e| e.to_string())?);
            let now = Timestamp(self.truth.now);
            let rollout = document(id.clone(), &parsed.plan, &patch, digest, &resolution, &reporters, now);
            Ok((rollout, resolution.members()))
        });
        let (rollout, members) = match drafted {
            Ok(drafted) => drafted,
            Err(why) => return self.violate("setup", format!("the plan can't be used: {why}")),
        };
        let Ok(wish) = rollout_drafted(&rollout, members.clone(), reporters) else { return };
        let committed = self.commit(vec![vec![wish]]);
        // Where the power went nobody knows whether it is on the disk: the next try will see.
        if committed.as_ref().is_none_or(|committed| accepted(&committed.answers)) {
            self.remember(rollout, members);
        }
        if committed.is_some_and(|committed| accepted(&committed.answers)) {
            self.drafted(id);
        } else {
            self.after(20 * SECOND, retry);
        }
    }

    fn drafted(&mut self, id: &RolloutId) {
        // The clinical safety officer may take their time to read.
        let reads = !self.healing && self.setting.has(Fault::Meddling) && self.random.chance(250);
        let late = if reads { self.random.between(10 * SECOND, 5 * MINUTE) } else { 0 };
        for (role, after) in [(RoleName::Release, 0), (RoleName::Clinical, late)] {
            let act = Act::Sign { id: id.clone(), roles: vec![role], signs: true };
            self.after(2 * SECOND + after, What::Person(act));
        }
        self.after(5 * SECOND, What::Person(Act::Routine { id: id.clone() }));
    }

    fn remember(&mut self, rollout: Rollout, members: Vec<wardround_rollout_plans::model::Member>) {
        let bytes = document_bytes(&rollout).unwrap();
        let waves: Vec<String> = rollout
            .waves
            .iter()
            .map(|w| {
                let of = members.iter().filter(|m| m.wave == w.name).map(|m| m.device.to_string());
                format!("{}: {}", w.name, of.collect::<Vec<_>>().join(" "))
            })
            .collect();
        self.say(&format!("version {} of {} is drafted: {}", rollout.version, rollout.id, waves.join("; ")));
        // It takes the place of one of the same number, which never came into force.
        let same = |v: &Version| v.rollout.id == rollout.id && v.rollout.version == rollout.version;
        self.truth.versions.retain(|_, version| !same(version));
        self.truth.versions.insert(Digest::of(&bytes), Version { rollout, members });
    }

    fn newest(&self, id: &RolloutId) -> Option<Rollout> {
        let of = self.truth.versions.values().filter(|v| v.rollout.id == *id);
        of.max_by_key(|v| v.rollout.version).map(|v| v.rollout.clone())
    }

    fn sign(&mut self, id: &RolloutId, roles: &[RoleName], signs: bool) {
        let Some(rollout) = self.newest(id) else { return };
        let (Some(patch), true) = (self.truth.patch.clone(), self.tower.ledger.is_some()) else {
            let (id, roles) = (id.clone(), roles.to_vec());
            return self.after(15 * SECOND, What::Person(Act::Sign { id, roles, signs }));
        };
        for role in roles {
            self.repository.sign_patch(*role, &patch);
            self.repository.sign_rollout(*role, &rollout, signs);
        }
        let verb = if signs { "sign" } else { "take back their signature of" };
        let words: Vec<&str> = roles.iter().map(|role| role.word()).collect();
        self.say(&format!("{} {verb} version {} of {id}", words.join(" and "), rollout.version));
        self.publish();
    }

    /// What people have signed is published, and recognised.
    pub fn publish(&mut self) {
        let publication = self.repository.publish();
        self.truth.publications.push(publication.clone());
        self.say(&format!("publication {}", publication.version));
        let wishes = self.ledger().map_or_else(Vec::new, |ledger| ledger.recognise(&publication.images));
        self.tower.published = Some(publication);
        if !wishes.is_empty() {
            self.commit(vec![wishes]);
        }
    }

    fn resume(&mut self, id: &RolloutId) {
        let Some(view) = self.ledger().and_then(|l| l.engine().rollout(id)) else {
            return self.after(10 * SECOND, What::Person(Act::Resume { id: id.clone() }));
        };
        let lifts = view.halts_in_force.iter().map(|halt| halt.order).collect();
        drop(self.order(id, Command::Resume { lifts }, &[Person::Ann, Person::Ben]));
        if !self.healing && self.setting.has(Fault::Halts) && self.random.chance(250) {
            // Somebody sees at once that it was too early: the halt may overtake the resume.
            let soon = self.random.between(100, 4 * SECOND);
            self.after(soon, What::Person(Act::HaltAndResume { id: id.clone(), pause: 2 * MINUTE }));
        }
    }

    fn amend(&mut self, id: &RolloutId) {
        let now = Timestamp(self.truth.now);
        let Some(Ok((rollout, members, wish))) = self.ledger().map(|ledger| ledger.amend(id, now)) else { return };
        if self.commit(vec![vec![wish]]).is_some_and(|committed| accepted(&committed.answers)) {
            self.remember(rollout, members);
            let (one, other) = (vec![RoleName::Release], vec![RoleName::Clinical]);
            let late = self.random.between(SECOND, 3 * MINUTE);
            self.after(SECOND, What::Person(Act::Sign { id: id.clone(), roles: one, signs: true }));
            self.after(late, What::Person(Act::Sign { id: id.clone(), roles: other, signs: true }));
        }
    }

    /// Starts, and approves what waits for approval.
    fn routine(&mut self, id: &RolloutId) {
        let pause = self.random.between(10 * SECOND, 90 * SECOND);
        let Some(view) = self.ledger().and_then(|l| l.engine().rollout(id)) else {
            return self.after(pause, What::Person(Act::Routine { id: id.clone() }));
        };
        if view.state == RolloutState::Signed {
            drop(self.order(id, Command::Start, &[Person::Ann]));
        }
        for wave in &view.waves {
            let waits = wave.waiting.as_ref().map(|waiting| waiting.on.code());
            if waits == Some("approval") {
                for (n, person) in [Person::Ann, Person::Ben, Person::Cem].into_iter().enumerate() {
                    let delay = Ms::try_from(n).unwrap() * 700;
                    let (id, wave) = (id.clone(), wave.name.clone());
                    self.after(delay, What::Person(Act::ApproveOnce { id, wave, person }));
                }
            }
        }
        if !view.state.is_ended() {
            self.after(pause, What::Person(Act::Routine { id: id.clone() }));
        }
    }

    fn approve_once(&mut self, id: &RolloutId, wave: &WaveName, person: Person) {
        let recent = self.truth.now - MINUTE;
        let known = self.truth.orders.iter().any(|o| {
            o.by == [person]
                && o.order.rollout == *id
                && o.order.issued_at.0 > recent
                && matches!(&o.order.command, Command::Approve { wave: w } if w == wave)
        });
        if !known {
            drop(self.order(id, Command::Approve { wave: wave.clone() }, &[person]));
        }
    }

    /// Something that a person does at a moment that nobody chose.
    fn whim(&mut self, id: &RolloutId) {
        let next = self.random.between(30 * SECOND, 8 * MINUTE);
        self.after(next, What::Person(Act::Whim { id: id.clone() }));
        if self.healing {
            return;
        }
        let Some(version) = self.truth.versions.values().find(|v| v.rollout.id == *id).cloned() else { return };
        let device = self.random.pick(&version.members).device.clone();
        let wave = self.random.pick(&version.rollout.waves).name.clone();
        let kind = self.random.below(100);
        let two = [Person::Cem, Person::Ben];
        let back = |target| Act::Order { id: id.clone(), command: Command::RollBack { target }, by: two.to_vec() };
        let act = match kind {
            0..25 if self.setting.has(Fault::Halts) => {
                let pause = self.random.between(SECOND, 5 * MINUTE);
                Act::HaltAndResume { id: id.clone(), pause }
            }
            25..33 if self.setting.has(Fault::Rollbacks) => back(RollBackTarget::Device { device }),
            33..36 if self.setting.has(Fault::Rollbacks) => back(RollBackTarget::Site { site: device.site() }),
            36..38 if self.setting.has(Fault::Rollbacks) => back(RollBackTarget::Wave { wave }),
            38 if self.setting.has(Fault::Rollbacks) => back(RollBackTarget::Rollout),
            40..70 if self.setting.has(Fault::Meddling) => return self.meddle(id, &wave),
            70..85 if self.setting.has(Fault::Amendments) => Act::Amend { id: id.clone() },
            85..88 if self.setting.has(Fault::Amendments) => self.take_back_signature(id),
            88..100 if self.setting.has(Fault::Replays) && !self.sent_orders.is_empty() => {
                let order = self.random.pick(&self.sent_orders).clone();
                self.say("somebody sends an old order again");
                return self.after(SECOND, What::OrderComes(Box::new(order)));
            }
            _ => return,
        };
        self.act(act);
    }

    /// Somebody takes their signature back, and signs again some minutes later.
    fn take_back_signature(&mut self, id: &RolloutId) -> Act {
        let role = *self.random.pick(&[RoleName::Release, RoleName::Clinical]);
        let late = self.random.between(MINUTE, 6 * MINUTE);
        self.after(late, What::Person(Act::Sign { id: id.clone(), roles: vec![role], signs: true }));
        Act::Sign { id: id.clone(), roles: vec![role], signs: false }
    }

    /// What people should not do, or not alone.
    fn meddle(&mut self, id: &RolloutId, wave: &WaveName) {
        let one = *self.random.pick(&Person::ALL);
        let command = match self.random.below(8) {
            0..3 => Command::Approve { wave: wave.clone() },
            3 => Command::Pause,
            4 => Command::Resume { lifts: Vec::new() },
            5 => Command::RollBack { target: RollBackTarget::Rollout },
            6 => Command::Start,
            _ if self.random.chance(300) => Command::Cancel,
            _ => return,
        };
        let pauses = command == Command::Pause;
        drop(self.order(id, command, &[one]));
        if pauses {
            let late = self.random.between(SECOND, 3 * MINUTE);
            self.after(late, What::Person(Act::Resume { id: id.clone() }));
        }
    }

    /// People look at the controller's screens: what has changed may be the worst moment for what they do next.
    pub(super) fn people_look(&mut self) {
        if self.healing {
            return;
        }
        let Some(ledger) = self.ledger() else { return };
        let ids = ledger.engine().rollouts();
        let mut waves = Vec::new();
        for id in &ids {
            let view = ledger.engine().rollout(id);
            waves.extend(view.iter().flat_map(|v| &v.waves).map(|w| format!("{id} {} {}", w.name, w.state.word())));
        }
        if waves == self.seen_waves {
            return;
        }
        let new: Vec<String> = waves.iter().filter(|line| !self.seen_waves.contains(line)).cloned().collect();
        self.seen_waves = waves;
        for line in new {
            self.say(&line);
            let Some(id) = ids.first().filter(|_| self.random.chance(60)) else { continue };
            self.worst_moment(&id.clone());
        }
    }

    /// A device is just being looked at, or an installer has just begun: so many times of a thousand somebody acts now.
    pub(super) fn people_see_work(&mut self, often: u64) {
        let id = self.ledger().and_then(|l| l.engine().rollouts().first().cloned());
        if let Some(id) = id.filter(|_| !self.healing && self.random.chance(often)) {
            self.worst_moment(&id);
        }
    }

    fn worst_moment(&mut self, id: &RolloutId) {
        let delay = self.random.between(0, 900);
        let act = match self.random.below(6) {
            0..3 if self.setting.has(Fault::Halts) => {
                let pause = self.random.between(10 * SECOND, 4 * MINUTE);
                Act::HaltAndResume { id: id.clone(), pause }
            }
            3 if self.setting.has(Fault::Amendments) => Act::Amend { id: id.clone() },
            4 if self.setting.has(Fault::Rollbacks) => {
                let versions: Vec<_> = self.truth.versions.values().filter(|v| v.rollout.id == *id).cloned().collect();
                let Some(version) = versions.first() else { return };
                let device = self.random.pick(&version.members).device.clone();
                let command = Command::RollBack { target: RollBackTarget::Device { device } };
                Act::Order { id: id.clone(), command, by: vec![Person::Cem, Person::Ann] }
            }
            5 if self.setting.has(Fault::Amendments) => self.take_back_signature(id),
            _ => return,
        };
        self.after(delay, What::Person(act));
    }

    /// People answer what the views ask for.
    fn help(&mut self) {
        let ids = self.ledger().map_or_else(Vec::new, |l| l.engine().rollouts());
        for id in ids {
            let Some(view) = self.ledger().and_then(|l| l.engine().rollout(&id)) else { continue };
            if view.state.is_ended() {
                continue;
            }
            if let Some(rollout) = self.newest(&id) {
                let asked = matches!(view.state, RolloutState::Draft)
                    || view.amendment.as_ref().is_some_and(|next| !next.signed)
                    || !self.is_signed(&rollout);
                if asked {
                    self.sign(&id, &[RoleName::Release, RoleName::Clinical], true);
                }
            }
            let mut approve = BTreeSet::new();
            let next_of = |wave: &WaveName| {
                let at = view.waves.iter().position(|w| w.name == *wave)?;
                view.waves.get(at + 1).map(|w| w.name.clone())
            };
            let (mut start, mut resume, mut cancel) = (false, false, false);
            for wave in &view.waves {
                match wave.waiting.as_ref().map(|waiting| waiting.on.code()) {
                    Some("start") => start = true,
                    Some("resume" | "second_signature") => resume = true,
                    Some("decision") => cancel = true,
                    Some("approval") => {
                        approve.insert(wave.name.clone());
                        approve.extend(next_of(&wave.name));
                    }
                    Some("evidence" | "checkable_evidence" | "inconclusive" | "hold") => {
                        approve.extend(next_of(&wave.name));
                    }
                    _ => {}
                }
            }
            if cancel {
                drop(self.order(&id, Command::Cancel, &[Person::Ann]));
                continue;
            }
            if start {
                drop(self.order(&id, Command::Start, &[Person::Ann]));
            }
            if resume {
                self.resume(&id);
            }
            for wave in approve {
                for (n, person) in [Person::Ann, Person::Ben, Person::Cem].into_iter().enumerate() {
                    let delay = Ms::try_from(n).unwrap_or(0) * 400 + 100;
                    let command = Command::Approve { wave: wave.clone() };
                    self.after(delay, What::Person(Act::Order { id: id.clone(), command, by: vec![person] }));
                }
            }
        }
        self.after(40 * SECOND, What::Person(Act::Help));
    }

    fn is_signed(&self, rollout: &Rollout) -> bool {
        let path = wardround_signing::tuf::rollout_path(rollout.id.as_str(), u64::from(rollout.version));
        let digest = Digest::of(&document_bytes(rollout).unwrap());
        path.is_ok_and(|path| self.tower.published.as_ref().is_some_and(|p| p.agrees(&path, digest)))
    }

    /// A wish of the shell that nobody answers for.
    pub fn wish(&mut self, wish: Wish) -> bool {
        self.commit(vec![vec![wish]]).is_some_and(|committed| accepted(&committed.answers))
    }
}

fn accepted(answers: &[Answer]) -> bool {
    answers.iter().all(|answer| matches!(answer, Answer::Outcomes(all) if all.iter().all(Result::is_ok)))
}
