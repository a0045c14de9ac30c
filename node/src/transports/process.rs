//! Programs and files on the node itself, with limits.

use std::{
    collections::BTreeSet,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::{sys::signal, unistd::Pid};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, Command},
    task::JoinHandle,
};

use super::DeviceError;

/// How long the pipes of an ended program may be silent before they are given up: a daemon that it left behind may hold
/// them open for ever.
const DRAIN: Duration = Duration::from_millis(300);
/// Looks at the pipes of an ended program. Two at least: on a busy machine the first may come before the reader's turn.
const DRAINS: std::ops::RangeInclusive<u32> = 2..=10;

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Exit status; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// It was killed because its time was up.
    pub(crate) timed_out: bool,
    /// Standard output, the first bytes.
    pub(crate) stdout: Vec<u8>,
    /// Standard error, the first bytes.
    pub(crate) stderr: Vec<u8>,
}

/// Variables of the node's own environment that hold secrets: no program that the node starts is given them.
static SECRET_NAMES: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on no program inherits this variable of the node's environment.
pub(crate) fn keep_from_programs(name: &str) {
    if let Ok(mut names) = SECRET_NAMES.lock() {
        names.insert(name.to_owned());
    }
}

/// The variables that no program inherits.
pub(crate) fn secret_names() -> Vec<String> {
    SECRET_NAMES.lock().map(|names| names.iter().cloned().collect()).unwrap_or_default()
}

/// Kills the whole process group unless the program has ended: also when the caller is dropped.
pub(super) struct Group(Option<Pid>);

impl Group {
    /// That of a child that was started in a group of its own.
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// The program has ended by itself; what it left running runs on.
    pub(super) fn ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already.
            let _ = signal::killpg(group, signal::Signal::SIGKILL);
        }
    }
}

/// Runs a program in a process group of its own, keeps at most `bytes_max` of each stream, and kills the group when
/// `timeout` is over or the caller goes away.
pub(crate) async fn run(
    mut command: Command,
    input: Option<&[u8]>,
    timeout: Duration,
    bytes_max: usize,
) -> io::Result<Finished> {
    command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    for name in secret_names() {
        command.env_remove(name);
    }
    let mut child = command.spawn()?;
    let mut group = Group::of(&child);
    let stdout = Kept::start(child.stdout.take(), bytes_max);
    let stderr = Kept::start(child.stderr.take(), bytes_max);
    let stdin = child.stdin.take();
    let ended = tokio::time::timeout(timeout, async {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that does not read its input may still succeed: its exit status decides.
            let _ = stdin.write_all(input).await;
        }
        child.wait().await
    })
    .await;
    let (code, timed_out) = match ended {
        Ok(status) => {
            group.ended();
            (status?.code(), false)
        }
        Err(_) => {
            drop(group);
            (child.wait().await?.code(), true)
        }
    };
    Ok(Finished { code, timed_out, stdout: stdout.finish().await, stderr: stderr.finish().await })
}

/// The first bytes of a stream, while it is being read to its end.
pub(super) struct Kept {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Kept {
    pub(super) fn start(stream: Option<impl AsyncRead + Unpin + Send + 'static>, bytes_max: usize) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let reader = tokio::spawn(async move {
            let Some(mut stream) = stream else { return };
            let mut buffer = vec![0; 8192];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                if let Ok(mut kept) = kept.lock() {
                    let room = bytes_max.saturating_sub(kept.len());
                    kept.extend_from_slice(&buffer[..n.min(room)]);
                }
            }
        });
        Self { bytes, reader }
    }

    pub(super) async fn finish(mut self) -> Vec<u8> {
        let kept = |bytes: &Mutex<Vec<u8>>| bytes.lock().map_or(0, |bytes| bytes.len());
        let (mut before, mut looks) = (kept(&self.bytes), 0);
        while tokio::time::timeout(DRAIN, &mut self.reader).await.is_err() {
            looks += 1;
            let now = kept(&self.bytes);
            if looks >= *DRAINS.end() || (looks >= *DRAINS.start() && now == before) {
                self.reader.abort();
                break;
            }
            before = now;
        }
        self.bytes.lock().map(|mut bytes| std::mem::take(&mut *bytes)).unwrap_or_default()
    }
}

