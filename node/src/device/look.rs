//! What shows a patch on a device, with enough of it to notice later that it was changed.

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{Detected, Installer, Variant};

use super::{ask_with, detect::answers};
use crate::{
    installers::{self, Answer, Question},
    transports::{
        DeviceError, Transport,
        shell::{self, Section, Shell, quote},
    },
};

/// The script that measures files.
const MEASURE: &str = "wr-measure.vbs";

/// What kind of thing was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SeenKind {
    /// A file, with its version.
    File,
    /// A product or package, with its version.
    Product,
}

/// One thing that a patch left, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) kind: SeenKind,
    /// The path of a file, the registry key of a product, the name of a package.
    pub(crate) what: String,
    /// Its version; `None` when it is not there.
    pub(crate) version: Option<String>,
    /// Its length, bytes, where the device says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Its MD5 as Windows Installer gives it, where the device says it: it tells a change, and proves nothing against somebody
    /// who wants to hide one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) md5: Option<String>,
}

/// A look at a patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Looked {
    pub(crate) detected: Detected,
    /// What could be asked; the others are not known.
    pub(crate) seen: Vec<Seen>,
}

pub(super) async fn look(transport: &Transport, op: &str, variant: &Variant) -> Result<Looked, DeviceError> {
    let op = &shell::op_name(op)?;
    transport.here()?;
    if let Some(link) = transport.whole_steps().await? {
        // What its tool said counted when it was installed. What files it left only the tool knows.
        return Ok(Looked { detected: link.detect(op, variant).await?, seen: Vec::new() });
    }
    let mut asked = installers::questions_of(variant)?;
    asked.sort();
    asked.dedup();
    let known = answers(transport, op, asked.clone()).await?;
    // Its payload, which would say it, is not on the device any more.
    let own = matches!(variant.installer, Installer::Script { .. })
        .then(|| Detected::Unknown { why: "only the patch's own script could say it".to_owned() });
    let detected = installers::detected(variant, own, &|question| known.of(question))?;
    let mut seen = Vec::new();
    for question in &asked {
        let (kind, what) = match question {
            Question::FileVersion { path } => (SeenKind::File, path.clone()),
            Question::Package { name, .. } => (SeenKind::Product, name.clone()),
            Question::Registry { key, value } if value == "DisplayVersion" => (SeenKind::Product, key.clone()),
            _ => continue,
        };
        let version = match known.of(question) {
            Answer::There(version) => Some(version),
            Answer::Missing => None,
            Answer::Unread(_) => continue,
        };
        seen.push(Seen { kind, what, version, bytes: None, md5: None });
    }
    if transport.shell() == Shell::Cmd {
        measure(transport, op, &mut seen).await?;
    }
    Ok(Looked { detected, seen })
}

async fn measure(transport: &Transport, op: &str, seen: &mut [Seen]) -> Result<(), DeviceError> {
    let files: Vec<&mut Seen> =
        seen.iter_mut().filter(|one| one.kind == SeenKind::File && one.version.is_some()).collect();
    if files.is_empty() {
        return Ok(());
    }
    let calls: Vec<String> =
        files.iter().enumerate().map(|(n, one)| format!("Measure {n}, \"{}\"", one.what)).collect();
    let path = quote(Shell::Cmd, &Shell::Cmd.join(&transport.op_dir(op), MEASURE))?;
    let sections = [Section { name: "measure", line: format!("cscript //nologo {path} 2>&1") }];
    let output = ask_with(transport, op, "measure", &sections, vec![(MEASURE.to_owned(), script(&calls))]).await?;
    let told = shell::section(&output, "measure").map(|(_, text)| text).unwrap_or_default();
    for (n, one) in files.into_iter().enumerate() {
        let value = |word: &str| {
            let mark = format!("::measure {n} {word} ");
            told.lines().find_map(|line| line.trim().strip_prefix(&mark)).map(str::trim)
        };
        one.bytes = value("bytes").and_then(|bytes| bytes.parse().ok());
        one.md5 = value("md5").filter(|hash| hash.len() <= 40 && hash.is_ascii()).map(str::to_owned);
    }
    Ok(())
}

/// `Installer.FileHash` is there from Windows Installer 2.0 on, so on XP, which has no other program that makes a hash.
fn script(calls: &[String]) -> String {
    let mut lines = vec![
        "Option Explicit",
        "Dim files, host, installer",
        "On Error Resume Next",
        "Set files = CreateObject(\"Scripting.FileSystemObject\")",
        "Set host = CreateObject(\"WScript.Shell\")",
        "Set installer = CreateObject(\"WindowsInstaller.Installer\")",
    ];
    lines.extend(calls.iter().map(String::as_str));
    lines.extend([
        "Sub Measure(n, name)",
        "  On Error Resume Next",
        "  Dim path, found, hash",
        "  path = host.ExpandEnvironmentStrings(name)",
        "  Set found = files.GetFile(path)",
        "  If Err.Number <> 0 Then Exit Sub",
        "  WScript.Echo \"::measure \" & n & \" bytes \" & found.Size",
        "  Set hash = installer.FileHash(path, 0)",
        "  If Err.Number <> 0 Then Exit Sub",
        "  WScript.Echo \"::measure \" & n & \" md5 \" & Hex(hash.IntegerData(1)) & \"-\" & Hex(hash.IntegerData(2)) & \"-\" & Hex(hash.IntegerData(3)) & \"-\" & Hex(hash.IntegerData(4))",
        "End Sub",
    ]);
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_site_file;

    /// What was believed when it was installed is believed afterwards: the registry knows nothing of such a patch.
    #[tokio::test]
    async fn a_device_with_a_tool_of_its_own_is_looked_at_by_that_tool() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("adapter");
        let verbs: Vec<&str> =
            "describe inventory put get run reboot ping remove install uninstall detect withdraw".split(' ').collect();
        let script = format!(
            "read -r request; op=${{request#*'\"op_id\":\"'}}; op=${{op%%'\"'*}}\ncase $1 in\n\
             describe) fields='\"protocols\":[1],\"verbs\":{}' ;;\n\
             detect) fields='\"detected\":\"present\",\"proof\":\"the tool lists it\"' ;;\n*) exit 1 ;; esac\n\
             printf '{{\"result\":{{\"op_id\":\"%s\",\"outcome\":\"ok\",%s}}}}' \"$op\" \"$fields\"\n",
            serde_json::to_string(&verbs).unwrap()
        );
        std::fs::write(&program, script).unwrap();
        let yaml = format!(
            "site: rx1\ndevices:\n  - name: dev\n    platform: \"cpe:2.3:o:acme:console:4:*:*:*:*:*:*:*\"\n    transport: {{ kind: \
             adapter, program: [sh, '{}'], shell: sh, device_dir: /tmp/wardround }}\nsystems: []\n",
            program.display()
        );
        let site = parse_site_file(&yaml, "site.yaml").unwrap();
        let (id, config) = site.devices.first_key_value().unwrap();
        let transport = Transport::new(id, config, dir.path());
        let digest = wardround_signing::Digest::of(b"x");
        let variant: Variant = serde_json::from_value(serde_json::json!({
            "id": "any", "platforms": [config.platform],
            "payload": { "file_name": "a.msi", "digest": digest, "length": 1, "chunks": [digest] },
            "installer": { "technology": "msi", "product_code": "{1A2B3C4D-0000-4000-8000-000000000042}", "properties": [] },
        }))
        .unwrap();
        let looked = look(&transport, "op", &variant).await.unwrap();
        let detected = Detected::Present { proof: "the tool lists it".into() };
        assert_eq!(looked, Looked { detected, seen: Vec::new() });
    }
}
