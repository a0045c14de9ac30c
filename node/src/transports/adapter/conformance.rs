//! Whether a program keeps the adapter protocol: every verb, on a real device, in an operation of its own.
//!
//! What is checked is what the node relies on. The launcher is the node's own.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use wardround_signing::Digest;
use zeroize::Zeroizing;

use super::{
    AdapterLink, CallOutcome, NO_OPERATION, PROTOCOL, Verb, boot_value,
    call::{CallErrorKind, call},
    read_description,
    redact::Redactor,
    whole::verb_of,
};
use crate::{
    config::{AdapterConfig, RemoteShell},
    installers::Step,
    secret::Secret,
    transports::{
        DeviceError, QUESTION_TIMEOUT, reboot,
        reboot::Restart,
        shell::{self, Look, Shell, StepState},
    },
};

/// How long a launcher of the test may take.
const LAUNCH_MAX: Duration = Duration::from_secs(90);
/// How long it may take to begin.
const CLAIM_MAX: Duration = Duration::from_secs(20);
/// How long the test's device may take to restart.
const REBOOT_MAX: Duration = Duration::from_secs(1_200);
/// Between two looks.
const POLL: Duration = Duration::from_millis(200);

/// What to test, and on which device.
#[derive(Debug, Clone)]
pub struct ConformanceOptions {
    /// Program and arguments; the verb follows them.
    pub program: Vec<String>,
    /// The device's shell; absent, the only one that `describe` names.
    pub shell: Option<RemoteShell>,
    /// wardround's directory as the device names it; absent, `C:\wardround` of a device with `cmd`.
    pub device_dir: Option<String>,
    /// The device's options.
    pub options: BTreeMap<String, String>,
    /// Where its credentials are kept.
    pub credentials: BTreeMap<String, Secret>,
    /// The device may be restarted.
    pub reboot: bool,
    /// Names of [`CHECKS`] that are made, beside "describe" and "secrets"; none means all.
    pub only: Vec<String>,
}

/// The checks between "describe" and "secrets", in their order.
pub const CHECKS: [&str; 17] = [
    "ping",
    "inventory",
    "unknown verb",
    "bad input",
    "names stay inside",
    "put and get",
    "put again",
    "get at most",
    "operations apart",
    "run",
    "exit codes",
    "run at most",
    "deadline",
    "launcher",
    "remove",
    "reboot",
    "whole steps",
];

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It could not be looked at.
    Skipped,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    /// What was looked at.
    pub check: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
}

/// All checks, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conformance {
    /// The program.
    pub program: Vec<String>,
    /// What it calls itself.
    pub adapter: String,
    /// What was found.
    pub checks: Vec<CheckResult>,
}

impl Conformance {
    /// How many checks came out so.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.checks.iter().filter(|check| check.verdict == verdict).count()
    }

    /// Nothing failed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.count(Verdict::Failed) == 0
    }
}

/// What a check gives: words, or why it fails.
type Checked = Result<String, String>;

