//! What an adapter program prints, and what of it counts. `docs/adapters.md` is the protocol's text.

use serde::Deserialize;
use serde_json::{Map, Value};

/// The version of the protocol that this node speaks.
pub const PROTOCOL: u32 = 1;
/// Most bytes that one call may print: 256 KiB of a file in base64, twice, and an hour of progress.
pub(crate) const OUTPUT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Most progress lines of one call: two a second for an hour and a half.
pub(crate) const PROGRESS_LINES_MAX: usize = 10_000;

/// What an adapter can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// What it is and can do.
    Describe,
    /// What the device is, and since when it runs.
    Inventory,
    /// Files onto the device.
    Put,
    /// A file of the device.
    Get,
    /// One line in the device's shell.
    Run,
    /// A staged script, so that it outlives the call.
    Start,
    /// A restart.
    Reboot,
    /// Whether it answers.
    Ping,
    /// The operation's directory away.
    Remove,
    /// The device's own tool installs.
    Install,
    /// The device's own tool uninstalls.
    Uninstall,
    /// The device's own tool says whether it is there.
    Detect,
    /// The device's own tool will never begin a step that has not begun.
    Withdraw,
}

impl Verb {
    /// Those that a device can't be driven without.
    pub const NEEDED: [Self; 8] =
        [Self::Describe, Self::Inventory, Self::Put, Self::Get, Self::Run, Self::Reboot, Self::Ping, Self::Remove];
    /// Those of vendors' tools: all of them, or none.
    pub const WHOLE_STEPS: [Self; 4] = [Self::Install, Self::Uninstall, Self::Detect, Self::Withdraw];

    /// Its word on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Inventory => "inventory",
            Self::Put => "put",
            Self::Get => "get",
            Self::Run => "run",
            Self::Start => "start",
            Self::Reboot => "reboot",
            Self::Ping => "ping",
            Self::Remove => "remove",
            Self::Install => "install",
            Self::Uninstall => "uninstall",
            Self::Detect => "detect",
            Self::Withdraw => "withdraw",
        }
    }
}

/// How a call came out, in the adapter's own judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// It was done, or had been done before under the same operation id.
    Ok,
    /// The adapter does not know the verb.
    Unsupported,
    /// The device does not answer.
    Unreachable,
    /// The device answers, and refuses the credentials.
    Refused,
    /// Options or arguments are missing or not understood.
    BadRequest,
    /// The device answers, and could not do it.
    Failed,
}

/// The one result of a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) outcome: CallOutcome,
    /// Why, where it is not "ok".
    pub(crate) detail: String,
    /// What the verb gives.
    pub(crate) fields: Map<String, Value>,
}

/// How an adapter broke the protocol: nothing is known of what it did.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It could not be started.
    #[error("it could not be started: {0}")]
    NotStarted(String),
    /// It ended with another status than 0.
    #[error("it ended with status {0}")]
    Status(i32),
    /// A signal ended it.
    #[error("it was ended by a signal")]
    Signal,
    /// It ended without a result.
    #[error("it ended without a result")]
    NoResult,
    /// More than one result.
    #[error("it gave more than one result")]
    TwoResults,
    /// Something after the result.
    #[error("it went on talking after its result: {0:?}")]
    AfterResult(String),
    /// A line that is no JSON object with "progress" or "result".
    #[error("it printed what is no line of the protocol: {0:?}")]
    Garbage(String),
    /// A line that is no UTF-8.
    #[error("it printed bytes that are no UTF-8")]
    NotUtf8,
    /// The result of another operation.
    #[error("its result is for operation {found:?}, not {wanted:?}")]
    OtherOperation {
        /// What it named.
        found: String,
        /// What was asked.
        wanted: String,
    },
    /// A result whose form is not that of the protocol.
    #[error("its result is not understood: {0}")]
    BadResult(String),
    /// Too much.
    #[error("it printed more than {0}")]
    TooMuch(String),
}

/// Takes an adapter's output apart while it comes.
#[derive(Debug)]
pub(crate) struct Lines {
    op: String,
    pending: Vec<u8>,
    bytes: usize,
    progress: usize,
    answer: Option<Answer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    progress: Option<Value>,
    result: Option<Map<String, Value>>,
}

