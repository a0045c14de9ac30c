//! A device behind an adapter: a program that speaks JSON on its standard input and output.
//!
//! Whatever an adapter does wrong, the node knows nothing then of what became of the call: such errors are transient, and
//! the device is asked again. Only what the device itself shows decides.

mod call;
mod conformance;
mod protocol;
mod redact;
mod whole;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};
use wardround_rollout_plans::model::DeviceId;
use zeroize::Zeroizing;

use super::{
    DeviceError, QUESTION_TIMEOUT, TEXT_BYTES_MAX, decode,
    process::keep_from_programs,
    reboot::{Boot, ROOT_READABLE, Restart},
    shell::{Shell, quote},
    windows_boot,
};
use crate::{
    config::{AdapterConfig, RemoteShell},
    secret::{Secret, SecretText},
};
use call::{CallError, CallErrorKind, call};
pub use conformance::{CHECKS, CheckResult, Conformance, ConformanceOptions, Verdict, check as check_conformance};
pub(crate) use protocol::Answer;
pub use protocol::{Broken, CallOutcome, PROTOCOL, Verb};
use redact::{Redactor, SECRET_BYTES_MIN};

/// How much longer than the deadline that it was told an adapter may take to say so.
const GRACE: Duration = Duration::from_secs(5);
/// Slowest upload that is waited for, bytes per second: as over SSH.
const UPLOAD_RATE_MIN: u64 = 128 * 1024;
/// For how long credentials are used before their place is asked again: a vault should not be asked for each look.
const CREDENTIALS_FOR: Duration = Duration::from_secs(120);
/// The operation of calls that belong to none.
const NO_OPERATION: &str = "none";

/// A device and the program that reaches it.
#[derive(Debug)]
pub(crate) struct AdapterLink {
    device: String,
    config: AdapterConfig,
    credentials: Mutex<Option<Credentials>>,
    described: OnceCell<Described>,
    /// A secret was in what the adapter printed or logged.
    leaked: AtomicBool,
}

#[derive(Debug, Clone)]
struct Credentials {
    read: Instant,
    texts: Arc<BTreeMap<String, SecretText>>,
}

/// What an adapter says that it can do.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    /// Its name and version, where it says them.
    pub(crate) name: String,
    pub(crate) verbs: Vec<String>,
}

impl Described {
    pub(crate) fn has(&self, verb: Verb) -> bool {
        self.verbs.iter().any(|word| word == verb.word())
    }
}

#[derive(Serialize)]
struct Request<'a> {
    protocol: u32,
    op_id: &'a str,
    deadline_ms: u64,
    device: Device<'a>,
    credentials: BTreeMap<&'a str, &'a str>,
    args: &'a Value,
}

#[derive(Serialize)]
struct Device<'a> {
    name: &'a str,
    shell: &'a str,
    dir: &'a str,
    options: &'a BTreeMap<String, String>,
}

impl AdapterLink {
    pub(super) fn new(id: &DeviceId, config: &AdapterConfig) -> Self {
        Self::named(id.as_str(), config)
    }

    fn named(device: &str, config: &AdapterConfig) -> Self {
        for secret in config.credentials.values() {
            if let Secret::Env(name) = secret {
                keep_from_programs(name);
            }
        }
        Self {
            device: device.to_owned(),
            config: config.clone(),
            credentials: Mutex::new(None),
            described: OnceCell::new(),
            leaked: AtomicBool::new(false),
        }
    }

    pub(super) fn shell(&self) -> Shell {
        match self.config.shell {
            RemoteShell::Sh => Shell::Sh,
            RemoteShell::Cmd => Shell::Cmd,
        }
    }

    pub(super) fn op_dir(&self, op: &str) -> String {
        self.shell().join(&self.config.device_dir, op)
    }

