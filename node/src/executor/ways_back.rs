//! What takes a device back beside the package's own uninstaller: the site's snapshots and Windows' restore points. What was made
//! is written down before the install begins, so that it is found again after a crash.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use wardround_rollout_plans::model::{DeviceId, Timestamp};

use crate::{
    NodeError,
    config::Snapshot,
    files::{self, PUBLIC},
    transports::{decode, run_process, tail},
};

/// How long the site's programs may take: a snapshot of a large virtual machine takes minutes.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(20 * 60);
/// Longest file of this kind, bytes.
const FILE_BYTES_MAX: u64 = 4096;

/// What was made before an install.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    /// When the snapshot was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<Timestamp>,
    /// Number of the restore point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) restore_point: Option<u32>,
}

/// The written-down means of all operations.
#[derive(Debug, Clone)]
pub(super) struct WaysBack {
    folder: PathBuf,
}

impl WaysBack {
    pub(super) fn new(work_dir: &Path) -> Self {
        Self { folder: work_dir.join("ways-back") }
    }

    fn path(&self, op: &str) -> PathBuf {
        // Operation ids hold no slash.
        self.folder.join(format!("{op}.json"))
    }

    /// What was made for this operation; nothing where the file is missing or damaged.
    pub(super) fn of(&self, op: &str) -> Made {
        let bytes = files::read(&self.path(op), FILE_BYTES_MAX).ok();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    pub(super) fn keep(&self, op: &str, made: &Made) -> Result<(), NodeError> {
        let path = self.path(op);
        fs::create_dir_all(&self.folder).map_err(|source| NodeError::File {
            path: self.folder.clone(),
            verb: "written",
            source,
        })?;
        files::replace(&path, &serde_json::to_vec(made).unwrap_or_default(), PUBLIC)
    }

    pub(super) fn forget(&self, op: &str) {
        // A file that stays behind names a snapshot that is too old to be put back.
        let _ = fs::remove_file(self.path(op));
    }
}

/// Runs one of the site's programs with the device and the operation as its last arguments.
///
/// # Errors
/// A sentence with what it said.
pub(super) async fn run(argv: &[String], device: &DeviceId, op: &str) -> Result<(), String> {
    let Some((program, args)) = argv.split_first() else { return Err("no program is named".to_owned()) };
    let mut command = Command::new(program);
    command.args(args).arg(device.name()).arg(op);
    let done = run_process(command, None, SNAPSHOT_TIMEOUT, 4096)
        .await
        .map_err(|error| format!("{program} could not be run: {error}"))?;
    if done.timed_out {
        return Err(format!("{program} took longer than {}s", SNAPSHOT_TIMEOUT.as_secs()));
    }
    if done.code == Some(0) {
        return Ok(());
    }
    let said = decode(if done.stderr.is_empty() { &done.stdout } else { &done.stderr });
    let code = done.code.map_or("by a signal".to_owned(), |code| format!("with {code}"));
    Err(format!("{program} ended {code}: {}", tail(said.trim(), 300)))
}

/// Whether a snapshot is young enough to be put back by the node alone: what was done on the device since is lost with it. A clock
/// that was set back makes it too old rather than young for ever.
pub(super) fn is_fresh(snapshot: &Snapshot, taken: Timestamp, now: Timestamp) -> bool {
    now >= taken && u128::from(now.since(taken).0) <= snapshot.fresh_for.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn programs_get_device_and_operation_and_say_why_not() {
        let device: DeviceId = "rx1/ct-01".parse().unwrap();
        let argv = |script: &str| ["sh", "-c", script, "x"].map(str::to_owned);
        assert_eq!(run(&argv("test \"$1 $2\" = 'ct-01 r1.ct-01.1'"), &device, "r1.ct-01.1").await, Ok(()));
        let why = run(&argv("echo no room >&2; exit 3"), &device, "o").await.unwrap_err();
        assert_eq!(why, "sh ended with 3: no room");
        assert!(run(&["/nowhere".to_owned()], &device, "o").await.unwrap_err().contains("could not be run"));
    }

    #[test]
    fn what_was_made_is_found_again_and_an_old_snapshot_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let means = WaysBack::new(dir.path());
        assert_eq!(means.of("o"), Made::default());
        let made = Made { snapshot: Some(Timestamp(1_000)), restore_point: Some(7) };
        means.keep("o", &made).unwrap();
        assert_eq!(means.of("o"), made);
        fs::write(means.path("o"), "{").unwrap();
        assert_eq!(means.of("o"), Made::default());
        means.forget("o");
        assert!(!means.path("o").exists());
        let snapshot =
            Snapshot { take: Vec::new(), restore: Vec::new(), remove: None, fresh_for: Duration::from_secs(60) };
        assert!(is_fresh(&snapshot, Timestamp(0), Timestamp(60_000)));
        assert!(!is_fresh(&snapshot, Timestamp(0), Timestamp(60_001)));
        assert!(!is_fresh(&snapshot, Timestamp(1), Timestamp(0)), "the clock was set back");
    }
}
