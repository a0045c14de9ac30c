//! Orders: read where the rollout stands, sign, submit; a stale order is signed again.

use clap::Args;
use tonic::Code;
use wardround_proto::v1;
use wardround_rollout_plans::model::{
    Command, DeviceId, Order, REASON_BYTES_MAX, RollBackTarget, Rollout as Document, RolloutId, SiteId, Timestamp,
    WaveName,
};
use wardround_signing::{Digest, Envelope, read_document};

use super::{amend, cosign, shown};
use crate::{
    ask,
    client::{Controller, call, from_wire, incomplete, to_wire},
    failure::{Exit, Failure},
    output::{self, count},
    session::Session,
    signer::Person,
    when,
};

/// How often an order is signed again because another one came first.
const STALE_RETRIES_MAX: u32 = 3;

/// Start a signed rollout: its first wave begins
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout start winter-1 --key ann.key")]
pub(super) struct Start {
    /// Rollout id
    id: String,
}

/// Approve a wave, so that it may begin
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout approve winter-1 pilot --key ben.key")]
pub(super) struct Approve {
    /// Rollout id
    id: String,
    /// Wave name
    wave: WaveName,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
}

/// Offer the patch to no further device; what runs goes on
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout pause winter-1 --reason \"change freeze\"")]
pub(super) struct Pause {
    /// Rollout id
    id: String,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
}

/// Go on after a pause or a halt; two people must sign, one of them a release manager
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround rollout resume winter-1 --reason \"network repaired\"

It shows which halts it lifts, and asks. A second person then signs it with `wardround rollout cosign winter-1`.")]
pub(super) struct Resume {
    /// Rollout id
    id: String,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
    /// Do it without being asked
    #[arg(long)]
    yes: bool,
}

/// Take the patch back from a device, a site, a wave or everywhere; two people must sign
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround rollout rollback winter-1 --site rx1 --reason \"viewer shows no images\"

A second person then signs it with `wardround rollout cosign winter-1`; or both keys are on one machine:
  wardround rollout rollback winter-1 --all --reason \"images missing\" --key cy.key --key ben.key")]
pub(super) struct RollBack {
    /// Rollout id
    id: String,
    #[command(flatten)]
    target: Target,
    /// Why, for the record
    #[arg(long)]
    reason: String,
    /// Do it without being asked
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// From this device ("site/name")
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceId>,
    /// From every device of this site
    #[arg(long, value_name = "SITE")]
    site: Option<SiteId>,
    /// From every device of this wave
    #[arg(long, value_name = "WAVE")]
    wave: Option<WaveName>,
    /// From every device
    #[arg(long)]
    all: bool,
}

/// End a rollout for good: nothing more is installed, what is installed stays
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout cancel winter-1 --reason \"superseded\"")]
pub(super) struct Cancel {
    /// Rollout id
    id: String,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
    /// Do it without being asked
    #[arg(long)]
    yes: bool,
}

impl Start {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        simple(session, &self.id, Command::Start, "", "started").await
    }
}

impl Approve {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let done = format!("wave {} approved", self.wave);
        let controller = session.connect().await?;
        let rollout = controller.rollout(&self.id).await?;
        if amend::awaited(&rollout, self.wave.as_str()).is_some() {
            let waiting = amend::read(&controller, &rollout).await?;
            eprintln!("{}", output::harmless(&waiting.difference.join("\n")));
            eprintln!("approving wave {} as {} has it", self.wave, waiting.name());
        }
        simple(session, &self.id, Command::Approve { wave: self.wave.clone() }, &self.reason, &done).await
    }
}

impl Pause {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        simple(session, &self.id, Command::Pause, &self.reason, "paused").await
    }
}

impl Resume {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let before = controller.rollout(&self.id).await?;
        for line in halt_lines(&before.halts_in_force) {
            eprintln!("{line}");
        }
        let lifts = lifted(&before)?;
        ask::confirm(&resume_question(&before), self.yes).await?;
        let people = session.signers().await?;
        let command = Command::Resume { lifts };
        let rollout = submit_as(&controller, &people, before, &command, &self.reason).await?;
        finish(session, &rollout, "resumed")
    }
}

/// "resume rollout winter-1 and lift 2 halts"
fn resume_question(rollout: &v1::Rollout) -> String {
    match rollout.halts_in_force.len() {
        0 => format!("resume rollout {}, which is {}", rollout.id, shown::words(&rollout.state)),
        n => format!("resume rollout {} and lift {}", rollout.id, count(n, "halt")),
    }
}

