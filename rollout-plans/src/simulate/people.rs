//! The modelled people: each role is one person, who takes their time and keeps office hours.

use jiff::{Timestamp as Instant, civil::Weekday, tz::TimeZoneDatabase};
use wardround_signing::{Envelope, KeyId, Role};

use super::{
    model::People,
    prepared::Prepared,
    queue::Happening,
    world::{Phase, Purpose, World},
};
use crate::{
    engine::{Event, Glance, RolloutState, WaitingOn, WaveState},
    model::{Command, Order, RollBackTarget, Signatory, Timestamp, WaveName},
};

/// On-call, when staff have reported a broken device: first a halt, then with a second person the rollback.
const ROLLS_BACK: u8 = u8::MAX;
/// Most days until the next working day: a week and a day.
const DAYS_MAX: usize = 8;

/// What people are about to do.
#[derive(Debug, Default)]
pub(super) struct Desk {
    counter: u64,
    approvals: Vec<Asked>,
    /// A rollback is being decided.
    deciding: bool,
    asked: u64,
}

#[derive(Debug, Clone)]
struct Asked {
    wave: WaveName,
    role: Role,
    open: bool,
}

impl Desk {
    /// Somebody is about to do something that is no approval.
    pub(super) fn is_busy(&self) -> bool {
        self.deciding
    }
}

impl World<'_> {
    fn order(&mut self, roles: &[Role], command: Command, reason: &str) {
        self.desk.counter += 1;
        let order = Order {
            rollout: self.p.id.clone(),
            digest: self.p.digest,
            counter: self.desk.counter,
            issued_at: Timestamp(self.now),
            command,
            reason: reason.to_owned(),
        };
        let Ok(envelope) = Envelope::unsigned(&order) else { return };
        let event = Event::order(order, roles.iter().map(|role| person(*role)).collect(), envelope);
        self.step(&event, None);
    }

    pub(super) fn order_start(&mut self) {
        self.order(&[Role::Release], Command::Start, "");
    }

    /// A wave or a decision has moved: whom does it wait for now?
    pub(super) fn ask_people(&mut self, glance: Glance) {
        let awaits = glance.next == Some(WaveState::AwaitingApproval) || glance.short;
        if !awaits || glance.state != RolloutState::Running {
            return;
        }
        let Some((w, on)) = self.state.held_up_by(&self.p.id, 1) else { return };
        let (roles, wave) = match on {
            WaitingOn::Approval { roles, .. } => (roles, if glance.short { w + 1 } else { w }),
            WaitingOn::Evidence { .. } | WaitingOn::CheckableEvidence { .. } | WaitingOn::GateTest { .. } => {
                (vec![Role::Release, Role::Clinical], w + 1)
            }
            _ => return,
        };
        let Some(name) = self.p.plan.waves.get(usize::from(wave)).map(|w| w.name.clone()) else { return };
        for role in roles {
            let known = |asked: &Asked| asked.open && asked.wave == name && asked.role == role;
            if !self.desk.approvals.iter().any(known) && self.desk.approvals.len() < usize::from(ROLLS_BACK) {
                self.ask(name.clone(), role);
            }
        }
    }

    fn ask(&mut self, wave: WaveName, role: Role) {
        let Some(span) = self.model.people.approve else { return };
        self.desk.asked += 1;
        let lasts = self.chance(Purpose::Approve, self.desk.asked).within(span.least, span.most);
        let begins = at_work(&self.model.people, self.now);
        let at = at_work(&self.model.people, begins.saturating_add_unsigned(lasts));
        let who = u8::try_from(self.desk.approvals.len()).unwrap_or(ROLLS_BACK);
        self.desk.approvals.push(Asked { wave, role, open: true });
        self.queue.push(at, Happening::Person(who));
    }

    pub(super) fn person(&mut self, who: u8) {
        if who == ROLLS_BACK {
            self.desk.deciding = false;
            if self.seen.is_some_and(|g| !g.state.is_ended() && g.state != RolloutState::RollingBack) {
                let command = Command::RollBack { target: RollBackTarget::Rollout };
                self.order(&[Role::OnCall, Role::Clinical], command, "devices are broken");
            }
            return;
        }
        let Some(asked) = self.desk.approvals.get_mut(usize::from(who)).filter(|asked| asked.open) else { return };
        asked.open = false;
        let Asked { wave, role, .. } = asked.clone();
        if self.seen.is_some_and(|g| g.state == RolloutState::Running) {
            self.order(&[role], Command::Approve { wave }, "");
        }
    }

    /// Staff report a broken device. On-call halts at once; that all is taken back two people decide.
    pub(super) fn noticed(&mut self, d: u32) {
        self.open -= 1;
        let broken = self.devices[d as usize].broken && self.devices[d as usize].phase != Phase::Backing;
        let Some(glance) = self.seen.filter(|_| broken && !self.desk.deciding) else { return };
        if !matches!(glance.state, RolloutState::Running | RolloutState::Paused | RolloutState::Completed) {
            return;
        }
        if glance.state != RolloutState::Completed {
            let device = &self.p.members[d as usize].device;
            self.order(&[Role::OnCall], Command::Halt, &format!("staff report that {device} is broken"));
        }
        self.desk.deciding = true;
        let span = self.model.people.approve.unwrap_or(super::model::Span::just(3_600_000));
        let lasts = self.chance(Purpose::Approve, u64::from(d) << 32).within(span.least, span.most);
        self.queue.push(self.now.saturating_add_unsigned(lasts), Happening::Person(ROLLS_BACK));
    }
}

