//! People's orders at the edges: who, when, with which counter.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

mod engine_support;

use engine_support::{
    WaveSpec, created, device, order, reported, resume, rollout, rollout_id, signatory, site, wave_name,
};
use wardround_rollout_plans::{engine::*, model::*};
use wardround_signing::{Digest, Role};

const NOW: Timestamp = Timestamp(1_000);

struct Desk {
    state: State,
    document: Rollout,
}

impl Desk {
    /// A signed rollout with three waves; the gates of the first two want approvals.
    fn signed() -> Self {
        let waves = [
            WaveSpec::new("canary", &["rx1/ct"]).approvals(&[Role::Clinical, Role::Release]),
            WaveSpec::new("pilot", &["rx1/mr"]),
            WaveSpec::new("full", &["rx2/ct"]),
        ];
        let (document, members) = rollout("r1", &waves, Limits::default(), Scope::Wave);
        let mut state = State::default();
        for id in ["rx1", "rx2"] {
            state.step(&Event::NodeEnrolled { site: site(id), node_key: engine_support::key(id) }, NOW).unwrap();
        }
        state.step(&created(&document, &members), NOW).unwrap();
        state.step(&Event::RolloutSigned { rollout: document.id.clone() }, NOW).unwrap();
        Self { state, document }
    }

    fn running() -> Self {
        let mut desk = Self::signed();
        desk.order("Ann", &[Role::Release], Command::Start).unwrap();
        desk
    }

    fn counter(&self) -> u64 {
        self.view().order_counter + 1
    }

    fn view(&self) -> RolloutView {
        self.state.rollout(&self.document.id).unwrap()
    }

    fn order(&mut self, who: &str, roles: &[Role], command: Command) -> Result<Vec<Effect>, Refusal> {
        self.order_at(self.counter(), who, roles, command)
    }

    fn order_at(&mut self, counter: u64, who: &str, roles: &[Role], command: Command) -> Result<Vec<Effect>, Refusal> {
        self.state.step(&order(&self.document, counter, who, roles, command, "", NOW), NOW)
    }
}

fn approve(wave: &str) -> Command {
    Command::Approve { wave: wave_name(wave) }
}

#[test]
fn an_order_counts_once_and_in_its_turn() {
    let mut desk = Desk::signed();
    for counter in [0, 2, u64::MAX] {
        let refused = desk.order_at(counter, "Ann", &[Role::Release], Command::Start).unwrap_err();
        assert!(matches!(refused, Refusal::StaleOrder { .. }), "{refused}");
    }
    desk.order_at(1, "Ann", &[Role::Release], Command::Start).unwrap();
    let replayed = desk.order_at(1, "Ann", &[Role::Release], Command::Start).unwrap_err();
    assert_eq!(replayed.to_string(), "this order is stale: its counter is 1, and the next is 2; make it again");
}

#[test]
fn an_order_for_another_document_of_the_same_id_is_stale() {
    let mut desk = Desk::signed();
    let Event::Order { mut order, roles, holders, signers, envelope } =
        order(&desk.document, 1, "Ann", &[Role::Release], Command::Start, "", NOW)
    else {
        unreachable!()
    };
    order.digest = Digest::of(b"another");
    let refused = desk.state.step(&Event::Order { order, roles, holders, signers, envelope }, NOW).unwrap_err();
    assert!(matches!(refused, Refusal::StaleOrder { .. }), "{refused}");
}

#[test]
fn roles_are_looked_at_again() {
    for (role, command, good) in [
        (Role::OnCall, Command::Start, false),
        (Role::Clinical, Command::Start, false),
        (Role::Controller, Command::Halt, false),
        (Role::Node, Command::Halt, false),
        (Role::OnCall, Command::Cancel, false),
        (Role::Release, Command::Start, true),
    ] {
        let mut desk = Desk::signed();
        let outcome = desk.order("Ann", &[role], command.clone());
        assert_eq!(outcome.is_ok(), good, "{role} {command:?}");
        assert_eq!(matches!(outcome, Err(Refusal::NotPermitted { .. })), !good, "{role} {command:?}");
    }
}

