//! Which moves of a deployment a node's report may make: the deployment part of DESIGN's state diagram as a table.

use crate::model::DeploymentState::{self, *};

/// A legal move, by its name in the diagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// The same state again, with newer evidence or another reason.
    Repeat,
    /// Forward. Reports may be coalesced by a node that was cut off, so intermediate states may be missing.
    Progress,
    /// Not now.
    Defer,
    /// Nothing to do.
    Skip,
    /// It failed; the device is as it was.
    Fail,
    /// Installed and soaked, by the node's word.
    Succeed,
    /// The node takes the patch back.
    BeginRollback,
    /// It is back.
    FinishRollback,
    /// It could not be taken back.
    FailRollback,
}

/// Place on the way forward; `None` off that way.
fn rank(state: DeploymentState) -> Option<u8> {
    Some(match state {
        Offered => 0,
        Downloading => 1,
        Staged => 2,
        Preflight | Deferred => 3,
        Installing => 4,
        Rebooting => 5,
        Verifying => 6,
        Soaking => 7,
        _ => return None,
    })
}

/// The move from one state to another, if the diagram has it. Only what a node can say: a node never offers, never
/// makes pending, and never calls itself silent. `from` is the state before a silence, never [`Unknown`].
pub(super) fn by_report(from: DeploymentState, to: DeploymentState) -> Option<Move> {
    let on_the_way = rank(from);
    match to {
        Pending | Offered | Unknown => None,
        _ if from == to => from.is_in_hand().then_some(Move::Repeat),
        Preflight if from == Deferred => Some(Move::Progress),
        // Up to the installer itself, which may say that another installation is under way, or that there is nothing to
        // do for it. A node that is asked to take back what it had skipped says "skipped" once more.
        Deferred => on_the_way.filter(|r| *r <= 4).map(|_| Move::Defer),
        Skipped => (on_the_way.is_some_and(|r| r <= 4) || from == RollingBack).then_some(Move::Skip),
        Downloading | Staged | Preflight | Installing | Rebooting | Verifying | Soaking => {
            (on_the_way? < rank(to)?).then_some(Move::Progress)
        }
        Succeeded => on_the_way.map(|_| Move::Succeed),
        Failed => (on_the_way.is_some() || from == RollingBack).then_some(Move::Fail),
        RollingBack => (on_the_way.is_some() || from == Succeeded).then_some(Move::BeginRollback),
        RolledBack => (on_the_way.is_some() || matches!(from, Succeeded | RollingBack | RollbackFailed))
            .then_some(Move::FinishRollback),
        RollbackFailed => {
            (on_the_way.is_some() || matches!(from, Succeeded | RollingBack)).then_some(Move::FailRollback)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_an_end_but_a_rollback() {
        for from in DeploymentState::ALL.into_iter().filter(|s| s.is_terminal()) {
            for to in DeploymentState::ALL {
                let allowed = match from {
                    Succeeded => matches!(to, RollingBack | RolledBack | RollbackFailed),
                    RollbackFailed => to == RolledBack,
                    _ => false,
                };
                assert_eq!(by_report(from, to).is_some(), allowed, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn a_node_can_neither_begin_nor_hide_a_deployment() {
        for to in DeploymentState::ALL {
            assert_eq!(by_report(Pending, to), None, "pending -> {to}");
            assert_eq!(by_report(to, Pending), None);
            assert_eq!(by_report(to, Offered), None);
            assert_eq!(by_report(to, Unknown), None);
        }
    }

    #[test]
    fn forward_never_goes_back_except_after_a_deferral() {
        let way = [Offered, Downloading, Staged, Preflight, Installing, Rebooting, Verifying, Soaking];
        for (i, from) in way.into_iter().enumerate() {
            for (j, to) in way.into_iter().enumerate().skip(1) {
                let wanted = if i == j { Some(Move::Repeat) } else { (i < j).then_some(Move::Progress) };
                assert_eq!(by_report(from, to), wanted, "{from} -> {to}");
            }
            assert_eq!(by_report(from, Skipped).is_some(), i <= 4, "an installed patch can't be skipped: {from}");
            assert_eq!(by_report(from, Deferred).is_some(), i <= 4, "an installed patch can't be put off: {from}");
            assert_eq!(by_report(from, Failed), Some(Move::Fail));
        }
        assert_eq!(by_report(Deferred, Preflight), Some(Move::Progress));
        assert_eq!(by_report(Deferred, Deferred), Some(Move::Repeat));
        assert_eq!(by_report(RollingBack, Soaking), None);
    }
}
