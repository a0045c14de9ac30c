//! Who fetches next: several payloads share one line. A more severe patch goes first; between rollouts that are as severe
//! each has its turn, so that one large payload does not keep a small one waiting.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;
use wardround_rollout_plans::model::{RolloutId, Severity};

/// Calls that fetch at once on a fast line: enough to keep two cores busy.
const WIDTH_MAX: usize = 4;
/// Bytes of one call on a fast line; on a slow one some two seconds' worth, so that a turn is soon over.
const BATCH_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of a call while nothing is known of the line, and at least.
const BATCH_FIRST: u64 = 512 * 1024;
const BATCH_MIN: u64 = 64 * 1024;
/// From so many bytes in a second on, the line is shared by more than one call: on a slower one each would only take longer,
/// up to its deadline.
const WIDE_FROM: u64 = 4 * 1024 * 1024;
/// Most rollouts whose last turn is remembered.
const REMEMBERED_MAX: usize = 1_000;

/// For whom a payload is brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The rollout.
    pub(crate) rollout: RolloutId,
    /// Of its patch, as people signed it.
    pub(crate) severity: Severity,
}

/// Which of those who wait goes next: the most severe; of these the one whose rollout had its turn longest ago, or never;
/// of these the one who came first. `waiting` is in the order of coming, `turns` has the number of each rollout's last turn.
fn next(waiting: &[&Claim], turns: &BTreeMap<RolloutId, u64>) -> Option<usize> {
    let rank = |claim: &Claim| (std::cmp::Reverse(claim.severity), turns.get(&claim.rollout).copied().unwrap_or(0));
    // The first of several that are equal.
    waiting.iter().enumerate().min_by_key(|(_, claim)| rank(claim)).map(|(index, _)| index)
}

/// How the line is shared, as its speed allows: calls at once, and bytes of each.
fn shares(bytes_per_second: u64) -> (usize, u64) {
    let width = if bytes_per_second >= WIDE_FROM { WIDTH_MAX } else { 1 };
    (width, (bytes_per_second * 2).clamp(BATCH_MIN, BATCH_MAX))
}

/// The places on the line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    taken: usize,
    /// Bytes in a second that one call had last; nothing is known at first.
    speed: Option<u64>,
    waiting: Vec<(Claim, oneshot::Sender<Slot>)>,
    turn: u64,
    turns: BTreeMap<RolloutId, u64>,
}

/// A place on the line; free again when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    /// Bytes that one call may ask for.
    pub(crate) batch: u64,
}

impl State {
    fn shares(&self) -> (usize, u64) {
        self.speed.map_or((1, BATCH_FIRST), shares)
    }
}

impl Slots {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place.
    pub(crate) async fn take(&self, claim: &Claim) -> Slot {
        let (sender, receiver) = oneshot::channel();
        self.state().waiting.push((claim.clone(), sender));
        self.hand_out();
        match receiver.await {
            Ok(slot) => slot,
            // The sender is kept until it sends.
            Err(_) => std::future::pending().await,
        }
    }

    fn hand_out(&self) {
        loop {
            let mut state = self.state();
            // Those who have gone away wait no more.
            state.waiting.retain(|(_, sender)| !sender.is_closed());
            let (width, batch) = state.shares();
            if state.taken >= width {
                return;
            }
            let claims: Vec<&Claim> = state.waiting.iter().map(|(claim, _)| claim).collect();
            let Some(index) = next(&claims, &state.turns) else { return };
            let (claim, sender) = state.waiting.remove(index);
            state.taken += 1;
            state.turn += 1;
            if state.turns.len() >= REMEMBERED_MAX {
                state.turns.clear();
            }
            let turn = state.turn;
            state.turns.insert(claim.rollout, turn);
            drop(state);
            // One who has gone away in this moment: the slot is dropped, and with that handed on.
            let _ = sender.send(Slot { slots: self.clone(), batch });
        }
    }
}

impl Slot {
    /// A call brought so many bytes in this time.
    pub(crate) fn saw(&self, bytes: u64, within: Duration) {
        let micros = u64::try_from(within.as_micros()).unwrap_or(u64::MAX).max(1);
        self.slots.state().speed = Some(bytes.saturating_mul(1_000_000) / micros);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.state().taken -= 1;
        self.slots.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(rollout: &str, severity: Severity) -> Claim {
        Claim { rollout: RolloutId::new(rollout).unwrap(), severity }
    }

    /// Everybody waits with so many calls each; who gets the line, call by call.
    fn order(mut calls: Vec<(Claim, usize)>) -> Vec<String> {
        let (mut turns, mut order) = (BTreeMap::new(), Vec::new());
        loop {
            calls.retain(|(_, left)| *left > 0);
            let waiting: Vec<&Claim> = calls.iter().map(|(claim, _)| claim).collect();
            let Some(index) = next(&waiting, &turns) else { return order };
            order.push(calls[index].0.rollout.to_string());
            turns.insert(calls[index].0.rollout.clone(), order.len() as u64);
            calls[index].1 -= 1;
        }
    }

    #[test]
    fn a_large_payload_does_not_keep_a_small_one_waiting() {
        let calls = vec![(claim("large", Severity::High), 5), (claim("small", Severity::High), 2)];
        assert_eq!(order(calls), ["large", "small", "large", "small", "large", "large", "large"]);
    }

    #[test]
    fn the_more_severe_goes_first_and_the_others_share_what_is_left() {
        let calls = vec![
            (claim("a", Severity::Low), 2),
            (claim("b", Severity::Critical), 2),
            (claim("c", Severity::Low), 1),
            (claim("d", Severity::Critical), 1),
        ];
        assert_eq!(order(calls), ["b", "d", "b", "a", "c", "a"]);
    }

    #[test]
    fn two_payloads_of_one_rollout_have_one_turn_between_them() {
        let calls =
            vec![(claim("a", Severity::Low), 2), (claim("a", Severity::Low), 2), (claim("b", Severity::Low), 3)];
        assert_eq!(order(calls), ["a", "b", "a", "b", "a", "b", "a"]);
    }

    #[test]
    fn a_slow_line_is_not_divided_and_turns_are_short_on_it() {
        assert_eq!(shares(250_000), (1, 500_000));
        assert_eq!(shares(0), (1, BATCH_MIN));
        assert_eq!(shares(1_000_000_000), (WIDTH_MAX, BATCH_MAX));
    }

    #[tokio::test]
    async fn a_place_is_handed_on_also_past_those_who_went_away() {
        let slots = Slots::default();
        let first = slots.take(&claim("a", Severity::Low)).await;
        let gone = slots.clone();
        let mut gone = Box::pin(async move { gone.take(&claim("b", Severity::Critical)).await });
        let low = claim("c", Severity::Low);
        let mut waits = Box::pin(slots.take(&low));
        assert!(futures_now(&mut gone).await.is_none() && futures_now(&mut waits).await.is_none());
        drop(gone);
        // A line that is fast has more places.
        first.saw(1_000_000_000, Duration::from_secs(1));
        drop(first);
        let slot = waits.await;
        assert_eq!(slot.batch, BATCH_MAX);
        let others = [slots.take(&claim("a", Severity::Low)).await, slots.take(&claim("a", Severity::Low)).await];
        assert_eq!(slots.state().taken, 3);
        drop((slot, others));
        assert_eq!(slots.state().taken, 0);
    }

    /// What a future gives without waiting.
    async fn futures_now<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        tokio::select! {
            biased;
            done = future => Some(done),
            () = std::future::ready(()) => None,
        }
    }
}
