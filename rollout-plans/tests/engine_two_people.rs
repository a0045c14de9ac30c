//! What one person alone can't order: it waits for a second, and ends where something comes between.
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod engine_support;

use engine_support::{order_of, resume, rollout_id, signatory, site, ward::Ward};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::Role;

const RELEASE: &[Role] = &[Role::Release];
const CLINICAL: &[Role] = &[Role::Clinical];
const ON_CALL: &[Role] = &[Role::OnCall];

/// A running rollout of two devices at one site, and who orders what.
struct Night {
    ward: Ward,
    document: Rollout,
}

type Who<'a> = (&'a str, &'a [Role]);

impl Night {
    fn new() -> Self {
        let mut ward = Ward::new();
        let document = ward.start("r1", &["rx1/ct", "rx1/mr"], 2, Scope::Device);
        ward.moves("r1", "ct", DeploymentState::Soaking);
        Self { ward, document }
    }

    fn halted() -> Self {
        let mut night = Self::new();
        night.order(&[("Olu", ON_CALL)], Command::Halt).unwrap();
        night
    }

    fn view(&self) -> RolloutView {
        self.ward.state.rollout(&self.document.id).unwrap()
    }

    fn event(&self, who: &[Who<'_>], command: Command) -> Event {
        let signers = who.iter().map(|(who, roles)| signatory(who, roles)).collect();
        order_of(&self.document, self.view().order_counter + 1, signers, command, "seen", self.ward.now)
    }

    fn order(&mut self, who: &[Who<'_>], command: Command) -> Result<Vec<Effect>, Refusal> {
        let event = self.event(who, command);
        self.ward.state.step(&event, self.ward.now)
    }

    /// The very same bytes, with the signatures of all of these.
    fn cosign(&mut self, event: &Event, who: &[Who<'_>]) -> Result<Vec<Effect>, Refusal> {
        let Event::Order { order, envelope, .. } = event else { unreachable!() };
        let signers = who.iter().map(|(who, roles)| signatory(who, roles)).collect();
        self.ward.state.step(&Event::order(order.clone(), signers, envelope.clone()), self.ward.now)
    }

    fn propose(&mut self, who: Who<'_>, command: Command) -> Event {
        let event = self.event(&[who], command);
        self.ward.state.step(&event, self.ward.now).unwrap();
        assert!(!self.view().pending.is_empty());
        event
    }

    fn resume(&self) -> Command {
        resume(&self.ward.state, &self.document.id)
    }

    fn action(&self, name: &str) -> GoalAction {
        let part = &self.ward.state.directive(&site("rx1"))[0];
        part.goals.iter().find(|g| g.member.device.name() == name).unwrap().action
    }
}

fn back(target: RollBackTarget) -> Command {
    Command::RollBack { target }
}

fn is_stale(outcome: &Result<Vec<Effect>, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::StaleOrder { .. }))
}

#[test]
fn a_rollback_waits_for_a_second_person_and_is_then_done() {
    let mut night = Night::new();
    let event = night.propose(("Olu", ON_CALL), back(RollBackTarget::Rollout));
    assert_eq!(night.action("ct"), GoalAction::Install, "nothing happens yet");
    assert_eq!(night.view().state, RolloutState::Running);
    let waiting = night.view().pending.remove(0);
    assert_eq!(
        (waiting.what.as_str(), waiting.signed_by.as_slice()),
        ("roll back everything", &["Olu".to_owned()][..])
    );
    assert_eq!((waiting.counter, waiting.reason.as_str()), (2, "seen"));
    assert_eq!(waiting.until, night.ward.now.after(SECOND_SIGNATURE_WITHIN));
    // The same person again, and under another spelling with another key.
    for again in [("Olu", ON_CALL), ("OLU", RELEASE), ("Node", &[Role::Node])] {
        let refused = night.cosign(&event, &[("Olu", ON_CALL), again]).unwrap_err();
        assert!(matches!(refused, Refusal::NotPermitted { .. }), "{refused}");
    }
    let effects = night.cosign(&event, &[("Olu", ON_CALL), ("Ben", CLINICAL)]).unwrap();
    let said = |e: &Effect| matches!(e, Effect::Audit { kind, text, .. } if kind == "order" && text.contains("by Olu and Ben"));
    assert!(effects.iter().any(said), "{effects:?}");
    assert_eq!((night.view().state, night.action("ct")), (RolloutState::RollingBack, GoalAction::RollBack));
    assert!(night.view().pending.is_empty());
    let replayed = night.cosign(&event, &[("Olu", ON_CALL), ("Ben", CLINICAL)]);
    assert!(is_stale(&replayed), "{replayed:?}");
}

#[test]
fn two_people_at_once_need_not_wait() {
    let mut night = Night::new();
    night.order(&[("Olu", ON_CALL), ("Ann", RELEASE)], back(RollBackTarget::Rollout)).unwrap();
    assert_eq!(night.view().state, RolloutState::RollingBack);
    let mut night = Night::halted();
    let resume = night.resume();
    night.order(&[("Ben", CLINICAL), ("Ann", RELEASE)], resume).unwrap();
    assert_eq!(night.view().state, RolloutState::Running);
}

#[test]
fn a_resume_needs_a_release_manager_among_the_two() {
    let mut night = Night::halted();
    let resume = night.resume();
    let refused = night.order(&[("Olu", ON_CALL)], resume.clone()).unwrap_err();
    assert_eq!(refused.to_string(), "resume needs a signature of release or clinical");
    let event = night.propose(("Ben", CLINICAL), resume);
    assert_eq!(night.view().pending[0].roles, [Role::Release]);
    let waiting = night.view().waves[0].waiting.clone().unwrap().on;
    assert_eq!(waiting.code(), "second_signature");
    assert!(waiting.to_string().contains("order 3, the resume that Ben signed"), "{waiting}");
    // A second clinical officer is a second person, and still no release manager.
    night.cosign(&event, &[("Ben", CLINICAL), ("Cem", CLINICAL)]).unwrap();
    assert_eq!((night.view().state, night.view().pending[0].signed_by.len()), (RolloutState::Halted, 2));
    night.cosign(&event, &[("Ben", CLINICAL), ("Cem", CLINICAL), ("Ann", RELEASE)]).unwrap();
    assert_eq!(night.view().state, RolloutState::Running);
}

#[test]
fn a_halt_that_comes_between_ends_a_resume_that_waits() {
    let mut night = Night::halted();
    let resume = night.resume();
    let event = night.propose(("Ann", RELEASE), resume);
    // With the counter of the resume itself, as two people write at the same moment.
    let halt = order_of(&night.document, 3, vec![signatory("Olu", ON_CALL)], Command::Halt, "again", night.ward.now);
    night.ward.step(&halt);
    assert!(night.view().pending.is_empty());
    let late = night.cosign(&event, &[("Ann", RELEASE), ("Ben", CLINICAL)]);
    assert!(is_stale(&late), "{late:?}");
    assert_eq!(night.view().state, RolloutState::Halted);
}

#[test]
fn a_resume_lifts_no_halt_that_it_does_not_name() {
    let mut night = Night::halted();
    let seen = night.resume();
    night.order(&[("Cy", ON_CALL)], Command::Halt).unwrap();
    let both: [Who<'_>; 2] = [("Ann", RELEASE), ("Ben", CLINICAL)];
    for lifts in [seen, Command::Resume { lifts: Vec::new() }] {
        let unseen = night.order(&both, lifts);
        assert!(is_stale(&unseen), "{unseen:?}");
        assert!(unseen.unwrap_err().to_string().contains("the halt by"), "it says which");
    }
    let all = night.resume();
    night.order(&both, all).unwrap();
    assert!(night.view().halts_in_force.is_empty());
    // After a pause there is none to name.
    night.order(&[("Ann", RELEASE)], Command::Pause).unwrap();
    night.order(&both, Command::Resume { lifts: Vec::new() }).unwrap();
    assert_eq!(night.view().state, RolloutState::Running);
}

#[test]
fn a_rollback_waits_on_through_halts_and_ends_when_ordered_anew() {
    let mut night = Night::new();
    let first = night.propose(("Olu", ON_CALL), back(RollBackTarget::Site { site: site("rx1") }));
    let other = night.propose(("Olu", ON_CALL), back(RollBackTarget::Rollout));
    night.order(&[("Cy", ON_CALL)], Command::Halt).unwrap();
    assert_eq!(night.view().pending.len(), 2);
    let anew = night.propose(("Ann", RELEASE), back(RollBackTarget::Rollout));
    assert_eq!(night.view().pending.len(), 2, "it has taken the place of the other");
    assert!(is_stale(&night.cosign(&other, &[("Olu", ON_CALL), ("Ben", CLINICAL)])));
    night.cosign(&first, &[("Olu", ON_CALL), ("Ben", CLINICAL)]).unwrap();
    assert_eq!(night.action("ct"), GoalAction::RollBack);
    night.cosign(&anew, &[("Ann", RELEASE), ("Ben", CLINICAL)]).unwrap();
    assert_eq!(night.view().order_counter, 5, "counters are used up once and never go down");
}

#[test]
fn what_waits_too_long_ends_by_itself() {
    let mut night = Night::halted();
    let resume = night.resume();
    let event = night.propose(("Ann", RELEASE), resume);
    let until = night.view().pending[0].until;
    // Also after a restart from a snapshot.
    night.ward.state = serde_json::from_slice(&serde_json::to_vec(&night.ward.state).unwrap()).unwrap();
    assert!(night.ward.state.next_wake().is_some_and(|wake| wake <= until));
    night.ward.now = until;
    let late = night.cosign(&event, &[("Ann", RELEASE), ("Ben", CLINICAL)]);
    assert!(is_stale(&late), "before any tick: {late:?}");
    let effects = night.ward.step(&Event::Tick);
    let said =
        |e: &Effect| matches!(e, Effect::Audit { kind, text, .. } if kind == "order_ended" && text.contains("in time"));
    assert!(effects.iter().any(said) && night.view().pending.is_empty(), "{effects:?}");
    let late = night.cosign(&event, &[("Ann", RELEASE), ("Ben", CLINICAL)]);
    assert!(is_stale(&late), "{late:?}");
}

#[test]
fn one_person_may_withdraw_what_waits() {
    let mut night = Night::new();
    let event = night.propose(("Olu", ON_CALL), back(RollBackTarget::Rollout));
    let none = night.order(&[("Ben", CLINICAL)], Command::Withdraw { order: 9 }).unwrap_err();
    assert!(matches!(none, Refusal::NotFound { what: "waiting order", .. }), "{none}");
    night.order(&[("Ben", CLINICAL)], Command::Withdraw { order: 2 }).unwrap();
    assert!(night.view().pending.is_empty());
    let late = night.cosign(&event, &[("Olu", ON_CALL), ("Ben", CLINICAL)]);
    assert!(is_stale(&late), "{late:?}");
}

#[test]
fn only_so_many_wait_at_once() {
    let devices: Vec<String> = (0..20).map(|d| format!("rx1/d{d}")).collect();
    let names: Vec<&str> = devices.iter().map(String::as_str).collect();
    let mut ward = Ward::new();
    let document = ward.start("r1", &names, 20, Scope::Device);
    let mut night = Night { ward, document };
    for name in &names {
        night.propose(("Olu", ON_CALL), back(RollBackTarget::Device { device: engine_support::device(name) }));
    }
    let waiting = night.view().pending;
    assert_eq!(waiting.len(), 16);
    assert!(waiting.windows(2).all(|w| w[0].counter < w[1].counter), "the oldest had to go");
    assert_eq!(waiting[15].counter, night.view().order_counter);
}

#[test]
fn an_order_that_could_not_be_carried_out_does_not_begin_to_wait() {
    let mut night = Night::new();
    let resume = Command::Resume { lifts: Vec::new() };
    let refused = night.order(&[("Ann", RELEASE)], resume).unwrap_err();
    assert!(matches!(refused, Refusal::InvalidTransition { .. }), "{refused}");
    assert_eq!(rollout_id("r1"), night.document.id);
    assert!(night.view().pending.is_empty());
}