impl Lines {
    /// For one call about operation `op`.
    pub(crate) fn new(op: &str) -> Self {
        Self { op: op.to_owned(), pending: Vec::new(), bytes: 0, progress: 0, answer: None }
    }

    /// Takes the next bytes; `progress` hears of each progress line.
    ///
    /// # Errors
    /// [`Broken`] as soon as the protocol is: what comes after that does not matter any more.
    pub(crate) fn push(&mut self, bytes: &[u8], mut progress: impl FnMut(&Value)) -> Result<(), Broken> {
        self.bytes += bytes.len();
        if self.bytes > OUTPUT_BYTES_MAX {
            return Err(Broken::TooMuch(format!("{OUTPUT_BYTES_MAX} bytes")));
        }
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            self.line(&line, &mut progress)?;
        }
        Ok(())
    }

    /// The result, once the program has ended with status 0.
    ///
    /// # Errors
    /// [`Broken`] when there is none, or something after it.
    pub(crate) fn finish(mut self) -> Result<Answer, Broken> {
        // The last line may lack its end.
        let rest = std::mem::take(&mut self.pending);
        self.line(&rest, &mut |_| {})?;
        self.answer.ok_or(Broken::NoResult)
    }

    fn line(&mut self, line: &[u8], progress: &mut impl FnMut(&Value)) -> Result<(), Broken> {
        let text = std::str::from_utf8(line).map_err(|_| Broken::NotUtf8)?.trim();
        if text.is_empty() {
            return Ok(());
        }
        // The whole of it: secrets are looked for before it is cut.
        let shown = || text.to_owned();
        let line: Line = match serde_json::from_str(text) {
            Ok(line) => line,
            Err(_) if self.answer.is_some() => return Err(Broken::AfterResult(shown())),
            Err(_) => return Err(Broken::Garbage(shown())),
        };
        match (line.progress, line.result) {
            (None, Some(_)) if self.answer.is_some() => Err(Broken::TwoResults),
            _ if self.answer.is_some() => Err(Broken::AfterResult(shown())),
            (Some(said), None) => {
                self.progress += 1;
                if self.progress > PROGRESS_LINES_MAX {
                    return Err(Broken::TooMuch(format!("{PROGRESS_LINES_MAX} progress lines")));
                }
                progress(&said);
                Ok(())
            }
            (None, Some(result)) => {
                self.answer = Some(self.result(result)?);
                Ok(())
            }
            _ => Err(Broken::Garbage(shown())),
        }
    }

    fn result(&self, mut fields: Map<String, Value>) -> Result<Answer, Broken> {
        let bad = |why: &str| Broken::BadResult(why.to_owned());
        match fields.remove("op_id") {
            Some(Value::String(found)) if found == self.op => {}
            Some(Value::String(found)) => {
                return Err(Broken::OtherOperation { found, wanted: self.op.clone() });
            }
            _ => return Err(bad("op_id is no text")),
        }
        let outcome = fields.remove("outcome").ok_or_else(|| bad("outcome is missing"))?;
        let outcome = serde_json::from_value(outcome).map_err(|_| bad("outcome is none of the words"))?;
        let detail = match fields.remove("detail") {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(_) => return Err(bad("detail is no text")),
        };
        Ok(Answer { outcome, detail, fields })
    }
}

impl Answer {
    /// A text that the verb must give.
    pub(crate) fn text(&self, name: &str) -> Result<&str, Broken> {
        let missing = || Broken::BadResult(format!("{name} is no text"));
        self.fields.get(name).and_then(Value::as_str).ok_or_else(missing)
    }

