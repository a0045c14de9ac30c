//! People's orders: the command must be what the method says, and a person who may give it must have signed.

use tonic::Status;
use wardround_proto::v1;
use wardround_rollout_plans::{
    engine::{Event, RolloutState},
    model::{Command, Order, REASON_BYTES_MAX, RolloutId, Signatory},
};
use wardround_signing::{Envelope, Policy, Role, TrustAnchor, Verified, VerifyError, verify};

use super::{Api, convert, signature::unsigned, status};

/// The event of an order that people of the right roles have signed. `waiting` is what the engine holds of the very same
/// bytes.
pub(crate) fn read_order(
    envelope: &mut Envelope,
    waiting: Option<Envelope>,
    people: &TrustAnchor,
) -> Result<Event, VerifyError> {
    // The second person signs the very bytes that wait: with what is there it is looked at as a whole.
    waiting.into_iter().flat_map(|waiting| waiting.signatures).for_each(|s| {
        if envelope.signatures.iter().all(|n| n.keyid != s.keyid) {
            envelope.signatures.insert(0, s);
        }
    });
    let roles = match envelope.peek_unverified::<Order>() {
        Ok(draft) => draft.command.needs().roles,
        // It is refused by the verification, which says why.
        Err(_) => &Role::PEOPLE[..],
    };
    let verified: Verified<Order> = verify(envelope, &Policy::any_of(people, roles))?;
    let signers = verified.signers().iter().map(Signatory::from).collect();
    // Strangers' signatures go no further.
    envelope.signatures.retain(|s| verified.signers().iter().any(|known| known.keyid == s.keyid));
    Ok(Event::order(verified.into_document(), signers, envelope.clone()))
}

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
        let people = self.people()?;
        let waiting = self.core.read(|facts| facts.engine.waiting_order(&draft.rollout, &envelope));
        let event = read_order(&mut envelope, waiting, &people).map_err(|e| status::verify("this order", &e))?;
        if matches!(
            draft.command,
            Command::Start | Command::Approve { .. } | Command::Resume { .. } | Command::Release { .. }
        ) {
            self.counts(&draft.rollout).await?;
        }
        let rollout = draft.rollout;
        self.core.submit(event).await.map_err(|e| status::core(&e))?;
        self.rollout(&rollout).await
    }

    /// Nothing is set going for which people do not sign any more. A draft is the engine's to refuse.
    async fn counts(&self, id: &RolloutId) -> Result<(), Status> {
        let found = self.core.read(|facts| {
            let rollout = facts.registry.rollout(id)?;
            let patch = facts.registry.patch(&rollout.patch)?;
            let draft = facts.engine.rollout(id).is_some_and(|view| view.state == RolloutState::Draft);
            (!draft).then(|| (rollout.document.clone(), rollout.patch.clone(), patch.document.clone()))
        });
        let Some((rollout, patch_id, patch)) = found else { return Ok(()) };
        if !patch.ready {
            let signatures = self.patch_signatures(&patch_id, &patch).await?;
            return Err(unsigned(&format!("patch {patch_id}"), &signatures, &format!("patch sign {patch_id}")));
        }
        if !rollout.ready {
            let signatures = self.rollout_signatures(id, &rollout).await?;
            return Err(unsigned(&format!("rollout {id}"), &signatures, &format!("rollout sign {id}")));
        }
        Ok(())
    }
}
