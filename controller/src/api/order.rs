//! People's orders: the command must be what the method says, and a person who may give it must have signed.

use tonic::Status;
use wardround_proto::v1;
use wardround_rollout_plans::{
    engine::Event,
    model::{Command, Order, REASON_BYTES_MAX, Signatory},
};
use wardround_signing::{Policy, Verified, verify};

use super::{Api, convert, status};

impl Api {
    /// Takes in an order and answers with the rollout after it. The answer comes when the order is on disk.
    pub(super) async fn order(
        &self,
        method: &str,
        is_meant: fn(&Command) -> bool,
        given: Option<v1::Envelope>,
    ) -> Result<v1::Rollout, Status> {
        let mut envelope = convert::required("order", given)?;
        let draft: Order = envelope.peek_unverified().map_err(|e| status::invalid("order", e))?;
        if !is_meant(&draft.command) {
            let text = format!("the signed command is {:?}, which {method} does not carry out", draft.command.word());
            return Err(status::invalid("order", text));
        }
        if draft.reason.len() > REASON_BYTES_MAX {
            return Err(status::invalid("order", format!("the reason is over {REASON_BYTES_MAX} bytes")));
        }
        // The second person signs the very bytes that wait: with what is there it is looked at as a whole.
        if let Some(waiting) = self.core.read(|facts| facts.engine.waiting_order(&draft.rollout, &envelope)) {
            waiting.signatures.into_iter().for_each(|s| {
                if envelope.signatures.iter().all(|n| n.keyid != s.keyid) {
                    envelope.signatures.insert(0, s);
                }
            });
        }
        let roles = draft.command.needs().roles;
        let verified: Verified<Order> =
            verify(&envelope, &Policy::any_of(&self.people(), roles)).map_err(|e| status::verify("this order", &e))?;
        let signers = verified.signers().iter().map(Signatory::from).collect();
        // Strangers' signatures go no further.
        envelope.signatures.retain(|s| verified.signers().iter().any(|known| known.keyid == s.keyid));
        let order = verified.into_document();
        let rollout = order.rollout.clone();
        self.core.submit(Event::order(order, signers, envelope)).await.map_err(|e| status::core(&e))?;
        self.rollout(&rollout, true)
    }
}