/// What each command may do in each state; the diagram of DESIGN as a table.
#[test]
fn the_state_decides_what_may_be_ordered() {
    use RolloutState::{Cancelled, Halted, Paused, Running, Signed};
    let roll_back = Command::RollBack { target: RollBackTarget::Rollout };
    let commands = [
        Command::Start,
        Command::Pause,
        Command::Resume { lifts: Vec::new() },
        Command::Halt,
        roll_back,
        Command::Cancel,
        approve("pilot"),
    ];
    let bring = |desk: &mut Desk, state| {
        let steps: &[Command] = match state {
            Signed => &[],
            Running => &[Command::Start],
            Paused => &[Command::Start, Command::Pause],
            Halted => &[Command::Start, Command::Halt],
            _ => &[Command::Cancel],
        };
        for step in steps {
            desk.order("Ann", &[Role::Release], step.clone()).unwrap();
        }
        assert_eq!(desk.view().state, state);
    };
    for (state, allowed) in [
        //          start  pause  resume halt   back   cancel approve
        (Signed, [true, false, false, false, false, true, true]),
        (Running, [false, true, false, true, true, true, true]),
        (Paused, [false, false, true, true, true, true, true]),
        (Halted, [false, false, true, true, true, true, true]),
        (Cancelled, [false; 7]),
    ] {
        for (command, allowed) in commands.iter().zip(allowed) {
            let mut desk = Desk::signed();
            bring(&mut desk, state);
            // Another counter than the halts before, so that a second halt is no replay.
            let command = match command {
                Command::Resume { .. } => resume(&desk.state, &desk.document.id),
                other => other.clone(),
            };
            let outcome = desk.order("Ann", &[Role::Release], command.clone());
            assert_eq!(outcome.is_ok(), allowed, "{} in {state:?}: {outcome:?}", command.word());
            if let Err(refusal) = outcome {
                assert!(matches!(refusal, Refusal::InvalidTransition { .. }), "{refusal}");
            }
        }
    }
}

#[test]
fn a_halt_is_never_late() {
    let mut desk = Desk::running();
    let effects = desk.order_at(0, "Olu", &[Role::OnCall], Command::Halt).unwrap();
    assert!(
        matches!(&effects[0], Effect::Halt { order: Some(_), sites, .. } if sites.len() == 2),
        "it leads: {effects:?}"
    );
    assert_eq!((desk.view().state, desk.view().order_counter), (RolloutState::Halted, 2));
    let again = desk.order_at(0, "Olu", &[Role::OnCall], Command::Halt).unwrap_err();
    assert!(matches!(again, Refusal::StaleOrder { .. }), "the very same halt is a replay: {again}");
    // From far ahead, and in a halted rollout: pushed again, and the counter follows.
    let effects = desk.order_at(40, "Olu", &[Role::OnCall], Command::Halt).unwrap();
    assert!(matches!(&effects[0], Effect::Halt { .. }));
    assert_eq!(desk.view().order_counter, 40);
    let resume = resume(&desk.state, &desk.document.id);
    desk.order_at(3, "Ann", &[Role::Release], resume.clone()).unwrap_err();
    desk.order_at(41, "Ann", &[Role::Release], resume).unwrap();
    assert_eq!(desk.view().state, RolloutState::Running);
}

/// A counter at the end of its numbers would leave none for the orders after it: no rollback, for ever.
#[test]
fn a_halt_from_absurdly_far_ahead_does_not_lock_the_rollout() {
    let mut desk = Desk::running();
    let refused = desk.order_at(u64::MAX, "Olu", &[Role::OnCall], Command::Halt).unwrap_err();
    assert!(refused.to_string().contains("make it again"), "{refused}");
    desk.order("Olu", &[Role::OnCall], Command::Halt).unwrap();
    desk.order("Olu", &[Role::OnCall], Command::RollBack { target: RollBackTarget::Rollout }).unwrap();
}

#[test]
fn after_a_halt_nothing_is_offered_and_directives_say_so() {
    let mut desk = Desk::running();
    desk.order("Olu", &[Role::OnCall], Command::Halt).unwrap();
    let part = &desk.state.directive(&site("rx1"))[0];
    assert_eq!((part.mode, part.goals.len()), (Mode::Halted, 1));
    let orders: Vec<Command> = part.orders.iter().map(|e| e.peek_unverified::<Order>().unwrap().command).collect();
    assert_eq!(orders, [Command::Start, Command::Halt]);
    assert!(desk.state.directive(&site("rx2"))[0].goals.is_empty(), "a wave that has not begun appears nowhere");
}

/// Only so many halts are remembered; an older one halts once more, which is the safe side.
#[test]
fn the_memory_for_halts_is_bounded() {
    let mut desk = Desk::running();
    for counter in 1_000..1_257 {
        desk.order_at(counter, "Olu", &[Role::OnCall], Command::Halt).unwrap();
    }
    desk.order_at(1_256, "Olu", &[Role::OnCall], Command::Halt).unwrap_err();
    desk.order_at(1_001, "Olu", &[Role::OnCall], Command::Halt).unwrap_err();
    desk.order_at(1_000, "Olu", &[Role::OnCall], Command::Halt).unwrap();
}