    async fn credentials(&self) -> Result<Arc<BTreeMap<String, SecretText>>, DeviceError> {
        let mut kept = self.credentials.lock().await;
        if let Some(found) = kept.as_ref().filter(|found| found.read.elapsed() < CREDENTIALS_FOR) {
            return Ok(Arc::clone(&found.texts));
        }
        let mut texts = BTreeMap::new();
        for (name, secret) in &self.config.credentials {
            let fail = |detail: String| DeviceError::Credentials { name: name.clone(), detail };
            let text = secret.read().await.map_err(|error| fail(error.to_string()))?;
            if text.expose().len() < SECRET_BYTES_MIN {
                return Err(fail(format!(
                    "it has fewer than {SECRET_BYTES_MIN} bytes, and could not be kept out of logs"
                )));
            }
            texts.insert(name.clone(), text);
        }
        let texts = Arc::new(texts);
        *kept = Some(Credentials { read: Instant::now(), texts: Arc::clone(&texts) });
        Ok(texts)
    }

    /// Calls the program, whatever the outcome; only what breaks the protocol is an error.
    async fn raw(&self, verb: &str, op: &str, args: &Value, deadline: Duration) -> Result<Answer, DeviceError> {
        let credentials = self.credentials().await?;
        let redactor = Redactor::new(credentials.values());
        let request = Request {
            protocol: PROTOCOL,
            op_id: op,
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            device: Device {
                name: &self.device,
                shell: self.shell().word(),
                dir: &self.config.device_dir,
                options: &self.config.options,
            },
            credentials: credentials.iter().map(|(name, text)| (name.as_str(), text.expose())).collect(),
            args,
        };
        let what = || format!("the adapter's {verb}");
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024));
        serde_json::to_writer(&mut *bytes, &request)
            .map_err(|error| DeviceError::Io { what: what(), source: error.into() })?;
        bytes.push(b'\n');
        let answer = call(&self.config.program, verb, op, &bytes, &redactor, deadline + GRACE).await;
        self.leaked.fetch_or(redactor.has_found(), Ordering::Relaxed);
        answer.map_err(|CallError { kind, log }| match kind {
            CallErrorKind::Late => DeviceError::Timeout { what: what(), after: deadline },
            CallErrorKind::Broken(broken) => DeviceError::Adapter { verb: verb.to_owned(), broken, log },
        })
    }

    /// Calls the program for something that must come out "ok".
    pub(crate) async fn ask(
        &self,
        verb: Verb,
        op: &str,
        args: &Value,
        deadline: Duration,
    ) -> Result<Answer, DeviceError> {
        let answer = self.raw(verb.word(), op, args, deadline).await?;
        let detail = answer.detail.clone();
        Err(match answer.outcome {
            CallOutcome::Ok => return Ok(answer),
            CallOutcome::Unreachable => DeviceError::Unreachable { detail },
            CallOutcome::Refused => {
                // They may have been changed where they are kept.
                *self.credentials.lock().await = None;
                DeviceError::Refused { detail }
            }
            CallOutcome::Failed => DeviceError::AdapterFailed { verb: verb.word(), detail },
            CallOutcome::Unsupported | CallOutcome::BadRequest => {
                let detail = if detail.is_empty() { "it does not know the verb".to_owned() } else { detail };
                DeviceError::AdapterRefused { verb: verb.word(), detail }
            }
        })
    }

    /// What the program can do; asked once.
    pub(crate) async fn described(&self) -> Result<&Described, DeviceError> {
        self.described
            .get_or_try_init(|| async {
                let answer = self.ask(Verb::Describe, NO_OPERATION, &json!({}), QUESTION_TIMEOUT).await?;
                let described = read_description(&answer).map_err(|broken| Self::broken(Verb::Describe, broken))?;
                for verb in Verb::NEEDED {
                    if !described.has(verb) {
                        let detail = "it is not among the verbs that `describe` names".to_owned();
                        return Err(DeviceError::AdapterRefused { verb: verb.word(), detail });
                    }
                }
                Ok(described)
            })
            .await
    }

    fn broken(verb: Verb, broken: Broken) -> DeviceError {
        DeviceError::Adapter { verb: verb.word().to_owned(), broken, log: String::new() }
    }

    pub(super) async fn ping(&self) -> Result<(), DeviceError> {
        self.ask(Verb::Ping, NO_OPERATION, &json!({}), QUESTION_TIMEOUT).await.map(drop)
    }

    pub(super) async fn put(&self, op: &str, files: &[(&str, &Path)]) -> Result<(), DeviceError> {
        let mut length = 0;
        let mut told = Vec::new();
        for (name, source) in files {
            let io = |error| DeviceError::Io { what: format!("read {}", source.display()), source: error };
            let source = std::path::absolute(source).map_err(io)?;
            let bytes = std::fs::metadata(&source).map_err(io)?.len();
            length += bytes;
            told.push(json!({"name": name, "source": source.display().to_string(), "bytes": bytes}));
        }
        let deadline = QUESTION_TIMEOUT + Duration::from_secs(length / UPLOAD_RATE_MIN);
        let answer = self.ask(Verb::Put, op, &json!({"files": told}), deadline).await?;
        let bytes = answer.count("bytes").map_err(|broken| Self::broken(Verb::Put, broken))?;
        if bytes != length {
            let detail = format!("the device has {bytes} bytes instead of {length}: the upload was cut off");
            return Err(DeviceError::Unreachable { detail });
        }
        Ok(())
    }

    pub(super) async fn run_line(&self, line: &str, timeout: Duration) -> Result<String, DeviceError> {
        let (_, text) = self.run(NO_OPERATION, line, timeout).await?;
        Ok(text)
    }

    /// Runs a line, and gives its exit code and what it printed.
    async fn run(&self, op: &str, line: &str, timeout: Duration) -> Result<(u32, String), DeviceError> {
        let args = json!({"line": line, "output_bytes_max": TEXT_BYTES_MAX});
        let answer = self.ask(Verb::Run, op, &args, timeout).await?;
        let read = || Ok((answer.exit_code()?, answer.text("stdout")?.replace('\r', "")));
        let (code, text) = read().map_err(|broken| Self::broken(Verb::Run, broken))?;
        if text.len() > 4 * TEXT_BYTES_MAX {
            return Err(Self::broken(
                Verb::Run,
                Broken::TooMuch(format!("{TEXT_BYTES_MAX} bytes of a command's output")),
            ));
        }
        Ok((code, text.trim_end_matches('\n').to_owned()))
    }

    pub(super) async fn read_text(&self, op: &str, name: &str) -> Result<Option<String>, DeviceError> {
        let Some(bytes) = self.get(op, name, TEXT_BYTES_MAX).await? else { return Ok(None) };
        let credentials = self.credentials().await?;
        Ok(Some(Redactor::new(credentials.values()).text(&decode(&bytes))))
    }

    /// The last bytes of a file; `None` when it is not there.
    async fn get(&self, op: &str, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, DeviceError> {
        let args = json!({"name": name, "bytes_max": bytes_max});
        let answer = self.ask(Verb::Get, op, &args, QUESTION_TIMEOUT).await?;
        let read = || -> Result<Option<Vec<u8>>, Broken> {
            if !answer.flag("found")? {
                return Ok(None);
            }
            let bad = || Broken::BadResult("content_base64 is no base64".to_owned());
            let bytes = STANDARD.decode(answer.text("content_base64")?).map_err(|_| bad())?;
            if bytes.len() > bytes_max {
                return Err(Broken::TooMuch(format!("{bytes_max} bytes of a file")));
            }
            Ok(Some(bytes))
        };
        read().map_err(|broken| Self::broken(Verb::Get, broken))
    }

    /// Where the adapter has no way of its own, a line does it as over SSH. The launcher runs once however often it is
    /// started, so a call whose answer was lost is made again.
    pub(super) async fn start(&self, op: &str, name: &str) -> Result<(), DeviceError> {
        if self.described().await?.has(Verb::Start) {
            return self.ask(Verb::Start, op, &json!({"name": name}), QUESTION_TIMEOUT).await.map(drop);
        }
        let path = self.shell().join(&self.op_dir(op), name);
        let line = match self.shell() {
            Shell::Sh => format!("nohup sh {} < /dev/null > /dev/null 2>&1 &", quote(Shell::Sh, &path)?),
            Shell::Cmd => format!("start /b cmd /c {path} >nul 2>nul <nul"),
        };
        self.run(op, &line, QUESTION_TIMEOUT).await.map(drop)
    }

    pub(super) async fn remove(&self, op: &str) -> Result<(), DeviceError> {
        self.ask(Verb::Remove, op, &json!({}), QUESTION_TIMEOUT).await.map(drop)
    }
}