/// One line for each halt that a resume would lift.
pub(super) fn halt_lines(halts: &[v1::HaltInForce]) -> Vec<String> {
    let line = |halt: &v1::HaltInForce| {
        let why = if halt.reason.is_empty() { "no reason given" } else { &halt.reason };
        output::one_line(&format!("halt by {} at {} (order {}): {why}", halt.by, when::local(halt.at_ms), halt.counter))
    };
    halts.iter().map(line).collect()
}

/// Digests of the halts in force, which a resume names.
pub(crate) fn lifted(rollout: &v1::Rollout) -> Result<Vec<Digest>, Failure> {
    let digests = rollout.halts_in_force.iter().map(|halt| Digest::from_slice(&halt.order));
    digests.collect::<Result<_, _>>().map_err(|_| incomplete("halt in force"))
}

impl RollBack {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let (target, place) = self.target.choose()?;
        let controller = session.connect().await?;
        let touched = touched(&controller.rollout(&self.id).await?, &target);
        ask::confirm(&format!("take the patch back from {place} ({touched}) in rollout {}", self.id), self.yes).await?;
        let people = session.signers().await?;
        let command = Command::RollBack { target };
        let before = controller.rollout(&self.id).await?;
        let rollout = submit_as(&controller, &people, before, &command, &self.reason).await?;
        finish(session, &rollout, &format!("taking the patch back from {place}"))
    }
}

impl Cancel {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let before = controller.rollout(&self.id).await?;
        let open: u64 = before.waves.iter().map(|w| w.device_count.saturating_sub(shown::count_in(w, &ENDED))).sum();
        let question = format!("cancel rollout {} for good, with {} still to go", self.id, count(open, "device"));
        ask::confirm(&question, self.yes).await?;
        let person = session.signer().await?;
        let rollout = submit(&controller, &person, &self.id, &Command::Cancel, &self.reason).await?;
        finish(session, &rollout, "cancelled; what is installed stays")
    }
}

impl Target {
    fn choose(&self) -> Result<(RollBackTarget, String), Failure> {
        match self {
            Self { device: Some(device), .. } => {
                Ok((RollBackTarget::Device { device: device.clone() }, format!("device {device}")))
            }
            Self { site: Some(site), .. } => Ok((RollBackTarget::Site { site: site.clone() }, format!("site {site}"))),
            Self { wave: Some(wave), .. } => Ok((RollBackTarget::Wave { wave: wave.clone() }, format!("wave {wave}"))),
            Self { all: true, .. } => Ok((RollBackTarget::Rollout, "every device".into())),
            _ => Err(Failure::usage("where from? name --device, --site, --wave or --all")),
        }
    }
}

/// States of deployments to which nothing more happens.
const ENDED: [&str; 5] = ["succeeded", "skipped", "failed", "rolled_back", "rollback_failed"];
/// States of deployments that may hold the patch.
const HOLDING: [&str; 7] =
    ["installing", "rebooting", "verifying", "soaking", "succeeded", "rollback_failed", "unknown"];

/// "12 devices hold it or may", for the question.
fn touched(rollout: &v1::Rollout, target: &RollBackTarget) -> String {
    let waves = rollout.waves.iter().filter(|w| match target {
        RollBackTarget::Wave { wave } => w.name == wave.as_str(),
        _ => true,
    });
    let holding: u64 = waves.map(|w| shown::count_in(w, &HOLDING)).sum();
    match target {
        RollBackTarget::Device { .. } => "1 device".into(),
        RollBackTarget::Site { .. } => format!("its share of {} that hold the patch or may", count(holding, "device")),
        _ => format!("{} that hold the patch or may", count(holding, "device")),
    }
}

pub(super) async fn simple(
    session: &Session,
    id: &str,
    command: Command,
    reason: &str,
    done: &str,
) -> Result<Exit, Failure> {
    let controller = session.connect().await?;
    let person = session.signer().await?;
    let rollout = submit(&controller, &person, id, &command, reason).await?;
    finish(session, &rollout, done)
}

/// Says what came of an order: done, or waiting for a second person.
pub(super) fn finish(session: &Session, given: &Given, done: &str) -> Result<Exit, Failure> {
    let rollout = &given.rollout;
    output::emit(session.format(), &shown::Shown::new(rollout), || match given.waits() {
        None => format!("{done}: rollout {} is {}", rollout.id, shown::words(&rollout.state)),
        Some(waiting) => cosign::waits(rollout, waiting),
    })?;
    Ok(Exit::Ok)
}

