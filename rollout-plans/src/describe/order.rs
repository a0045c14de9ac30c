//! An order in plain words.

use wardround_signing::tuf::Moment;

use super::words::{by_site, kinds, some};
use crate::{
    language::shown,
    model::{Command, Member, Order, Patch, RollBackTarget, Rollout},
    words::count,
};

/// Most names that one line lists.
const NAMES_MAX: usize = 12;

/// What an order does, beside the rollout that it is about.
#[must_use]
pub fn describe_order(order: &Order, rollout: &Rollout, patch: &Patch, members: &[Member]) -> Vec<String> {
    let (command, effect, touched) = effect(&order.command, rollout, members);
    let mut lines = vec![
        format!("ORDER: {command} rollout {}.", order.rollout),
        format!(
            "The rollout brings patch {} ({}) to {} at {}.",
            rollout.patch,
            shown(&patch.title),
            count(members.len(), "device"),
            count(by_site(members).len(), "site")
        ),
        String::new(),
        format!("WHAT IT DOES\n  {effect}"),
    ];
    if let Some(touched) = touched {
        let devices: Vec<String> = touched.iter().map(|m| m.device.to_string()).collect();
        if touched.is_empty() {
            lines.push("  ! UNUSUAL: no device of this rollout is there, so it does nothing.".to_owned());
        } else {
            lines.push(format!("  It is about {}: {}", count(touched.len(), "device"), kinds(patch, &touched)));
            lines.push(format!("  {}", some(&devices, NAMES_MAX)));
        }
    }
    if let Command::Release { .. } = order.command {
        lines.push("  It counts with the signature of whoever put the hold, or of two people.".to_owned());
    } else if order.command.needs().people > 1 {
        lines.push("  It counts only with the signatures of two people.".to_owned());
    }
    let reason =
        if order.reason.is_empty() { "none is given".to_owned() } else { format!("{:?}", shown(&order.reason)) };
    lines.push(format!("WHY, for the record\n  {reason}"));
    lines.push(format!(
        "Written at {}, as order {} of this rollout; it counts once.",
        Moment::from_ms(order.issued_at.0),
        order.counter
    ));
    lines.iter().flat_map(|line| line.lines().map(str::to_owned).chain(line.is_empty().then(String::new))).collect()
}

/// The word, what it does, and to which members where it is about some.
fn effect(command: &Command, rollout: &Rollout, members: &[Member]) -> (&'static str, String, Option<Vec<Member>>) {
    let of = |keep: &dyn Fn(&Member) -> bool| Some(members.iter().filter(|m| keep(m)).cloned().collect::<Vec<_>>());
    let plain = |word, effect: &str, touched| (word, effect.to_owned(), touched);
    match command {
        Command::Start => {
            let first = rollout.plan.waves.first().map(|wave| &wave.name);
            plain("START", "The first wave begins.", of(&|m| Some(&m.wave) == first))
        }
        Command::Approve { wave } => {
            let effect = format!("Wave {wave} may begin as soon as the wave before it has passed.");
            ("APPROVE A WAVE OF", effect, of(&|m| m.wave == *wave))
        }
        Command::Pause => plain("PAUSE", "No further device is offered the patch; what runs goes on.", None),
        Command::Resume { lifts } => {
            let halts = match lifts.len() {
                0 => "It lifts no halt of a person.".to_owned(),
                n => format!("It lifts {}.", count(n, "halt")),
            };
            let effect =
                "It goes on after a pause or a halt: devices are patched again. What led to the halt must be settled.";
            ("RESUME", format!("{effect} {halts}"), None)
        }
        Command::Withdraw { order } => (
            "WITHDRAW AN ORDER ABOUT",
            format!("Order {order}, which waits for a second signature, will not count."),
            None,
        ),
        Command::Hold { wave } => {
            let effect = format!("Nothing follows wave {wave} until the hold is lifted; what runs goes on.");
            ("HOLD A GATE OF", effect, None)
        }
        Command::Release { wave, lifts } => {
            let effect = format!(
                "It lifts {} of wave {wave}. When none stands any more, the next wave may begin.",
                count(lifts.len(), "hold")
            );
            ("LIFT A HOLD OF", effect, None)
        }
        Command::Halt => plain(
            "HALT",
            "It stops everywhere at once: no install begins; one that has begun is finished or taken back.",
            None,
        ),
        Command::RollBack { target } => {
            let (place, touched) = match target {
                RollBackTarget::Device { device } => (format!("device {device}"), of(&|m| m.device == *device)),
                RollBackTarget::Site { site } => {
                    (format!("every device of site {site}"), of(&|m| m.device.site() == *site))
                }
                RollBackTarget::Wave { wave } => (format!("every device of wave {wave}"), of(&|m| m.wave == *wave)),
                RollBackTarget::Rollout => ("every device".to_owned(), of(&|_| true)),
            };
            ("TAKE BACK THE PATCH OF", format!("The patch is taken back from {place}, where it is installed."), touched)
        }
        Command::Cancel => {
            plain("CANCEL", "It ends for good: nothing more is installed, and what is installed stays.", None)
        }
    }
}