/// Calls every verb of a program, and says what holds.
pub async fn check(options: &ConformanceOptions) -> Conformance {
    let mut found = Conformance { program: options.program.clone(), adapter: String::new(), checks: Vec::new() };
    let config = AdapterConfig {
        program: options.program.clone(),
        shell: options.shell.unwrap_or(RemoteShell::Cmd),
        device_dir: options.device_dir.clone().unwrap_or_else(|| r"C:\wardround".to_owned()),
        options: options.options.clone(),
        credentials: options.credentials.clone(),
    };
    let first = AdapterLink::named("conformance", &config);
    let (shell, adapter) = match describe(&first, options).await {
        Ok((shell, adapter, words)) => {
            found.note("describe", Ok(words));
            (shell, adapter)
        }
        Err(why) => {
            found.note("describe", Err(why));
            return found;
        }
    };
    found.adapter = adapter;
    if shell == RemoteShell::Sh && options.device_dir.is_none() {
        found.note("device_dir", Err("a device with sh needs --device-dir".to_owned()));
        return found;
    }
    let link = AdapterLink::named("conformance", &AdapterConfig { shell, ..config });
    let dir = match tempfile::tempdir() {
        Ok(dir) => dir,
        Err(error) => {
            found.note("scratch", Err(format!("no temporary directory: {error}")));
            return found;
        }
    };
    let test = Test { op: format!("wr-test-{}", std::process::id()), other: "wr-test-other".to_owned(), dir, link };
    for check in CHECKS.into_iter().filter(|check| options.only.is_empty() || options.only.iter().any(|o| o == check)) {
        let seen = match check {
            "ping" => test.ping().await,
            "inventory" => test.inventory().await,
            "unknown verb" => test.unknown_verb().await,
            "bad input" => test.bad_input().await,
            "names stay inside" => test.names().await,
            "put and get" => test.round_trip().await,
            "put again" => test.put_again().await,
            "get at most" => test.get_at_most().await,
            "operations apart" => test.apart().await,
            "run" => test.run().await,
            "exit codes" => test.exit_codes().await,
            "run at most" => test.run_at_most().await,
            "deadline" => test.deadline().await,
            "launcher" => test.launcher().await,
            "remove" => test.remove().await,
            "reboot" if !options.reboot => {
                found.skip("reboot", "not allowed: --reboot");
                continue;
            }
            "reboot" => test.reboot().await,
            _ => match test.whole_steps().await {
                Some(seen) => seen,
                None => {
                    found.skip(check, "it announces none");
                    continue;
                }
            },
        };
        found.note(check, seen);
    }
    // Whatever was asked for, nothing is left behind.
    let _ = test.link.remove(&test.op).await;
    if options.credentials.is_empty() {
        found.skip("secrets", "none were given");
    } else {
        let leaked = test.link.leaked.load(Ordering::Relaxed) || first.leaked.load(Ordering::Relaxed);
        let words = "none is in what it printed or logged".to_owned();
        found.note("secrets", if leaked { Err("one is in what it printed or logged".to_owned()) } else { Ok(words) });
    }
    found
}

impl Conformance {
    fn note(&mut self, check: &'static str, found: Checked) {
        let (verdict, detail) = match found {
            Ok(words) => (Verdict::Passed, words),
            Err(why) => (Verdict::Failed, why),
        };
        self.checks.push(CheckResult { check, verdict, detail });
    }

    fn skip(&mut self, check: &'static str, why: &str) {
        self.checks.push(CheckResult { check, verdict: Verdict::Skipped, detail: why.to_owned() });
    }
}

fn words(error: DeviceError) -> String {
    error.to_string()
}

async fn describe(link: &AdapterLink, options: &ConformanceOptions) -> Result<(RemoteShell, String, String), String> {
    let answer = link.ask(Verb::Describe, NO_OPERATION, &json!({}), QUESTION_TIMEOUT).await.map_err(words)?;
    let described = read_description(&answer).map_err(|broken| broken.to_string())?;
    let missing: Vec<&str> = Verb::NEEDED.into_iter().filter(|v| !described.has(*v)).map(Verb::word).collect();
    if !missing.is_empty() {
        return Err(format!("it lacks {}", missing.join(", ")));
    }
    let name = answer.text("name").map_err(|broken| broken.to_string())?.to_owned();
    let shells: Vec<&str> =
        answer.fields.get("shells").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let shell = match (options.shell, shells.as_slice()) {
        (Some(shell), _) => shell,
        (None, ["sh"]) => RemoteShell::Sh,
        (None, ["cmd"]) => RemoteShell::Cmd,
        _ => return Err(format!("shells are {shells:?}: one of sh and cmd is wanted, or --shell")),
    };
    let words = format!("{name}, {}", described.verbs.join(" "));
    Ok((shell, name, words))
}

struct Test {
    op: String,
    other: String,
    dir: tempfile::TempDir,
    link: AdapterLink,
}

impl Test {
    fn cmd(&self) -> bool {
        self.link.shell() == Shell::Cmd
    }