/// A rollout after an order about it.
pub(crate) struct Given {
    pub(crate) rollout: v1::Rollout,
    order: Digest,
}

impl Given {
    pub(super) fn new(rollout: v1::Rollout, order: Digest) -> Self {
        Self { rollout, order }
    }

    /// The order, while it waits for a second person.
    pub(super) fn waits(&self) -> Option<&v1::PendingOrder> {
        self.rollout
            .pending_orders
            .iter()
            .find(|p| p.envelope.as_ref().is_some_and(|envelope| from_wire(envelope).digest() == self.order))
    }
}

/// Signs and submits an order about the rollout as it stands now.
pub(crate) async fn submit(
    controller: &Controller,
    person: &Person,
    id: &str,
    command: &Command,
    reason: &str,
) -> Result<Given, Failure> {
    let rollout = controller.rollout(id).await?;
    submit_as(controller, std::slice::from_ref(person), rollout, command, reason).await
}

/// Has these people sign an order about the rollout as they have seen it, and submits it.
pub(crate) async fn submit_as(
    controller: &Controller,
    people: &[Person],
    seen: v1::Rollout,
    command: &Command,
    reason: &str,
) -> Result<Given, Failure> {
    let id = seen.id.clone();
    if reason.len() > REASON_BYTES_MAX {
        return Err(Failure::usage(format!("the reason is longer than {REASON_BYTES_MAX} bytes")));
    }
    let mut retries = 0;
    let mut rollout = seen;
    loop {
        let order = Order {
            rollout: RolloutId::new(&id).map_err(|e| Failure::usage(e.to_string()))?,
            digest: ordered_digest(&rollout, command)?,
            counter: rollout.order_counter.saturating_add(1),
            issued_at: Timestamp(when::now_ms()),
            command: command.clone(),
            reason: reason.to_owned(),
        };
        let mut envelope = Envelope::unsigned(&order).map_err(|e| Failure::new(e.to_string()))?;
        for person in people {
            envelope.sign(&person.key).map_err(|e| Failure::new(e.to_string()))?;
        }
        match send(controller, command, to_wire(&envelope)).await {
            Ok(rollout) => {
                let rollout = rollout.ok_or_else(|| incomplete("rollout"))?;
                return Ok(Given { rollout, order: envelope.digest() });
            }
            Err(status) if status.code() == Code::Aborted && retries < STALE_RETRIES_MAX => {
                let now = controller.rollout(&id).await?;
                may_sign_again(command, &rollout, &now)?;
                rollout = now;
                retries += 1;
            }
            Err(status) => return Err(status.into()),
        }
    }
}

/// Whether an order that came second may be signed again without asking its signer. What stops or takes back may always.
/// What sets devices going, or ends the care for them, was decided in view of a state: a halt that came in between must
/// not be lifted by somebody who has never seen it.
fn may_sign_again(command: &Command, before: &v1::Rollout, now: &v1::Rollout) -> Result<(), Failure> {
    let stops = match command {
        Command::Halt | Command::Pause | Command::RollBack { .. } | Command::Withdraw { .. } | Command::Hold { .. } => {
            true
        }
        Command::Start
        | Command::Approve { .. }
        | Command::Resume { .. }
        | Command::Release { .. }
        | Command::Cancel => false,
    };
    // A resume names the halts that it lifts: with another halt the state is the same, and yet it is not.
    let version = |r: &v1::Rollout| (r.digest.clone(), r.amendment.as_ref().map(|waiting| waiting.digest.clone()));
    let same_version = version(before) == version(now);
    if stops || (same_version && before.state == now.state && before.halts_in_force == now.halts_in_force) {
        return Ok(());
    }
    let (was, is) = (shown::words(&before.state), shown::words(&now.state));
    let what = match was == is {
        _ if !same_version => format!("the devices of rollout {} have just been amended", now.id),
        true => format!("rollout {} has just been halted once more", now.id),
        false => format!("rollout {} was {was}, and another order has just made it {is}", now.id),
    };
    Err(Failure::refused(format!("the order to {} was not given: {what}", command.word()))
        .hint(format!("see `wardround rollout status {}`, and give the order again if it still stands", now.id)))
}

