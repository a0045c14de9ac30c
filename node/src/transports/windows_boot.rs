//! How a Windows device says when it was started, and that its registry can be read: questions of one line without quotes.

use jiff::{civil::DateTime, tz::Offset};

use super::{reboot::Boot, shell::registry_value};

/// WMI's times: XP Professional and later.
pub(crate) const WMI_TIMES: &str = "wmic os get LastBootUpTime,LocalDateTime /value";
/// When it was last shut down in order: written to the registry by the shutdown itself, also where there is no `wmic`.
pub(crate) const SHUTDOWN_TIME: &str = r"reg query HKLM\SYSTEM\CurrentControlSet\Control\Windows /v ShutdownTime";
/// A value that every Windows has in the hive in which patches leave their signs.
pub(crate) const READABLE: &str = r"reg query HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion /v ProgramFilesDir";

/// Reads the answer to [`WMI_TIMES`]; WMI writes UTF-16, whatever else is in the stream.
pub(crate) fn wmi_times(answer: &str) -> Option<Boot> {
    let text = answer.replace('\0', "");
    let value = |name: &str| {
        text.lines().find_map(|line| line.trim().trim_start_matches('\u{fffd}').strip_prefix(name)?.strip_prefix('='))
    };
    let started_ms = cim_ms(value("LastBootUpTime")?)?;
    Some(Boot::Times { started_ms, now_ms: value("LocalDateTime").and_then(cim_ms) })
}

/// Reads the answer to [`SHUTDOWN_TIME`].
pub(crate) fn shutdown_time(answer: &str) -> Option<Boot> {
    let found = registry_value(answer, "ShutdownTime").filter(|data| !data.is_empty())?;
    Some(Boot::Shutdown(found.to_owned()))
}

/// Whether the answer to [`READABLE`] is one.
pub(crate) fn is_readable(answer: &str) -> bool {
    registry_value(answer, "ProgramFilesDir").is_some_and(|data| !data.is_empty())
}

/// `yyyymmddHHMMSS.ffffff±mmm` (CIM_DATETIME, DSP0004 5.2.4) in milliseconds since 1970: the last part is the distance
/// from UTC in minutes.
pub(crate) fn cim_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    let date = text.get(..14).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let number = |range: std::ops::Range<usize>| date.get(range)?.parse::<i16>().ok();
    let small = |range| i8::try_from(number(range)?).ok();
    let civil =
        DateTime::new(number(0..4)?, small(4..6)?, small(6..8)?, small(8..10)?, small(10..12)?, small(12..14)?, 0);
    let rest = text.get(14..)?;
    let (fraction, offset) = match rest.find(['+', '-']) {
        Some(at) => (&rest[..at], rest[at..].parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let ms: i64 = match fraction.strip_prefix('.') {
        Some(digits) => format!("{:0<3}", digits.get(..digits.len().min(3))?).parse().ok()?,
        None => 0,
    };
    let offset = Offset::from_seconds(offset.checked_mul(60)?).ok()?;
    Some(offset.to_timestamp(civil.ok()?).ok()?.as_millisecond() + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wmi_s_times_are_read_from_every_wmic() {
        let wanted = Some(Boot::Times { started_ms: 1_764_410_383_810, now_ms: Some(1_764_410_384_228) });
        let text = "\n\nLastBootUpTime=20251129095943.810000+000\nLocalDateTime=20251129095944.228000+000\n";
        assert_eq!(wmi_times(text), wanted);
        let zone = text.replace("1129095943.810000+000", "1129105943.810000+060");
        assert_eq!(wmi_times(&zone), wanted, "the offset counts");
        let wide: String = text.chars().flat_map(|c| [c, '\0']).collect();
        assert_eq!(wmi_times(&format!("\u{fffd}\u{fffd}{}", wide.trim_start_matches(['\n', '\0']))), wanted);
        let bare = "LastBootUpTime=20251129095943.810000+000";
        assert_eq!(wmi_times(bare), Some(Boot::Times { started_ms: 1_764_410_383_810, now_ms: None }));
        for bad in ["", "LastBootUpTime=", "LastBootUpTime=2025", "LastBootUpTime=20251329095943.8+000", "x"] {
            assert_eq!(wmi_times(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_registry_s_answers_are_read_or_none() {
        let answer = "HKEY_LOCAL_MACHINE\\SYSTEM\n    ShutdownTime    REG_BINARY    0A5C2C3B7D61DC01\n";
        assert_eq!(shutdown_time(answer), Some(Boot::Shutdown("0A5C2C3B7D61DC01".into())));
        assert_eq!(shutdown_time("ERROR: not found"), None);
        assert!(is_readable("  ProgramFilesDir\tREG_SZ\tC:\\Program Files\n"));
        assert!(!is_readable("") && !is_readable("The system is shutting down"));
    }
}