/// What `describe` says.
fn read_description(answer: &Answer) -> Result<Described, Broken> {
    let bad = |why: &str| Broken::BadResult(why.to_owned());
    let protocols =
        answer.fields.get("protocols").and_then(Value::as_array).ok_or_else(|| bad("protocols is no list"))?;
    if !protocols.contains(&json!(PROTOCOL)) {
        return Err(Broken::BadResult(format!("it does not speak protocol {PROTOCOL}")));
    }
    let verbs = answer.fields.get("verbs").and_then(Value::as_array).ok_or_else(|| bad("verbs is no list"))?;
    let verbs = verbs.iter().map(|verb| verb.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    let name: Vec<&str> =
        ["name", "version"].iter().filter_map(|field| answer.fields.get(*field).and_then(Value::as_str)).collect();
    Ok(Described { name: name.join(" "), verbs: verbs.ok_or_else(|| bad("verbs holds what is no text"))? })
}

/// The present run of the device as `inventory` tells it.
fn read_boot(answer: &Answer) -> Result<Option<Boot>, Broken> {
    let bad = |why: &str| Broken::BadResult(format!("boot {why}"));
    let boot = match answer.fields.get("boot") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(boot)) => boot,
        Some(_) => return Err(bad("is no object")),
    };
    let text = |name: &str| boot.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(mark) = text("mark") {
        return Ok(Some(Boot::Mark(mark)));
    }
    if let Some(mark) = text("shutdown") {
        return Ok(Some(Boot::Shutdown(mark)));
    }
    let ms = |name: &str| boot.get(name).and_then(Value::as_i64);
    let started_ms = ms("started_ms").ok_or_else(|| bad("has neither mark, shutdown nor started_ms"))?;
    Ok(Some(Boot::Times { started_ms, now_ms: ms("now_ms") }))
}