/// The document that an order names: that in force, or for an approval that the next version waits for, that one.
fn ordered_digest(rollout: &v1::Rollout, command: &Command) -> Result<Digest, Failure> {
    match command {
        Command::Approve { wave } => match amend::awaited(rollout, wave.as_str()) {
            Some(waiting) => amend::digest_of(waiting),
            None => document_digest(rollout),
        },
        _ => document_digest(rollout),
    }
}

/// The digest of the very document, computed here: an order must not be turned to another rollout of the same id.
pub(crate) fn document_digest(rollout: &v1::Rollout) -> Result<Digest, Failure> {
    let differs = |why: String| {
        Failure::refused(format!("no order was signed for rollout {}: {why}", rollout.id))
            .hint("the controller shows something else than it holds: tell its operators")
    };
    let document: Document = read_document(&rollout.document).map_err(differs)?;
    if document.id.as_str() != rollout.id {
        return Err(differs(format!("its document says {}", document.id)));
    }
    let digest = Digest::of(&rollout.document);
    if digest.as_bytes().as_slice() != rollout.digest.as_slice() {
        return Err(differs("its document does not match the digest that is shown".into()));
    }
    Ok(digest)
}

pub(crate) async fn send(
    controller: &Controller,
    command: &Command,
    order: v1::Envelope,
) -> Result<Option<v1::Rollout>, tonic::Status> {
    let mut service = controller.rollouts();
    let order = Some(order);
    Ok(match command {
        Command::Start => service.start_rollout(call(v1::StartRolloutRequest { order })).await?.into_inner().rollout,
        Command::Approve { .. } => {
            service.approve_wave(call(v1::ApproveWaveRequest { order })).await?.into_inner().rollout
        }
        Command::Pause => service.pause_rollout(call(v1::PauseRolloutRequest { order })).await?.into_inner().rollout,
        Command::Resume { .. } => {
            service.resume_rollout(call(v1::ResumeRolloutRequest { order })).await?.into_inner().rollout
        }
        Command::Halt => service.halt_rollout(call(v1::HaltRolloutRequest { order })).await?.into_inner().rollout,
        Command::RollBack { .. } => {
            service.roll_back_rollout(call(v1::RollBackRolloutRequest { order })).await?.into_inner().rollout
        }
        Command::Cancel => service.cancel_rollout(call(v1::CancelRolloutRequest { order })).await?.into_inner().rollout,
        Command::Hold { .. } => service.hold_wave(call(v1::HoldWaveRequest { order })).await?.into_inner().rollout,
        Command::Release { .. } => {
            service.release_wave(call(v1::ReleaseWaveRequest { order })).await?.into_inner().rollout
        }
        Command::Withdraw { .. } => {
            service.withdraw_order(call(v1::WithdrawOrderRequest { order })).await?.into_inner().rollout
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(state: &str) -> v1::Rollout {
        v1::Rollout { id: "r1".into(), state: state.into(), ..Default::default() }
    }

    #[test]
    fn a_halt_that_came_first_is_not_lifted_unseen() {
        let again = |command: &Command, now: &str| may_sign_again(command, &rollout("paused"), &rollout(now));
        let wave = WaveName::new("pilot").unwrap();
        for command in
            [Command::Start, Command::Resume { lifts: Vec::new() }, Command::Cancel, Command::Approve { wave }]
        {
            assert!(again(&command, "paused").is_ok(), "{command:?}: nothing that it was decided on has changed");
            let refused = again(&command, "halted").unwrap_err();
            assert_eq!(refused.exit, Exit::Refused);
            assert!(refused.message.contains("was paused") && refused.message.contains("halted"), "{refused}");
            assert!(refused.hint.contains("rollout status r1"), "{refused}");
        }
        let halted = |n: u64| {
            let halts_in_force = (0..n).map(|counter| v1::HaltInForce { counter, ..Default::default() }).collect();
            v1::Rollout { halts_in_force, ..rollout("halted") }
        };
        let resume = Command::Resume { lifts: Vec::new() };
        let refused = may_sign_again(&resume, &halted(1), &halted(2)).unwrap_err();
        assert!(refused.message.contains("halted once more"), "{refused}");
        for command in [Command::Halt, Command::Pause, Command::RollBack { target: RollBackTarget::Rollout }] {
            assert!(again(&command, "halted").is_ok(), "{command:?} makes nothing less safe");
        }
    }
}
