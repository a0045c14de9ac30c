//! Services and programs of a Windows device, asked over the device's transport with programs that Windows has since XP.
//!
//! Their output is read by numbers and names alone: every word in it is translated.

use std::time::Duration;

use super::{Finding, wire::Trace};
use crate::{
    config::ServiceState,
    transports::{
        Transport,
        shell::{Shell, quote},
    },
};

/// Most characters of a device's answer that are shown as evidence.
const SHOWN_MAX: usize = 300;
/// The service does not exist (winerror.h, ERROR_SERVICE_DOES_NOT_EXIST).
const NO_SUCH_SERVICE: u32 = 1060;
/// Access denied (winerror.h, ERROR_ACCESS_DENIED).
const ACCESS_DENIED: u32 = 5;

pub(super) async fn service(
    device: &Transport,
    name: &str,
    wanted: ServiceState,
    timeout: Duration,
    trace: &Trace,
) -> Finding {
    trace.awaits("sc on the device");
    let line = format!("sc query {}", word(device, name)?);
    let printed = device.run_line(&line, timeout).await.map_err(|error| error.to_string())?;
    match state_of(&printed, name) {
        State::Is(found) if found == wanted => Ok(format!("state {} ({})", found.code(), found.word())),
        State::Is(found) => Err(format!("state {} ({}) instead of {}", found.code(), found.word(), wanted.word())),
        State::Error(NO_SUCH_SERVICE) => Err(format!("the device has no service {name} (error {NO_SUCH_SERVICE})")),
        State::Error(ACCESS_DENIED) => Err("the account may not ask for the service (error 5)".to_owned()),
        State::Error(code) => Err(format!("sc failed with error {code}: {}", shown(&printed))),
        State::Unknown => Err(format!("the answer of sc was not understood: {}", shown(&printed))),
    }
}

pub(super) async fn process(device: &Transport, name: &str, timeout: Duration, trace: &Trace) -> Finding {
    trace.awaits("tasklist on the device");
    let printed = device.run_line("tasklist /nh /fo csv", timeout).await.map_err(|error| error.to_string())?;
    let listed: Vec<&str> = printed.lines().filter_map(program_of).collect();
    if !listed.is_empty() {
        return judge(&listed, name);
    }
    // Home editions of XP have no tasklist; there is wmic wherever there is tasklist, and in some places where there is none.
    trace.awaits("wmic on the device");
    let named = device.run_line("wmic process get name", timeout).await.map_err(|error| error.to_string())?;
    let named: Vec<&str> = named.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match named.as_slice() {
        [head, programs @ ..] if head.eq_ignore_ascii_case("name") && !programs.is_empty() => judge(programs, name),
        _ => Err(format!("neither tasklist nor wmic gave a list of programs: {} {}", shown(&printed), named.join(" "))),
    }
}

fn judge(programs: &[&str], name: &str) -> Finding {
    match programs.iter().filter(|program| program.eq_ignore_ascii_case(name)).count() {
        0 => Err(format!("{name} does not run; {} other programs do", programs.len())),
        found => Ok(format!("{name} runs, {found} of it")),
    }
}

/// The site file allows names only that `cmd` takes as they stand, or in quotes where they have a space; `sh` would replace a `$`.
fn word(device: &Transport, name: &str) -> Result<String, String> {
    match device.shell() {
        Shell::Cmd if !name.contains(' ') => Ok(name.to_owned()),
        shell => quote(shell, name).map_err(|error| error.to_string()),
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Is(ServiceState),
    /// Code of winerror.h.
    Error(u32),
    Unknown,
}

/// What `sc query` printed: after the service's name come "label : number …" lines, TYPE first and STATE second. A failure is
/// "[SC] function failed 1060:" in the device's language.
pub(super) fn state_of(printed: &str, name: &str) -> State {
    if let Some(code) = printed.lines().find(|line| line.trim_start().starts_with("[SC]")).and_then(error_of) {
        return State::Error(code);
    }
    let names = |line: &str| line.split_once(':').is_some_and(|(_, value)| value.trim().eq_ignore_ascii_case(name));
    let numbers = printed.lines().skip_while(|line| !names(line)).skip(1).filter_map(|line| {
        let (_, value) = line.split_once(':')?;
        value.split_whitespace().next().filter(|word| word.chars().all(|c| c.is_ascii_hexdigit()))
    });
    let state = numbers.take(2).nth(1).and_then(|number| number.parse().ok());
    state.and_then(ServiceState::from_code).map_or(State::Unknown, State::Is)
}

/// The number before the last colon of a line.
fn error_of(line: &str) -> Option<u32> {
    let before = line.trim_end().trim_end_matches(':');
    before.rsplit(|c: char| !c.is_ascii_digit()).find(|word| !word.is_empty())?.parse().ok()
}

/// `"acme.exe","1234",…`.
fn program_of(line: &str) -> Option<&str> {
    line.trim().strip_prefix('"')?.split_once("\",\"").map(|(program, _)| program)
}

fn shown(printed: &str) -> String {
    match printed.trim() {
        "" => "nothing was printed".to_owned(),
        text => text.chars().take(SHOWN_MAX).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_by_number_in_any_language() {
        let english = "\nSERVICE_NAME: Spooler\n        TYPE               : 110  WIN32_OWN_PROCESS  (interactive)\n        \
                       STATE              : 4  RUNNING \n                                (STOPPABLE, NOT_PAUSABLE)\n        \
                       WIN32_EXIT_CODE    : 0  (0x0)\n";
        assert_eq!(state_of(english, "spooler"), State::Is(ServiceState::Running));
        let french = "SERVICE_NAME: Spooler \n        TYPE               : 20  WIN32_SHARE_PROCESS\n        \
                      ÉTAT               : 1  STOPPED\n        CODE_SORTIE_WIN32  : 0  (0x0)\n";
        assert_eq!(state_of(french, "Spooler"), State::Is(ServiceState::Stopped));
        // The name of a service may itself look like a number.
        let german = "SERVICE_NAME: 3\n        TYP                : 10  WIN32_OWN_PROCESS\n        STATUS             : 7  PAUSED\n";
        assert_eq!(state_of(german, "3"), State::Is(ServiceState::Paused));
        for (printed, code) in [
            ("[SC] EnumQueryServicesStatus:OpenService FAILED 1060:\n\nThe specified service does not exist.\n", 1060),
            ("[SC] EnumQueryServicesStatus:OpenService FEHLER 1060:\n\nDer angegebene Dienst existiert nicht.\n", 1060),
            ("[SC] OpenSCManager ÉCHEC(S) 5 :\n\nAccès refusé.\n", 5),
        ] {
            assert_eq!(state_of(printed, "x"), State::Error(code), "{printed}");
        }
        for printed in
            ["", "sc: not found", "SERVICE_NAME: a\nTYPE : 10 X\n", "SERVICE_NAME: a\nTYPE : 10 X\nSTATE : 9 Y\n"]
        {
            assert_eq!(state_of(printed, "a"), State::Unknown, "{printed}");
        }
    }

    #[test]
    fn programs_are_read_out_of_csv() {
        assert_eq!(program_of("\"acme, v2.exe\",\"44\",\"Console\",\"0\",\"3,012 K\""), Some("acme, v2.exe"));
        assert_eq!(program_of("INFO: no tasks"), None);
    }
}