fn person(role: Role) -> Signatory {
    let name = format!("modelled {role}");
    Signatory { key: KeyId::claimed(&name), holder: name, roles: [role].into() }
}

/// The first moment from `at` on at which people are at work: Monday to Friday in office hours.
pub(super) fn at_work(people: &People, at: i64) -> i64 {
    let (from, to) = people.office;
    let zone = TimeZoneDatabase::bundled().get(&people.zone).ok();
    let Some((zone, now)) = zone.zip(Instant::from_millisecond(at).ok()).filter(|_| from != to) else { return at };
    let wall = zone.to_datetime(now);
    let minute = u32::from(wall.hour().unsigned_abs()) * 60 + u32::from(wall.minute().unsigned_abs());
    let dates = std::iter::successors(Some(wall.date()), |date| date.tomorrow().ok());
    for (days, date) in dates.take(DAYS_MAX).enumerate() {
        if matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday) || (days == 0 && minute >= to) {
            continue;
        }
        if days == 0 && minute >= from {
            return at;
        }
        let (hour, minute) = (i8::try_from(from / 60).unwrap_or(0), i8::try_from(from % 60).unwrap_or(0));
        let Ok(moment) = zone.to_timestamp(date.at(hour, minute, 0, 0)) else { return at };
        return moment.as_millisecond();
    }
    at
}

impl Prepared {
    /// When the first order is given.
    #[must_use]
    pub fn start(&self) -> Timestamp {
        self.start
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Model;
    use super::*;

    #[test]
    fn people_work_on_weekdays_by_their_own_clock() {
        let people = Model::standard().people;
        let at = |text: &str| text.parse::<Instant>().unwrap().as_millisecond();
        let next = |text: &str| Instant::from_millisecond(at_work(&people, at(text))).unwrap().to_string();
        assert_eq!(next("2026-11-24T10:30:00Z"), "2026-11-24T10:30:00Z");
        assert_eq!(next("2026-11-24T03:00:00Z"), "2026-11-24T08:00:00Z");
        assert_eq!(next("2026-11-24T17:00:00Z"), "2026-11-25T08:00:00Z");
        assert_eq!(next("2026-11-27T18:00:00Z"), "2026-11-30T08:00:00Z", "after the weekend");
        assert_eq!(next("2026-07-01T07:10:00Z"), "2026-07-01T07:10:00Z", "08:10 in London in summer");
        let always = People { office: (0, 0), ..people };
        assert_eq!(at_work(&always, at("2026-11-28T03:00:00Z")), at("2026-11-28T03:00:00Z"));
    }
}