/// As `inventory` tells it, so that `reboot` knows which run it is to end.
fn boot_value(boot: &Boot) -> Value {
    match boot {
        Boot::Mark(mark) => json!({"mark": mark}),
        Boot::Shutdown(mark) => json!({"shutdown": mark}),
        Boot::Times { started_ms, now_ms } => json!({"started_ms": started_ms, "now_ms": now_ms}),
    }
}

impl Restart for AdapterLink {
    async fn boot(&self) -> Result<Option<Boot>, DeviceError> {
        let answer = self.ask(Verb::Inventory, NO_OPERATION, &json!({}), QUESTION_TIMEOUT).await?;
        read_boot(&answer).map_err(|broken| Self::broken(Verb::Inventory, broken))
    }

    /// The adapter's word is not enough: the question goes through the device's own shell.
    async fn readable(&self) -> Result<bool, DeviceError> {
        match self.shell() {
            Shell::Cmd => {
                let answer = self.run_line(windows_boot::READABLE, QUESTION_TIMEOUT).await?;
                Ok(windows_boot::is_readable(&answer))
            }
            Shell::Sh => {
                let answer = self.run_line(ROOT_READABLE, QUESTION_TIMEOUT).await?;
                Ok(answer.trim() == "READABLE")
            }
        }
    }

    async fn restart(&self, before: &Boot) -> Result<(), DeviceError> {
        let args = json!({"boot": boot_value(before)});
        self.ask(Verb::Reboot, NO_OPERATION, &args, QUESTION_TIMEOUT).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