/// Text as devices print it: UTF-16 with its mark (`wmic`), else UTF-8 with anything else replaced; no carriage returns.
pub(crate) fn decode(bytes: &[u8]) -> String {
    let text = match bytes.strip_prefix(&[0xff, 0xfe]) {
        Some(rest) => {
            let units: Vec<u16> = rest.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        }
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    text.replace('\r', "")
}

/// The last `bytes_max` bytes of a text, cut between characters.
pub(crate) fn tail(text: &str, bytes_max: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes_max);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// Copies `source` to `dir/name`, visible only when complete.
pub(crate) async fn copy_into(dir: &Path, name: &str, source: &Path) -> Result<(), DeviceError> {
    let (dir, name, source) = (dir.to_owned(), name.to_owned(), source.to_owned());
    let what = format!("copy {} to {}", source.display(), dir.join(&name).display());
    // A copy goes on when its caller is dropped: the next one of the same name must not share its file.
    static COPIES: AtomicU64 = AtomicU64::new(0);
    let part = dir.join(format!("{name}.{}.part", COPIES.fetch_add(1, Ordering::Relaxed)));
    let copied = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&dir)?;
        std::fs::copy(&source, &part)?;
        std::fs::rename(&part, dir.join(&name))
    });
    copied.await.map_err(io::Error::other).flatten().map_err(|source| DeviceError::Io { what, source })
}

/// The last `bytes_max` bytes of a file as text; `None` when it is not there.
pub(crate) fn read_tail(path: &Path, bytes_max: usize) -> Result<Option<String>, DeviceError> {
    let read = || -> io::Result<String> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes_max as u64)))?;
        let mut bytes = Vec::new();
        file.take(bytes_max as u64).read_to_end(&mut bytes)?;
        Ok(decode(&bytes))
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DeviceError::Io { what: format!("read {}", path.display()), source }),
    }
}

/// Removes a directory with all in it; one that is not there is fine.
pub(crate) fn remove_dir(dir: &Path) -> Result<(), DeviceError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DeviceError::Io { what: format!("remove {}", dir.display()), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_is_kept_up_to_its_limit_and_the_status_comes_back() {
        let done = run(sh("cat; echo err >&2; exit 7"), Some(b"0123456789"), Duration::from_secs(10), 4).await.unwrap();
        assert_eq!((done.code, done.timed_out), (Some(7), false));
        assert_eq!((done.stdout.as_slice(), done.stderr.as_slice()), (b"0123".as_slice(), b"err\n".as_slice()));
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
        // A busy machine may need more than half a second to come as far as the second program.
        for limit_ms in [500, 5_000, 50_000] {
            let done = run(sh(&script), None, Duration::from_millis(limit_ms), 100).await.unwrap();
            assert!(done.timed_out && done.code.is_none());
            if std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')) {
                break;
            }
        }
        let child: i32 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        // The orphan is reaped by init, or stays a zombie where there is none that reaps.
        let gone = || std::fs::read_to_string(format!("/proc/{child}/stat")).map_or(true, |stat| stat.contains(") Z "));
        while !gone() {
            assert!(std::time::Instant::now() < deadline, "the child of a killed program lives on");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_daemon_that_holds_the_pipe_does_not_hold_the_caller() {
        let begin = std::time::Instant::now();
        let done = run(sh("sleep 600 & echo $!"), None, Duration::from_secs(300), 100).await.unwrap();
        assert_eq!(done.code, Some(0));
        let daemon: i32 = decode(&done.stdout).trim().parse().unwrap();
        signal::kill(Pid::from_raw(daemon), signal::Signal::SIGKILL).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(120));
    }

    #[test]
    fn texts_are_decoded_and_cut_between_characters() {
        assert_eq!(decode(b"\xff\xfeO\0K\0\r\0\n\0"), "OK\n");
        assert_eq!(decode(b"a\r\n\xff"), "a\n\u{fffd}");
        assert_eq!(tail("äöü", 3), "ü");
        assert_eq!(tail("abc", 10), "abc");
    }
}
