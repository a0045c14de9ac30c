//! Sandbox devices: a directory each, on which a test can hold every step and read what really happened.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::wait::wait_until;

/// What every device of these tests says it is.
pub const PLATFORM: &str = "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*";

/// Holds a step while its gate is there. Shared by all scripts on a device.
const HOLD: &str = r#"
now() { date +%s%N; }
hold() {
  [ -e "$root/gate-$1" ] || return 0
  : > "$root/held-$1"
  while [ -e "$root/gate-$1" ]; do sleep 0.02; done
  rm -f "$root/held-$1"
}
"#;

const REBOOT: &str = r#"
echo "$(now)" >> "$root/reboots.log"
hold reboot
if [ -e "$root/never-back" ]; then mv "$root" "$root.off"; exit 1; fi
now > "$root/boot-id"
rm -f "$root/reboot-pending"
"#;

const IN_USE: &str = r#"
hold preflight
if [ -e "$root/busy" ]; then echo "a scan is running"; exit 1; fi
"#;

const PAYLOAD: &str = r#"
case $1 in
install)
  echo "$id $(now) begin" >> "$root/installs.log"
  hold install
  for death in "$root"/dies-*; do
    [ -e "$death" ] || break
    rm -f "$death"
    kill -9 "$(cat "${0%/*}/wr-install.pid")" $$
  done
  if [ -e "$root/fails" ]; then echo "no space for $id"; exit 23; fi
  if [ -e "$root/wants-reboot" ]; then : > "$root/reboot-pending"; fi
  : > "$root/installed-$id"
  echo "$id $(now) end" >> "$root/installs.log"
  exit 0 ;;
uninstall)
  echo "$id $(now) begin" >> "$root/uninstalls.log"
  hold uninstall
  if [ -e "$root/sticks" ]; then echo "$id can't be removed"; exit 24; fi
  rm -f "$root/installed-$id"
  echo "$id $(now) end" >> "$root/uninstalls.log"
  exit 0 ;;
detect)
  if [ -e "$root/installed-$id" ]; then hold verify; echo "installed-$id"; exit 0; fi
  exit 1 ;;
esac
exit 2
"#;

/// The payload of a script patch: it writes down every install and uninstall, and waits at gates. `bytes_min` pads it
/// with noise that no compression or chunk cache could fold.
#[must_use]
pub fn payload(patch: &str, bytes_min: usize) -> Vec<u8> {
    let mut script = format!("#!/bin/sh\nid={patch}\nroot=$WARDROUND_DEVICE_ROOT\n{HOLD}{PAYLOAD}").into_bytes();
    // xorshift64: different in every chunk, the same in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ patch.bytes().fold(0, |sum, b| sum * 31 + u64::from(b));
    while script.len() < bytes_min {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        script.extend_from_slice(format!("# {state:016x}\n").as_bytes());
    }
    script
}

/// A device.
#[derive(Debug, Clone)]
pub struct Device {
    /// "site/name".
    pub id: String,
    root: PathBuf,
    labels: Value,
    group: Option<String>,
}

impl Device {
    pub(super) fn new(sites: &Path, site: &str, name: &str, ring: &str, group: Option<&str>) -> Self {
        let root = sites.join(site).join(name);
        fs::create_dir_all(&root).unwrap();
        let script = |name: &str, root_is: &str, body: &str| {
            fs::write(root.join(name), format!("#!/bin/sh\nroot={root_is}\n{HOLD}{body}")).unwrap();
        };
        script("reboot.sh", "$WARDROUND_DEVICE_ROOT", REBOOT);
        script("in-use.sh", "$1", IN_USE);
        fs::write(root.join("platform"), PLATFORM).unwrap();
        fs::write(root.join("boot-id"), "first").unwrap();
        Self { id: format!("{site}/{name}"), root, labels: json!({ "ring": ring }), group: group.map(str::to_owned) }
    }

    /// The part of the id after the slash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.id.split_once('/').map_or("", |(_, name)| name)
    }

    /// Its directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn declaration(&self) -> Value {
        let mut device = json!({
            "name": self.name(), "platform": PLATFORM, "model": "sandbox", "labels": self.labels,
            "transport": { "kind": "local", "root": self.root, "shell": "sh" },
            "in_use": { "command": ["sh", self.root.join("in-use.sh"), self.root] },
        });
        if let Some(group) = &self.group {
            device["group"] = json!(group);
        }
        device
    }

    /// Sets a mark: `busy`, `fails`, `sticks`, `wants-reboot`, `never-back`, `down`, `hangs`, `breaks-<patch>`; each `dies-<n>`
    /// takes one install and its launcher out, before either has done anything, as a device does that loses its power.
    pub fn set(&self, mark: &str) {
        fs::write(self.root.join(mark), "").unwrap();
    }

    /// Takes a mark away.
    pub fn clear(&self, mark: &str) {
        match fs::remove_file(self.root.join(mark)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", self.id),
            _ => {}
        }
    }

    /// Is the mark there?
    #[must_use]
    pub fn has(&self, mark: &str) -> bool {
        self.root.join(mark).exists()
    }

    /// Closes the gate of a step (`preflight`, `install`, `reboot`, `verify`, `uninstall`): the step waits there.
    pub fn close(&self, step: &str) {
        self.set(&format!("gate-{step}"));
    }

    /// Opens a gate.
    pub fn open(&self, step: &str) {
        self.clear(&format!("gate-{step}"));
    }

    /// Waits until a step stands at its closed gate.
    pub fn wait_held(&self, step: &str) {
        wait_until(30, &format!("{} to stand at its {step} gate", self.id), || self.has(&format!("held-{step}")));
    }

    /// Is the patch on it?
    #[must_use]
    pub fn installed(&self, patch: &str) -> bool {
        self.has(&format!("installed-{patch}"))
    }

    /// How often an install was begun on it.
    #[must_use]
    pub fn installs(&self) -> usize {
        self.times("installs.log", "begin").len()
    }

    /// How often an uninstall was begun on it.
    #[must_use]
    pub fn uninstalls(&self) -> usize {
        self.times("uninstalls.log", "begin").len()
    }

    /// When installs were begun, Unix nanoseconds.
    #[must_use]
    pub fn install_begins(&self) -> Vec<i128> {
        self.times("installs.log", "begin")
    }

    /// When installs were over, Unix nanoseconds.
    #[must_use]
    pub fn install_ends(&self) -> Vec<i128> {
        self.times("installs.log", "end")
    }

    /// Nothing was ever run on it that changes it.
    #[must_use]
    pub fn untouched(&self) -> bool {
        self.installs() == 0 && self.uninstalls() == 0 && !self.has("reboots.log")
    }

    fn times(&self, log: &str, kind: &str) -> Vec<i128> {
        let text = [self.root.clone(), self.root.with_extension("off")]
            .iter()
            .find_map(|root| fs::read_to_string(root.join(log)).ok())
            .unwrap_or_default();
        let words = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        words.filter(|w| w.get(2) == Some(&kind)).filter_map(|w| w.get(1)?.parse().ok()).collect()
    }
}

/// The largest number of installs that ran at one moment, after the devices' own logs.
#[must_use]
pub fn installs_at_once(devices: &[&Device]) -> i32 {
    let begins = devices.iter().flat_map(|d| d.install_begins()).map(|at| (at, 1));
    let ends = devices.iter().flat_map(|d| d.install_ends()).map(|at| (at, -1));
    let mut moments: Vec<(i128, i32)> = begins.chain(ends).collect();
    moments.sort_unstable();
    let mut now = 0;
    moments.iter().fold(0, |most, (_, change)| {
        now += change;
        most.max(now)
    })
}
