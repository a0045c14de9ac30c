//! A program on the node, for systems that no other probe speaks to. Exit 0 is healthy.

use std::time::Duration;

use tokio::process::Command;

use super::Finding;
use crate::transports::{decode, run_process};

/// Most output that is kept, bytes; evidence keeps the end of it.
const OUTPUT_BYTES_MAX: usize = 16 * 1024;

/// What is left of the time-out to end the program and read what it has printed, at most.
const GOODBYE_MAX: Duration = Duration::from_millis(500);

pub(super) async fn probe(argv: &[String], timeout: Duration) -> Finding {
    // Ended a little early, so that what it printed until then is evidence.
    let timeout = timeout - (timeout / 10).min(GOODBYE_MAX);
    let Some((program, args)) = argv.split_first() else {
        return Err("no program is named".to_owned());
    };
    let mut command = Command::new(program);
    command.args(args);
    let done = run_process(command, None, timeout, OUTPUT_BYTES_MAX)
        .await
        .map_err(|error| format!("{program} could not be run: {error}"))?;
    let output = format!("{}{}", decode(&done.stdout), decode(&done.stderr));
    let output = output.trim();
    match done.code {
        _ if done.timed_out => Err(format!("killed after {}ms: {output}", timeout.as_millis())),
        Some(0) => Ok(if output.is_empty() { "exit 0".to_owned() } else { output.to_owned() }),
        Some(code) => Err(format!("exit {code}: {output}")),
        None => Err(format!("ended by a signal: {output}")),
    }
}