    /// A yes or no that the verb must give.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Broken> {
        let missing = || Broken::BadResult(format!("{name} is neither true nor false"));
        self.fields.get(name).and_then(Value::as_bool).ok_or_else(missing)
    }

    /// A count that the verb must give.
    pub(crate) fn count(&self, name: &str) -> Result<u64, Broken> {
        let missing = || Broken::BadResult(format!("{name} is no count"));
        self.fields.get(name).and_then(Value::as_u64).ok_or_else(missing)
    }

    /// The exit code of a command of the device: a number of 32 bits, signed or unsigned, or the same as text.
    pub(crate) fn exit_code(&self) -> Result<u32, Broken> {
        let found = self.fields.get("exit_code").unwrap_or(&Value::Null);
        let code = match found {
            Value::Number(number) => crate::installers::parse_exit_code(&number.to_string()),
            Value::String(text) => crate::installers::parse_exit_code(text),
            _ => None,
        };
        code.ok_or_else(|| Broken::BadResult(format!("exit_code {found} is no number of 32 bits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Result<Answer, Broken> {
        let mut lines = Lines::new("op-1");
        lines.push(output.as_bytes(), |_| {})?;
        lines.finish()
    }

    const OK: &str = r#"{"result":{"op_id":"op-1","outcome":"ok","exit_code":3010}}"#;

    #[test]
    fn progress_and_one_result_are_read_however_they_are_cut() {
        let output = format!("{{\"progress\":{{\"done\":1}}}}\n\n{OK}\n");
        for step in [1, 7, 1_000] {
            let (mut lines, mut heard) = (Lines::new("op-1"), 0);
            for part in output.as_bytes().chunks(step) {
                lines.push(part, |_| heard += 1).unwrap();
            }
            let answer = lines.finish().unwrap();
            assert_eq!((answer.outcome, answer.exit_code().unwrap(), heard), (CallOutcome::Ok, 3010, 1));
        }
        assert_eq!(read(OK).unwrap().exit_code().unwrap(), 3010, "a last line without its end");
        let down = read(r#"{"result":{"op_id":"op-1","outcome":"unreachable","detail":"no route"}}"#).unwrap();
        assert_eq!((down.outcome, down.detail.as_str()), (CallOutcome::Unreachable, "no route"));
    }

    #[test]
    fn every_break_has_its_word() {
        for (output, word) in [
            ("", "without a result"),
            ("{\"progress\":1}\n", "without a result"),
            ("Traceback (most recent call last):\n", "no line of the protocol: \"Traceback"),
            ("[1]\n", "no line of the protocol"),
            ("{\"resutl\":{}}\n", "no line of the protocol"),
            ("{\"progress\":1,\"result\":{}}\n", "no line of the protocol"),
            ("{}\n", "no line of the protocol"),
            (&format!("{OK}\n{OK}\n"), "more than one result"),
            (&format!("{OK}\nbye\n"), "talking after its result"),
            (&format!("{OK}\n{{\"progress\":1}}\n"), "talking after its result"),
            (&OK.replace("op-1", "op-2"), "for operation \"op-2\", not \"op-1\""),
            (&OK.replace("\"op_id\":\"op-1\",", ""), "op_id is no text"),
            (&OK.replace("\"ok\"", "\"fine\""), "outcome is none of the words"),
            (&OK.replace("\"outcome\":\"ok\",", ""), "outcome is missing"),
            (&OK.replace("\"ok\"", "\"ok\",\"detail\":7"), "detail is no text"),
            (&"{\"progress\":1}\n".repeat(PROGRESS_LINES_MAX + 1), "10000 progress lines"),
            (&"x".repeat(OUTPUT_BYTES_MAX + 1), "2097152 bytes"),
        ] {
            let error = read(output).unwrap_err().to_string();
            assert!(error.contains(word), "{output:.80}: {error:.200}");
        }
        let mut lines = Lines::new("op-1");
        assert_eq!(lines.push(b"\xff\xfe\n", |_| {}), Err(Broken::NotUtf8));
    }

    #[test]
    fn exit_codes_are_one_number_in_every_form() {
        for (form, code) in [
            ("3010", 3010),
            ("-2145124329", 0x8024_0017),
            ("2149842967", 0x8024_0017),
            ("\"0x80240017\"", 0x8024_0017),
            ("\"1605\"", 1605),
        ] {
            assert_eq!(read(&OK.replace("3010", form)).unwrap().exit_code().unwrap(), code, "{form}");
        }
        for bad in ["4294967296", "1.5", "null", "true", "\"\"", "[0]"] {
            assert!(read(&OK.replace("3010", bad)).unwrap().exit_code().is_err(), "{bad}");
        }
    }
}
