//! One call of an adapter program: JSON in, lines out, and an end in time.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};
use zeroize::Zeroizing;

use super::{
    protocol::{Answer, Broken, Lines},
    redact::Redactor,
};
use crate::transports::{
    decode,
    process::{Group, Kept},
    tail,
};

/// What an adapter is given of the node's environment. The rest may hold what is none of its business.
const ENVIRONMENT: [&str; 7] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH"];
/// Most bytes of an adapter's log that are kept of one call.
const LOG_BYTES_MAX: usize = 16 * 1024;
/// How long the output of an ended program is read on: what it left behind may hold it open for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// How a call failed, with the end of what the program logged.
#[derive(Debug)]
pub(crate) struct CallError {
    pub(crate) kind: CallErrorKind,
    /// Without secrets.
    pub(crate) log: String,
}

/// In which way.
#[derive(Debug)]
pub(crate) enum CallErrorKind {
    /// It gave no result in time, and was killed with all that it had started.
    Late,
    /// It broke the protocol.
    Broken(Broken),
}

/// Calls `program` for `verb`. The request is the only place where secrets are.
pub(crate) async fn call(
    program: &[String],
    verb: &str,
    op: &str,
    request: &Zeroizing<Vec<u8>>,
    redactor: &Redactor,
    limit: Duration,
) -> Result<Answer, CallError> {
    let started = |error: std::io::Error| CallError {
        kind: CallErrorKind::Broken(Broken::NotStarted(redactor.text(&error.to_string()))),
        log: String::new(),
    };
    let (name, args) = program.split_first().ok_or_else(|| started(std::io::Error::other("no program is named")))?;
    let mut command = Command::new(name);
    command.args(args).arg(verb).env_clear();
    for name in ENVIRONMENT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(started)?;
    let mut group = Group::of(&child);
    let log = Kept::start(child.stderr.take(), LOG_BYTES_MAX);
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut lines = Lines::new(op);

    let ended = tokio::time::timeout(limit, async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // One that does not read its input may still answer: what it prints decides.
                let _ = stdin.write_all(request).await;
            }
        };
        let read = async {
            let Some(mut stdout) = stdout else { return Ok(()) };
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = stdout.read(&mut buffer).await {
                lines.push(&buffer[..n], |said| {
                    let mut said = said.clone();
                    redactor.value(&mut said);
                    tracing::debug!(verb, op, progress = %tail(&said.to_string(), 300), "adapter");
                })?;
            }
            Ok(())
        };
        let talk = async { tokio::join!(write, read).1 };
        tokio::pin!(talk);
        tokio::select! {
            said = &mut talk => {
                said?;
                child.wait().await.map_err(|error| Broken::NotStarted(error.to_string()))
            }
            status = child.wait() => {
                let status = status.map_err(|error| Broken::NotStarted(error.to_string()))?;
                if let Ok(said) = tokio::time::timeout(DRAIN, &mut talk).await {
                    said?;
                }
                Ok(status)
            }
        }
    })
    .await;
    let kind = match ended {
        Ok(Ok(status)) => {
            group.ended();
            match status.code() {
                Some(0) => match lines.finish() {
                    Ok(answer) => {
                        log_lines(verb, op, redactor, &log.finish().await);
                        return Ok(clean(answer, redactor));
                    }
                    Err(broken) => CallErrorKind::Broken(broken),
                },
                Some(code) => CallErrorKind::Broken(Broken::Status(code)),
                None => CallErrorKind::Broken(Broken::Signal),
            }
        }
        Ok(Err(broken)) => {
            // One that dies of an error is about to say why.
            if !matches!(broken, Broken::TooMuch(_)) {
                let _ = tokio::time::timeout(DRAIN, child.wait()).await;
            }
            CallErrorKind::Broken(broken)
        }
        Err(_) => CallErrorKind::Late,
    };
    drop(group);
    // Reaped, so that no dead program is left behind; it was killed, so this does not wait for long.
    let _ = tokio::time::timeout(DRAIN, child.wait()).await;
    let log = log_lines(verb, op, redactor, &log.finish().await);
    Err(CallError { kind: redacted(kind, redactor), log })
}

/// Tells the node's log what the adapter logged, and gives its end.
fn log_lines(verb: &str, op: &str, redactor: &Redactor, bytes: &[u8]) -> String {
    let text = decode(bytes);
    let text = if bytes.len() >= LOG_BYTES_MAX { redactor.cut(&text) } else { redactor.text(&text) };
    if !text.trim().is_empty() {
        tracing::debug!(verb, op, log = %tail(text.trim(), 2_000), "adapter");
    }
    tail(text.trim(), 500).to_owned()
}

fn clean(mut answer: Answer, redactor: &Redactor) -> Answer {
    answer.detail = tail(&redactor.text(&answer.detail), 500).to_owned();
    for (name, value) in &mut answer.fields {
        // The content of a file is looked through when it has been decoded.
        if name != "content_base64" {
            redactor.value(value);
        }
    }
    answer
}

fn redacted(kind: CallErrorKind, redactor: &Redactor) -> CallErrorKind {
    let CallErrorKind::Broken(broken) = kind else { return kind };
    let text = |text: String| tail(&redactor.text(&text), 200).to_owned();
    CallErrorKind::Broken(match broken {
        Broken::AfterResult(said) => Broken::AfterResult(text(said)),
        Broken::Garbage(said) => Broken::Garbage(text(said)),
        Broken::BadResult(said) => Broken::BadResult(text(said)),
        Broken::OtherOperation { found, wanted } => Broken::OtherOperation { found: text(found), wanted },
        other => other,
    })
}