    /// A file of this machine to put.
    fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).map_err(|error| error.to_string())?;
        Ok(path)
    }

    async fn put(&self, op: &str, name: &str, bytes: &[u8]) -> Result<(), String> {
        let path = self.file(name, bytes)?;
        self.link.put(op, &[(name, &path)]).await.map_err(words)
    }

    async fn get(&self, op: &str, name: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
        self.link.get(op, name, bytes_max).await.map_err(words)
    }

    async fn ping(&self) -> Checked {
        self.link.ping().await.map_err(words)?;
        Ok("it answers".to_owned())
    }

    async fn inventory(&self) -> Checked {
        match self.link.boot().await.map_err(words)? {
            Some(boot) => Ok(format!("its present run is {}", boot_value(&boot))),
            None => Ok("it does not say since when it runs: such a device is never restarted by a node".to_owned()),
        }
    }

    async fn unknown_verb(&self) -> Checked {
        let answer = self.link.raw("no-such-verb", &self.op, &json!({}), QUESTION_TIMEOUT).await.map_err(words)?;
        match answer.outcome {
            CallOutcome::Unsupported => Ok("unsupported".to_owned()),
            other => Err(format!("the outcome is {other:?} and not unsupported")),
        }
    }

    /// None of these may be "ok"; an adapter that ends with another status than 0 has refused as well.
    async fn bad_input(&self) -> Checked {
        let op = &self.op;
        let request = |text: String| Zeroizing::new(text.into_bytes());
        let bare = json!({"protocol": PROTOCOL, "op_id": op, "deadline_ms": 30_000, "args": {}}).to_string();
        for (what, verb, bytes) in [
            ("nothing", "ping", String::new()),
            ("no JSON", "ping", "{\"protocol\":".to_owned()),
            ("another protocol", "ping", json!({"protocol": 999, "op_id": op}).to_string()),
            ("no arguments", "run", bare.clone()),
            ("no arguments", "put", bare),
        ] {
            let redactor = Redactor::new([]);
            let limit = QUESTION_TIMEOUT;
            match call(&self.link.config.program, verb, op, &request(bytes), &redactor, limit).await {
                Ok(answer) if answer.outcome == CallOutcome::Ok => return Err(format!("{verb} with {what} is ok")),
                Ok(_) => {}
                Err(error) if matches!(error.kind, CallErrorKind::Late) => {
                    return Err(format!("{verb} with {what} hangs"));
                }
                Err(_) => {}
            }
        }
        Ok("refused".to_owned())
    }

    async fn names(&self) -> Checked {
        let source = self.file("inside", b"x")?;
        for name in ["../outside", r"..\outside", "/etc/hostname", "a/b", "", ".."] {
            let files = json!({"files": [{"name": name, "source": source.display().to_string(), "bytes": 1}]});
            for (verb, args) in [("put", files), ("get", json!({"name": name, "bytes_max": 100}))] {
                let answer = self.link.raw(verb, &self.op, &args, QUESTION_TIMEOUT).await.map_err(words)?;
                if answer.outcome != CallOutcome::BadRequest {
                    return Err(format!("{verb} of {name:?} is {:?} and not bad_request", answer.outcome));
                }
            }
        }
        Ok("bad_request".to_owned())
    }

    async fn round_trip(&self) -> Checked {
        // Every byte in every neighbourhood that a transfer in text mode would change.
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (name, bytes) in
            [("wr-test.bin", bytes.as_slice()), ("wr-test.empty", b""), ("wr-test.crlf", b"a\r\nb\x1a\n")]
        {
            self.put(&self.op, name, bytes).await?;
            let back = self.get(&self.op, name, 200_000).await?.ok_or_else(|| format!("{name} is not there"))?;
            if Digest::of(&back) != Digest::of(bytes) {
                return Err(format!("{name} came back with {} bytes and another SHA-256", back.len()));
            }
        }
        match self.get(&self.op, "wr-test.none", 10).await? {
            None => Ok(format!("SHA-256 {}", Digest::of(&bytes).hex())),
            Some(_) => Err("a file that is not there was found".to_owned()),
        }
    }

    async fn put_again(&self) -> Checked {
        self.put(&self.op, "wr-test.again", b"a longer first content").await?;
        self.put(&self.op, "wr-test.again", b"second").await?;
        self.put(&self.op, "wr-test.again", b"second").await?;
        match self.get(&self.op, "wr-test.again", 100).await?.as_deref() {
            Some(b"second") => Ok("the newer content, as a whole".to_owned()),
            _ => Err("the older content, or a mixture".to_owned()),
        }
    }

    async fn get_at_most(&self) -> Checked {
        let bytes: Vec<u8> = (0..300_000u32).map(|n| (n / 997) as u8).collect();
        self.put(&self.op, "wr-test.long", &bytes).await?;
        let back = self.get(&self.op, "wr-test.long", 1_000).await?.unwrap_or_default();
        if back == bytes[bytes.len() - 1_000..] {
            Ok("its last 1000 bytes".to_owned())
        } else {
            Err("not its last 1000 bytes".to_owned())
        }
    }

    async fn apart(&self) -> Checked {
        self.put(&self.op, "wr-test.apart", b"x").await?;
        let seen = self.get(&self.other, "wr-test.apart", 100).await?;
        if seen.is_some() { Err("a file of one operation is in another".to_owned()) } else { Ok("they are".to_owned()) }
    }

    async fn line(&self, line: &str, deadline: Duration) -> Result<(u32, String), String> {
        self.link.run(&self.op, line, deadline).await.map_err(words)
    }

    async fn run(&self) -> Checked {
        let (code, text) = self.line("echo wardround", QUESTION_TIMEOUT).await?;
        if code == 0 && text.trim() == "wardround" { Ok("echo".to_owned()) } else { Err(format!("{code}: {text:?}")) }
    }

    async fn exit_codes(&self) -> Checked {
        let wanted: &[(&str, u32)] = if self.cmd() {
            &[("cmd /c exit 3010", 3010), ("cmd /c exit -2145124329", 0x8024_0017), ("cmd /c exit 1605", 1605)]
        } else {
            &[("exit 7", 7), ("exit 255", 255), ("true", 0)]
        };
        for (line, wanted) in wanted {
            let (code, _) = self.line(line, QUESTION_TIMEOUT).await?;
            if code != *wanted {
                return Err(format!("{line:?} gave {code} and not {wanted}"));
            }
        }
        Ok(wanted.iter().map(|(_, code)| code.to_string()).collect::<Vec<_>>().join(", "))
    }

    async fn run_at_most(&self) -> Checked {
        let line = if self.cmd() {
            "for /l %i in (1,1,200) do @echo 0123456789012345678901234567890123456789"
        } else {
            "yes 0123456789012345678901234567890123456789 | head -n 20000"
        };
        let args = json!({"line": line, "output_bytes_max": 1_000});
        let answer = self.link.ask(Verb::Run, &self.op, &args, QUESTION_TIMEOUT).await.map_err(words)?;
        let text = answer.text("stdout").map_err(|broken| broken.to_string())?;
        match text.len() {
            0 => Err("nothing of it came".to_owned()),
            1..=1_000 => Ok(format!("{} bytes of at most 1000", text.len())),
            more => Err(format!("{more} bytes of at most 1000")),
        }
    }

    /// A command that takes too long: the adapter gives up, or is killed. Either way the device is to answer again.
    async fn deadline(&self) -> Checked {
        let line = if self.cmd() { "ping -n 40 127.0.0.1 >nul" } else { "sleep 40" };
        let begun = Instant::now();
        let args = json!({"line": line, "output_bytes_max": 1_000});
        let ended = self.link.raw("run", &self.op, &args, Duration::from_secs(2)).await;
        let how = match ended {
            Ok(answer) if answer.outcome == CallOutcome::Ok => {
                return Err(format!("the command is said to be done after {}s", begun.elapsed().as_secs()));
            }
            Ok(answer) => format!("it gave up by itself: {:?}", answer.outcome),
            Err(DeviceError::Timeout { .. }) => "it was killed at its deadline".to_owned(),
            Err(error) => return Err(error.to_string()),
        };
        self.link.ping().await.map_err(|error| format!("{how}; then the device does not answer: {error}"))?;
        Ok(how)
    }

    /// The node's own launcher: started twice, it works on without the adapter, once, and leaves the code.
    async fn launcher(&self) -> Checked {
        let (kind, dir) = (self.link.shell(), self.link.op_dir(&self.op));
        let count = kind.join(&dir, "wr-count");
        let (lines, code) = match kind {
            Shell::Sh => (vec!["sleep 2".to_owned(), format!("echo ran >> {count}"), "(exit 42)".to_owned()], 42),
            Shell::Cmd => {
                let wait = "ping -n 3 127.0.0.1 > nul".to_owned();
                (vec![wait, format!("echo ran>> {count}"), "cmd /c exit 3010".to_owned()], 3010)
            }
        };
        let quoted = |error: shell::Unquotable| error.to_string();
        let mut files = shell::step_files(kind, &dir, None, "test", &lines).map_err(quoted)?;
        files.push(shell::state_script(kind, &dir, "test", Look::Only).map_err(quoted)?);
        for (name, text) in &files {
            self.put(&self.op, name, text.as_bytes()).await?;
        }
        let script = format!("wr-test.{}", kind.extension());
        let begun = Instant::now();
        for _ in 0..2 {
            self.link.start(&self.op, &script).await.map_err(words)?;
        }
        let deadline = Instant::now() + LAUNCH_MAX;
        let state = kind.join(&dir, &Look::Only.file(kind, "test"));
        let line = if kind == Shell::Cmd { format!("call {state}") } else { format!("sh {state}") };
        let found = loop {
            let (_, text) = self.line(&line, QUESTION_TIMEOUT).await?;
            match shell::step_state(&text) {
                Some(StepState::Done(found)) => break found,
                Some(StepState::None) if begun.elapsed() >= CLAIM_MAX => {
                    return Err("the launcher was started twice, and never began".to_owned());
                }
                Some(StepState::Running | StepState::None) if Instant::now() < deadline => {
                    tokio::time::sleep(POLL).await
                }
                Some(state) => return Err(format!("the launcher is {state:?} after {}s", begun.elapsed().as_secs())),
                None => return Err(format!("its state is {text:?}")),
            }
        };
        let ran = self.get(&self.op, "wr-count", 100).await?.unwrap_or_default();
        let ran = String::from_utf8_lossy(&ran).lines().count();
        if found != code || ran != 1 {
            return Err(format!("it ran {ran} times and left {found} instead of {code}"));
        }
        Ok(format!("it ran once and left {found}"))
    }

    async fn remove(&self) -> Checked {
        self.put(&self.op, "wr-test.gone", b"x").await?;
        // A launcher ends a moment after its result, and until then Windows keeps its directory.
        let deadline = Instant::now() + LAUNCH_MAX;
        loop {
            match self.link.remove(&self.op).await {
                Ok(()) => break,
                Err(error) if Instant::now() >= deadline => return Err(error.to_string()),
                Err(_) => tokio::time::sleep(POLL).await,
            }
        }
        self.link.remove(&self.op).await.map_err(|error| format!("a second time: {error}"))?;
        match self.get(&self.op, "wr-test.gone", 10).await? {
            None => Ok("the directory is gone, and may be gone before".to_owned()),
            Some(_) => Err("a file is still there".to_owned()),
        }
    }

    /// `None` where it announces none. Nothing is installed: what is asked for was withdrawn before.
    async fn whole_steps(&self) -> Option<Checked> {
        match self.link.does_whole_steps().await {
            Ok(false) => None,
            Ok(true) => {
                let op = format!("{}-steps", self.op);
                let seen = self.withdrawn_steps(&op).await;
                // However that came out.
                let removed = self.link.remove(&op).await.map_err(words);
                Some(seen.and_then(|seen| removed.map(|()| seen)))
            }
            Err(error) => Some(Err(error.to_string())),
        }
    }

    /// A step that has not begun is not there; one that was withdrawn never begins, however often that is said.
    async fn withdrawn_steps(&self, op: &str) -> Checked {
        let installer = json!({"technology": "script", "interpreter": "sh"});
        let begin = json!({"begin": true, "file": "wr-test.none", "installer": installer, "timeout_ms": 60_000});
        for step in [Step::Install, Step::Uninstall] {
            let state = async |look| self.link.step_state(op, step, look).await.map_err(words);
            let found = [state(Look::Only).await?, state(Look::Withdraw).await?, state(Look::Withdraw).await?];
            self.link.ask(verb_of(step), op, &begin, QUESTION_TIMEOUT).await.map_err(words)?;
            let after = state(Look::Only).await?;
            if found != [StepState::None, StepState::Withdrawn, StepState::Withdrawn] || after != StepState::Withdrawn {
                let word = step.word();
                return Err(format!("{word}: before, withdrawn, and again: {found:?}; begun after that: {after:?}"));
            }
        }
        Ok("what was withdrawn does not begin; nothing was installed".to_owned())
    }

    async fn reboot(&self) -> Checked {
        let before = self.link.boot().await.map_err(words)?.ok_or("it does not say since when it runs")?;
        reboot::restart(&self.link, REBOOT_MAX, POLL).await.map_err(words)?;
        let now = self.link.boot().await.map_err(words)?;
        // The same wish again, as after a lost answer: that run has ended.
        self.link.restart(&before).await.map_err(words)?;
        let again = self.link.boot().await.map_err(words)?;
        let same = matches!((&now, &again), (Some(now), Some(again)) if is_same_run(now, again));
        if !same {
            return Err("it restarts again for a wish whose run has ended".to_owned());
        }
        Ok("proved by its start and its registry (or root); not repeated".to_owned())
    }
}

/// Whether two answers are of one run of the device.
fn is_same_run(one: &reboot::Boot, other: &reboot::Boot) -> bool {
    use reboot::Boot;
    match (one, other) {
        // WMI's boot time wanders.
        (Boot::Times { started_ms: one, .. }, Boot::Times { started_ms: other, .. }) => one.abs_diff(*other) < 5_000,
        (one, other) => one == other,
    }
}
