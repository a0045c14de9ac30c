//! The quickstart's two patches and its plan: real script payloads, and the manifests from which they are imported.

use std::path::{Path, PathBuf};

use wardround_rollout_plans::model::PatchId;

use super::{
    estate::{SERVER_2003, SEVEN, XP, write},
    render::{Function, Settings},
};
use crate::failure::Failure;

/// A patch, ready to be imported.
pub(super) struct Written {
    pub(super) id: PatchId,
    pub(super) title: &'static str,
    pub(super) manifest: PathBuf,
    /// The version that its settings carry.
    pub(super) version: String,
}

/// The first patch: right on every platform.
pub(super) fn good(home: &Path) -> Result<Written, Failure> {
    let exact = Settings::new("2.1", Function::LinearExact, 2048, 4096);
    written(home, "VIEW-2026-11", "Viewer: exact windowing of stored pixels", &exact, &exact)
}

/// The second: its variant for Server 2003 was built with a window of width 1. The file is well formed and its checksum
/// is right; only rendering shows that the image is black and white.
pub(super) fn bad(home: &Path) -> Result<Written, Failure> {
    let right = Settings::new("2.2", Function::LinearExact, 2048, 4094);
    let wrong = Settings::new("2.2", Function::LinearExact, 2048, 1);
    written(home, "VIEW-2026-12", "Viewer: window fitted to the stored range", &right, &wrong)
}

fn written(
    home: &Path,
    id: &str,
    title: &'static str,
    desktop: &Settings,
    server: &Settings,
) -> Result<Written, Failure> {
    let folder = home.join("patches").join(id);
    let version = desktop.version.clone();
    write(&folder.join("desktop.sh"), &script(id, desktop))?;
    write(&folder.join("server.sh"), &script(id, server))?;
    let manifest = folder.join("patch.yaml");
    let variant = |name: &str, platforms: &[&str], file: &str| {
        format!(
            "  - id: {name}\n    platforms: {platforms:?}\n    payload: {{ file: {file}, file_name: {id}-{file} }}\n    \
             installer: {{ technology: script, interpreter: sh }}\n"
        )
    };
    let text = format!(
        "id: {id}\ntitle: {title:?}\nseverity: medium\n\
         guidance: \"The viewer reads the new settings with the next image. No reboot.\"\nvariants:\n{}{}",
        variant("desktop", &[XP, SEVEN], "desktop.sh"),
        variant("server-2003", &[SERVER_2003], "server.sh"),
    );
    write(&manifest, &text)?;
    Ok(Written { id: PatchId::new(id).map_err(|e| Failure::new(e.to_string()))?, title, manifest, version })
}

/// An installer with the three verbs. What it replaces is kept, whole, until it is taken back.
fn script(id: &str, settings: &Settings) -> String {
    format!(
        r#"#!/bin/sh
# {id}: presentation settings {version}. Usage: sh FILE install|uninstall|detect
set -eu
app=${{WARDROUND_DEVICE_ROOT:?}}/app
conf=$app/render.conf
kept=$app/kept/{id}
case ${{1:-}} in
detect)
  test -f "$conf" || {{ echo "there is no $conf"; exit 2; }}
  if grep -qx 'version = {version}' "$conf" && test -f "$kept/render.conf"; then
    echo "render.conf is version {version}"
    exit 0
  fi
  exit 1
  ;;
install)
  mkdir -p "$kept"
  # A second run must not keep what the first one wrote.
  test -f "$kept/render.conf" || {{ cp -p "$conf" "$kept/part"; mv "$kept/part" "$kept/render.conf"; }}
  cat > "$conf.part" <<'SETTINGS'
{settings}SETTINGS
  mv -f "$conf.part" "$conf"
  ;;
uninstall)
  test -f "$kept/render.conf" || {{ echo "not installed"; exit 0; }}
  cp -p "$kept/render.conf" "$conf.part"
  mv -f "$conf.part" "$conf"
  rm -r "$kept"
  rmdir "$app/kept" 2>/dev/null || :
  ;;
*)
  echo "usage: sh FILE install|uninstall|detect" >&2
  exit 64
  ;;
esac
"#,
        version = settings.version
    )
}

/// The plan of both rounds.
pub(super) fn plan(home: &Path, soak_ms: u64) -> Result<PathBuf, Failure> {
    let path = home.join("plan.yaml");
    let text = format!(
        "# Canary, pilot, full: at a pace for people who are watching, not for a hospital.\n\
         name: quickstart\n\
         description: Two labelled canaries, then the labelled pilot, then everything else.\n\
         limits: {{ per_site: 2, total: 6 }}\n\
         health: {{ interval: 400ms, failures: 2, grace: 0s }}\n\
         # One clinical system that gets worse takes the patch back everywhere.\n\
         rollback: {{ scope: rollout }}\n\
         timing: {{ install_timeout: 30s, reboot_timeout: 30s, unknown_after: 20s, defer_max: 5m, retry_after: 1s }}\n\
         waves:\n  \
         - name: canary\n    select: {{ labels: {{ ring: canary }} }}\n    soak: {soak_ms}ms\n    \
         gate: {{ success: 100%, evidence_min: 2, approvals: [clinical] }}\n  \
         - name: pilot\n    select: {{ labels: {{ ring: pilot }} }}\n    soak: {soak_ms}ms\n    \
         gate: {{ success: 100%, evidence_min: 3 }}\n  \
         - name: full\n    select: {{ remaining: true }}\n    soak: {soak_ms}ms\n    \
         gate: {{ success: 100% }}\n"
    );
    write(&path, &text)?;
    Ok(path)
}
