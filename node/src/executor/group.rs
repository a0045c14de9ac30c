//! One group of inputs: which come first, which are journalled, and what waits for room. The sync is the caller's, and
//! nothing of what is given back may be done before it.

use wardround_journal::JournalError;
use wardround_rollout_plans::model::Timestamp;
use wardround_signing::{Envelope, SecretKey};

use crate::{
    machine::{Action, Input, NodeState},
    sync::{REPORT_BYTES_MAX, REPORTS_MAX},
};

/// What a group led to.
#[derive(Debug)]
pub struct Absorbed<T> {
    /// To be done after the sync.
    pub actions: Vec<Action>,
    /// To be answered after the sync: is the input on disk and in force?
    pub settled: Vec<(T, bool)>,
    /// Something was added to the journal.
    pub appended: bool,
    /// The first input that found no room, in the journal's words.
    pub full: Option<JournalError>,
}

/// Inputs that nobody says again. Without room in the journal they wait here instead of being forgotten: the answer of a
/// task would leave its deployment waiting for ever, a halt would not hold, a changed site file would not count.
fn is_said_once(input: &Input) -> bool {
    matches!(input, Input::Restarted | Input::Site(_) | Input::Halt(_) | Input::Alarm { .. } | Input::Done { .. })
}

/// Takes a group of inputs, each with what its sender waits for, into the journal (`append`) and the state. `postponed` holds
/// the inputs that found no room, oldest first.
///
/// # Errors
/// What the journal says, other than that it is full.
pub fn absorb<T: Default>(
    state: &mut NodeState,
    postponed: &mut Vec<Input>,
    group: Vec<(Input, T)>,
    at: Timestamp,
    append: &mut dyn FnMut(&Input) -> Result<(), JournalError>,
) -> Result<Absorbed<T>, JournalError> {
    let mut absorbed = Absorbed { actions: Vec::new(), settled: Vec::new(), appended: false, full: None };
    // What found no room before comes before what is newer.
    let mut group: Vec<(Input, T)> =
        std::mem::take(postponed).into_iter().map(|input| (input, T::default())).chain(group).collect();
    // Halts before everything else: what waited in the same queue must not begin an install behind one.
    group.sort_by_key(|(input, _)| !matches!(input, Input::Halt(_)));
    for (input, reply) in group {
        let mut taken = true;
        if state.is_news(&input, at) {
            match append(&input) {
                Ok(()) => {
                    absorbed.actions.extend(state.step(&input, at));
                    absorbed.appended = true;
                }
                // Nothing new is begun on a full disk. What the controller wants comes again with a later check-in.
                Err(error @ JournalError::Full { .. }) => {
                    absorbed.full.get_or_insert(error);
                    taken = false;
                    if is_said_once(&input) {
                        // Of the site file only the newest counts.
                        let site = matches!(input, Input::Site(_));
                        postponed.retain(|known| !(site && matches!(known, Input::Site(_))));
                        postponed.push(input);
                    }
                }
                // A controller that wants too much at once must not stop the watch over what is installed.
                Err(error @ JournalError::TooLarge { .. }) if matches!(input, Input::Wishes(_)) => {
                    tracing::error!(%error, "a directive is too large to be journalled and is not obeyed");
                    taken = false;
                }
                Err(error) => return Err(error),
            }
        }
        absorbed.settled.push((reply, taken));
    }
    Ok(absorbed)
}

/// Reports for one check-in.
#[derive(Debug)]
pub struct Batch {
    /// Highest sequence number that the controller has acknowledged so far.
    pub acked: u64,
    /// Signed, oldest first.
    pub reports: Vec<Envelope>,
    /// More are waiting.
    pub more: bool,
    /// Counter of the newest directive accepted.
    pub directive_counter: u64,
}

impl Batch {
    /// The oldest reports that wait, as many as fit into a call.
    #[must_use]
    pub fn of(state: &NodeState, key: &SecretKey) -> Self {
        let mut bytes = 0;
        let mut reports = Vec::new();
        let mut more = false;
        for report in state.outbox().waiting() {
            // Ed25519 is deterministic: a report that is sent again has the same bytes.
            let envelope = match Envelope::seal(report, key) {
                Ok(envelope) => envelope,
                Err(error) => {
                    tracing::error!(%error, seq = report.seq, "a report can't be signed");
                    break;
                }
            };
            bytes += envelope.payload.len() + 256;
            if reports.len() >= REPORTS_MAX || (bytes > REPORT_BYTES_MAX && !reports.is_empty()) {
                more = true;
                break;
            }
            reports.push(envelope);
        }
        let acked = state.outbox().acked();
        Self { acked, reports, more, directive_counter: state.directive_counter() }
    }
}
