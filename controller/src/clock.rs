//! The one place that asks the clock.

use wardround_rollout_plans::model::Timestamp;

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