#[test]
fn an_order_of_nobody_or_without_end_is_refused() {
    let mut desk = Desk::running();
    let counter = desk.counter();
    let mut halt = |who: &[&str], reason: &str| {
        let made = order(&desk.document, counter, "Olu", &[Role::OnCall], Command::Halt, reason, NOW);
        let Event::Order { order, envelope, .. } = made else { unreachable!() };
        let signers = who.iter().map(|w| signatory(w, &[Role::OnCall])).collect();
        desk.state.step(&Event::order(order, signers, envelope), NOW).map(|_| ())
    };
    assert!(matches!(halt(&[], ""), Err(Refusal::NotPermitted { .. })));
    assert!(matches!(halt(&[" "], ""), Err(Refusal::NotPermitted { .. })));
    let long = halt(&["Olu"], &"x".repeat(REASON_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(long.to_string(), "the reason has 1001 bytes; at most 1000 are kept");
    halt(&["Olu"], &"x".repeat(REASON_BYTES_MAX)).unwrap();
}

#[test]
fn nobody_is_told_of_the_end_of_what_never_started() {
    let mut desk = Desk::signed();
    let effects = desk.order("Ann", &[Role::Release], Command::Cancel).unwrap();
    assert!(!effects.iter().any(|e| matches!(e, Effect::SiteChanged { .. })), "{effects:?}");
}

#[test]
fn approvals_are_counted_by_people() {
    let mut desk = Desk::running();
    let both = [Role::Release, Role::Clinical];
    let refused = desk.order("Olu", &[Role::OnCall], approve("pilot")).unwrap_err();
    assert_eq!(refused.to_string(), "wave pilot waits for the approval of release or clinical");
    let first = desk.order("Ann", &both, approve("canary")).unwrap_err();
    assert!(matches!(first, Refusal::InvalidTransition { .. }), "{first}");
    let none = desk.order("Ann", &both, approve("full")).unwrap_err();
    assert!(matches!(none, Refusal::NotPermitted { .. }), "the gate of pilot wants nobody: {none}");
    let unknown = desk.order("Ann", &both, approve("nowhere")).unwrap_err();
    assert!(matches!(unknown, Refusal::NotFound { what: "wave", .. }), "{unknown}");
    // One who holds both roles, early: accepted, and one role is still missing.
    desk.order("Ann", &both, approve("pilot")).unwrap();
    // Two signatures on one order can't be told apart by role.
    let counter = desk.counter();
    let Event::Order { order, envelope, .. } = order(&desk.document, counter, "Ann", &both, approve("pilot"), "", NOW)
    else {
        unreachable!()
    };
    let event = Event::order(order, vec![signatory("Ann", &both), signatory("Bob", &both)], envelope);
    assert!(matches!(desk.state.step(&event, NOW).unwrap_err(), Refusal::Invalid { .. }));
}

/// A node counts the approvals of every wave up to its device's: none before it may have begun without them.
#[test]
fn a_site_sees_the_approvals_of_waves_in_which_it_has_no_device() {
    let mut desk = Desk::running();
    let mut seq = 0;
    let mut succeed = |desk: &mut Desk, id: &str| {
        for state in [DeploymentState::Soaking, DeploymentState::Succeeded] {
            seq += 1;
            let body = ReportBody::Deployment {
                rollout: rollout_id("r1"),
                device: device(id),
                attempt: 1,
                state,
                reason: String::new(),
                code: String::new(),
                evidence: Evidence::default(),
            };
            // Longer than the soak, by the engine's own clock.
            let now = Timestamp(NOW.0 + 700_000 * i64::try_from(seq).unwrap());
            desk.state.step(&reported(&desk.state, &site("rx1"), seq, now, body), now).unwrap();
        }
    };
    succeed(&mut desk, "rx1/ct");
    desk.order("Ben", &[Role::Clinical], approve("pilot")).unwrap();
    desk.order("Ann", &[Role::Release], approve("pilot")).unwrap();
    let commands = |desk: &Desk, id: &str| -> usize { desk.state.directive(&site(id))[0].orders.len() };
    assert_eq!(commands(&desk, "rx2"), 1, "the start alone: nothing is offered to it yet");
    succeed(&mut desk, "rx1/mr");
    assert_eq!(desk.state.directive(&site("rx2"))[0].goals.len(), 1, "the third wave");
    assert_eq!(commands(&desk, "rx2"), 3, "and the approvals of the second");
}

#[test]
fn a_site_to_which_nothing_is_offered_yet_is_told_of_approvals_all_the_same() {
    let mut desk = Desk::running();
    let at = |minutes: i64| Timestamp(NOW.0 + minutes * 60_000);
    desk.state.step(&Event::SiteSilent { site: site("rx2") }, at(1)).unwrap();
    let mut seq = 0;
    let mut report = |desk: &mut Desk, id: &str, state| {
        seq += 1;
        let body = ReportBody::Deployment {
            rollout: rollout_id("r1"),
            device: device(id),
            attempt: 1,
            state,
            reason: String::new(),
            code: String::new(),
            evidence: Evidence::default(),
        };
        let now = at(12 * i64::try_from(seq).unwrap());
        desk.state.step(&reported(&desk.state, &site("rx1"), seq, now, body), now).unwrap()
    };
    report(&mut desk, "rx1/ct", DeploymentState::Soaking);
    report(&mut desk, "rx1/ct", DeploymentState::Succeeded);
    desk.order("Ben", &[Role::Clinical], approve("pilot")).unwrap();
    desk.order("Ann", &[Role::Release], approve("pilot")).unwrap();
    report(&mut desk, "rx1/mr", DeploymentState::Soaking);
    let before = desk.state.directive(&site("rx2"));
    let effects = report(&mut desk, "rx1/mr", DeploymentState::Succeeded);
    let after = desk.state.directive(&site("rx2"));
    assert!(after[0].goals.is_empty() && before[0].orders.len() + 2 == after[0].orders.len());
    assert!(effects.contains(&Effect::SiteChanged { site: site("rx2") }), "{effects:?}");
}

#[test]
fn a_rollback_must_find_something() {
    let mut desk = Desk::running();
    let back = |target| Command::RollBack { target };
    for (target, what) in [
        (RollBackTarget::Device { device: device("rx2/ct") }, "nothing to take back"),
        (RollBackTarget::Site { site: site("rx2") }, "nothing to take back"),
        (RollBackTarget::Wave { wave: wave_name("pilot") }, "nothing to take back"),
        (RollBackTarget::Device { device: device("rx9/ct") }, "there is no device"),
        (RollBackTarget::Site { site: site("rx9") }, "there is no site"),
        (RollBackTarget::Wave { wave: wave_name("nowhere") }, "there is no wave"),
    ] {
        let refused = desk.order("Olu", &[Role::OnCall], back(target)).unwrap_err().to_string();
        assert!(refused.contains(what), "{refused}");
    }
    desk.order("Olu", &[Role::OnCall], back(RollBackTarget::Device { device: device("rx1/ct") })).unwrap();
    assert_eq!(desk.state.directive(&site("rx1"))[0].goals[0].action, GoalAction::RollBack);
}

#[test]
fn a_rollout_must_agree_with_its_members() {
    let waves = [WaveSpec::new("canary", &["rx1/ct"]), WaveSpec::new("full", &["rx1/mr", "rx2/ct"])];
    let (document, members) = rollout("r1", &waves, Limits::default(), Scope::Wave);
    let refused = |document: &Rollout, members: &[Member]| {
        State::default().check(&created(document, members), NOW).unwrap_err().to_string()
    };
    assert!(refused(&document, &members[..2]).contains("wave full lacks members"));
    let mut other = members.clone();
    other[2].device = device("rx3/ct");
    assert!(refused(&document, &other).contains("do not lead to its root"));
    let mut more = members.clone();
    more.push(members[0].clone());
    assert!(refused(&document, &more).contains("stands in no wave"));
    let mut swapped = members.clone();
    swapped.swap(0, 1);
    assert!(refused(&document, &swapped).contains("stands among the members of wave canary"));
    let twice = [WaveSpec::new("canary", &["rx1/ct"]), WaveSpec::new("full", &["rx1/ct"])];
    let (twice, both) = rollout("r1", &twice, Limits::default(), Scope::Wave);
    assert!(refused(&twice, &both).contains("stands in two waves"));
    let mut other_plan = document.clone();
    other_plan.plan.waves.swap(0, 1);
    assert!(refused(&other_plan, &members).contains("are not those of its plan"));
    let alike = [WaveSpec::new("canary", &["rx1/ct"]), WaveSpec::new("canary", &["rx1/mr"])];
    let (alike, both) = rollout("r1", &alike, Limits::default(), Scope::Wave);
    assert!(refused(&alike, &both).contains("have the same name"));
    let empty = [WaveSpec::new("canary", &[])];
    let (empty, none) = rollout("r1", &empty, Limits::default(), Scope::Wave);
    assert!(refused(&empty, &none).contains("has no members"));
    let many: Vec<String> = (0..=WAVES_MAX).map(|d| format!("rx1/d{d}")).collect();
    let many: Vec<WaveSpec> = many.iter().map(|d| WaveSpec::new("w", &[d])).collect();
    let (many, each) = rollout("r1", &many, Limits::default(), Scope::Wave);
    assert!(refused(&many, &each).contains("51 waves; at most 50"));
    let mut state = State::default();
    state.step(&created(&document, &members), NOW).unwrap();
    assert!(matches!(state.step(&created(&document, &members), NOW), Err(Refusal::AlreadyExists { .. })));
    let nobody = Event::RolloutSigned { rollout: rollout_id("r9") };
    assert!(matches!(state.step(&nobody, NOW), Err(Refusal::NotFound { .. })));
}
