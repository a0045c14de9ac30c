//! Write filters: asked before a device is touched, and turned off and on around what must stay.

use std::time::Duration;

use super::{ask, facts::OP};
use crate::{
    config::{FilterKind, WriteFilter},
    installers::write_filter::{self, FilterState, FilterStep},
    transports::{DeviceError, QUESTION_TIMEOUT, Transport, shell},
};

/// Most steps from one state to another: the longest way is restart, setting, restart.
const STEPS_MAX: usize = 6;

/// Why nothing may be installed for the sake of a write filter. `present` are the filters whose drivers are there.
pub(super) async fn objection(
    transport: &Transport,
    declared: Option<WriteFilter>,
    present: &[FilterKind],
) -> Option<String> {
    let Some(filter) = declared else {
        // An undeclared filter is asked too: one that is off harms nothing.
        for kind in present {
            let filter = WriteFilter { kind: *kind, volume: 'C' };
            let word = kind.word();
            match state(transport, filter).await {
                Ok(FilterState { now: false, next: false, .. }) => {}
                Ok(_) => {
                    return Some(format!(
                        "a write filter ({word}) would throw the patch away at the next restart: declare \
                         `write_filter: {{ kind: {word} }}` in the site file, and the node turns it off and on"
                    ));
                }
                Err(error) => return Some(format!("its write filter ({word}) can't be asked: {error}")),
            }
        }
        return None;
    };
    let word = filter.kind.word();
    if !present.contains(&filter.kind) {
        return Some(format!("the site file declares a write filter ({word}), but the device has none"));
    }
    state(transport, filter).await.err().map(|error| format!("its write filter ({word}) can't be asked: {error}"))
}

pub(super) async fn state(transport: &Transport, filter: WriteFilter) -> Result<FilterState, DeviceError> {
    let sections = [shell::Section { name: "filter", line: write_filter::show(filter) }];
    let output = ask(transport, OP, "filter", &sections).await?;
    let found = shell::section(&output, "filter").and_then(|(_, text)| write_filter::read(filter.kind, text));
    found.ok_or_else(|| DeviceError::Garbled {
        what: format!("the state of its write filter ({})", filter.kind.word()),
        text: crate::transports::tail(&output, 300).to_owned(),
    })
}

/// Turns the filter on or off, with the restarts that this takes. True when the device restarted: what lay in the overlay is gone.
pub(super) async fn turn(
    transport: &Transport,
    filter: WriteFilter,
    on: bool,
    timeout: Duration,
) -> Result<bool, DeviceError> {
    let mut restarted = false;
    for _ in 0..STEPS_MAX {
        let found = state(transport, filter).await?;
        match write_filter::towards(on, filter, found, restarted) {
            FilterStep::Done => return Ok(restarted),
            FilterStep::Run(line) => {
                tracing::info!(line, "the write filter is being set");
                transport.run_line(&line, QUESTION_TIMEOUT).await?;
            }
            FilterStep::Restart => {
                transport.reboot(timeout).await?;
                restarted = true;
            }
        }
    }
    Err(DeviceError::WriteFilter { kind: filter.kind.word(), wanted: if on { "on" } else { "off" } })
}
