//! `wardround rollout cosign` and `withdraw`: the second person reads what they sign, or ends it.

use clap::Args;
use wardround_proto::v1;
use wardround_rollout_plans::model::{Command, Order};
use wardround_signing::Digest;

use super::{order, shown};
use crate::{
    ask,
    client::{from_wire, incomplete, to_wire},
    failure::{Exit, Failure},
    output,
    session::Session,
    when,
};

/// Sign, as the second person, an order that waits: a resume or a rollback
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround rollout cosign winter-1

It shows what the order does, who signed it and why, and asks. You sign the very same order; then it takes effect.")]
pub(super) struct Cosign {
    /// Rollout id
    id: String,
    /// Which order, by its number; needed only where several wait
    #[arg(long, value_name = "NUMBER")]
    order: Option<u64>,
    /// Sign without being asked
    #[arg(long)]
    yes: bool,
}

/// End an order that waits for its second signature
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout withdraw winter-1")]
pub(super) struct Withdraw {
    /// Rollout id
    id: String,
    /// Which order, by its number; needed only where several wait
    #[arg(long, value_name = "NUMBER")]
    order: Option<u64>,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
}

impl Cosign {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let rollout = controller.rollout(&self.id).await?;
        let waiting = choose(&rollout, self.order)?;
        let (mut envelope, order) = read(&rollout, waiting)?;
        for line in lines(&rollout, waiting, &order) {
            eprintln!("{line}");
        }
        let person = session.signer().await?;
        let question = format!("{} in rollout {}, as {}", order.command.sentence(), rollout.id, person.name());
        ask::confirm(&question, self.yes).await?;
        let digest = envelope.digest();
        envelope.signatures.clear();
        envelope.sign(&person.key).map_err(|e| Failure::new(e.to_string()))?;
        let after = order::send(&controller, &order.command, to_wire(&envelope)).await?;
        let given = order::Given::new(after.ok_or_else(|| incomplete("rollout"))?, digest);
        order::finish(session, &given, &format!("signed and done: {}", order.command.sentence()))
    }
}

impl Withdraw {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let rollout = session.connect().await?.rollout(&self.id).await?;
        let order = choose(&rollout, self.order)?.counter;
        let done = format!("order {order} is withdrawn and will not count");
        order::simple(session, &self.id, Command::Withdraw { order }, &self.reason, &done).await
    }
}

/// The order that is meant.
pub(crate) fn choose(rollout: &v1::Rollout, number: Option<u64>) -> Result<&v1::PendingOrder, Failure> {
    let waiting = &rollout.pending_orders;
    let see = format!("see `wardround rollout status {}`", rollout.id);
    match (number, waiting.as_slice()) {
        (Some(number), _) => waiting.iter().find(|p| p.counter == number).ok_or_else(|| {
            Failure::with(Exit::NotFound, format!("no order {number} of rollout {} waits for a signature", rollout.id))
                .hint(format!("it was signed, withdrawn or overtaken, or its time is over; {see}"))
        }),
        (None, [only]) => Ok(only),
        (None, []) => {
            let text = format!("no order of rollout {} waits for a second signature", rollout.id);
            Err(Failure::with(Exit::NotFound, text).hint(see))
        }
        (None, several) => {
            let list: Vec<String> = several.iter().map(|p| format!("{} ({})", p.counter, p.what)).collect();
            let text = format!("several orders of rollout {} wait: {}", rollout.id, list.join(", "));
            Err(Failure::usage(text).hint("name one with --order NUMBER"))
        }
    }
}

/// The order's own bytes, not what the controller says of them.
pub(crate) fn read(
    rollout: &v1::Rollout,
    waiting: &v1::PendingOrder,
) -> Result<(wardround_signing::Envelope, Order), Failure> {
    let envelope = from_wire(waiting.envelope.as_ref().ok_or_else(|| incomplete("waiting order"))?);
    let wrong = |why: String| {
        Failure::refused(format!("order {} of rollout {} must not be signed: {why}", waiting.counter, rollout.id))
            .hint("the controller shows something else than it holds: tell its operators")
    };
    let order: Order = envelope.peek_unverified().map_err(wrong)?;
    if order.rollout.as_str() != rollout.id || order.digest != order::document_digest(rollout)? {
        return Err(wrong("it is about another rollout".into()));
    }
    if order.counter != waiting.counter {
        return Err(wrong(format!("its number is {}", order.counter)));
    }
    if order.command.needs().people < 2 {
        return Err(wrong(format!("an order to {} needs no second signature", order.command.sentence())));
    }
    if let Command::Resume { lifts } = &order.command {
        let known: Vec<Digest> =
            rollout.halts_in_force.iter().filter_map(|h| Digest::from_slice(&h.order).ok()).collect();
        if lifts.iter().any(|halt| !known.contains(halt)) {
            return Err(wrong("it lifts a halt that is not shown".into()));
        }
    }
    Ok((envelope, order))
}

/// What the second person reads before they are asked.
fn lines(rollout: &v1::Rollout, waiting: &v1::PendingOrder, order: &Order) -> Vec<String> {
    let mut lines = vec![
        format!("order {} of rollout {} ({})", order.counter, rollout.id, shown::words(&rollout.state)),
        format!("what: {}; {}", order.command.sentence(), effect(&order.command)),
        format!("why: {}", if order.reason.is_empty() { "no reason given" } else { &order.reason }),
        format!("signed by: {}, at {}", waiting.signed_by.join(" and "), when::local(waiting.since_ms)),
    ];
    if matches!(order.command, Command::Resume { .. }) {
        lines.extend(order::halt_lines(&rollout.halts_in_force).into_iter().map(|line| format!("lifts: {line}")));
    }
    lines.push(format!("until: {}, when it ends by itself", when::local(waiting.until_ms)));
    lines.iter().map(|line| output::one_line(line)).collect()
}

fn effect(command: &Command) -> &'static str {
    match command {
        Command::Resume { .. } => "devices are patched again from where the rollout stood",
        _ => "the patch is taken from every device there that holds it or may",
    }
}

/// What the first person is told, with the very words for the second.
pub(super) fn waits(rollout: &v1::Rollout, waiting: &v1::PendingOrder) -> String {
    let which = if rollout.pending_orders.len() > 1 { format!(" --order {}", waiting.counter) } else { String::new() };
    format!(
        "nothing is done yet: order {} ({}) waits for a second person ({}) until {}.\n\
         They type:  wardround rollout cosign {}{which}",
        waiting.counter,
        output::one_line(&waiting.what),
        waiting.wanted_roles.join(" or "),
        when::local(waiting.until_ms),
        rollout.id
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(counters: &[u64]) -> v1::Rollout {
        let waiting =
            |counter: &u64| v1::PendingOrder { counter: *counter, what: "resume".into(), ..Default::default() };
        v1::Rollout { id: "r1".into(), pending_orders: counters.iter().map(waiting).collect(), ..Default::default() }
    }

    #[test]
    fn the_only_one_need_not_be_named_and_of_several_none_is_guessed() {
        assert_eq!(choose(&rollout(&[4]), None).unwrap().counter, 4);
        assert_eq!(choose(&rollout(&[4, 6]), Some(6)).unwrap().counter, 6);
        let several = choose(&rollout(&[4, 6]), None).unwrap_err();
        assert!(several.message.contains("4 (resume), 6 (resume)"), "{several}");
        assert_eq!(choose(&rollout(&[]), None).unwrap_err().exit, Exit::NotFound);
        assert_eq!(choose(&rollout(&[4]), Some(5)).unwrap_err().exit, Exit::NotFound);
    }
}
