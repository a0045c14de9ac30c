//! Asks a device whether a patch is there.

use wardround_rollout_plans::model::{Detected, Installer, Variant};

use super::{ask, bounded};
use crate::{
    installers::{Query, RegistryValue, interpret, query},
    transports::{
        DeviceError, Transport,
        shell::{self, Section, Shell, quote},
    },
};

pub(super) async fn detect(transport: &Transport, op: &str, variant: &Variant) -> Result<Detected, DeviceError> {
    match query(&variant.installer)? {
        Query::Registry(_) => by_registry(transport, op, &variant.installer).await,
        Query::Script => {
            let op = &shell::op_name(op)?;
            transport.here()?;
            script(transport, op, variant).await
        }
    }
}

/// Whether what this installer leaves in the registry is there. A script leaves nothing there.
pub(super) async fn by_registry(
    transport: &Transport,
    op: &str,
    installer: &Installer,
) -> Result<Detected, DeviceError> {
    let op = &shell::op_name(op)?;
    transport.here()?;
    match query(installer)? {
        Query::Registry(values) => {
            let answers = registry(transport, op, &values).await?;
            Ok(interpret(installer, &values, &answers))
        }
        Query::Script => Ok(Detected::Unknown { why: "a script leaves no sign".to_owned() }),
    }
}

/// Reads registry values; `None` for one that is not there.
pub(super) async fn registry(
    transport: &Transport,
    op: &str,
    values: &[RegistryValue],
) -> Result<Vec<Option<String>>, DeviceError> {
    if transport.shell() != Shell::Cmd {
        return Err(
            crate::installers::Refused::WrongShell { technology: "Windows", shell: transport.shell().word() }.into()
        );
    }
    let names: Vec<String> = (0..values.len()).map(|n| format!("value{n}")).collect();
    let sections = values
        .iter()
        .zip(&names)
        .map(|(asked, name)| {
            let (key, value) = (quote(Shell::Cmd, &asked.key)?, quote(Shell::Cmd, asked.value)?);
            Ok(Section { name, line: format!("reg query {key} /v {value} 2>nul") })
        })
        .collect::<Result<Vec<_>, DeviceError>>()?;
    answers(values, &names, &ask(transport, op, "detect", &sections).await?)
}

/// What was answered to each question, or why that can't be told.
fn answers(values: &[RegistryValue], names: &[String], output: &str) -> Result<Vec<Option<String>>, DeviceError> {
    values
        .iter()
        .zip(names)
        .map(|(asked, name)| {
            match shell::section(output, name) {
                // It is there: an answer that is not understood must not count as "not there".
                Some((0, answer)) => shell::registry_value(answer, asked.value).map(|text| Some(text.to_owned())),
                // reg.exe ends with 1 both for "not there" and for "not readable": the canary value tells them apart.
                Some((1, _)) => Some(None),
                _ => None,
            }
            .ok_or_else(|| DeviceError::Garbled {
                what: format!(r"reg query {}\{}", asked.key, asked.value),
                text: crate::transports::tail(output, 300).to_owned(),
            })
        })
        .collect()
}

async fn script(transport: &Transport, op: &str, variant: &Variant) -> Result<Detected, DeviceError> {
    let kind = transport.shell();
    let file = shell::file_name(&variant.payload.file_name)?;
    let path = kind.join(&transport.op_dir(op), file);
    let line = match kind {
        Shell::Sh => {
            let export = match transport.root() {
                Some(root) => {
                    let root = quote(kind, &root)?;
                    format!("WARDROUND_DEVICE_ROOT={root}; export WARDROUND_DEVICE_ROOT; cd {root}; ")
                }
                None => String::new(),
            };
            let path = quote(kind, &path)?;
            format!(
                "{export}if test -f {path}; then sh {path} detect 2>&1 < /dev/null; else echo ::not-staged; false; fi"
            )
        }
        // The path holds nothing that needs quotes.
        Shell::Cmd => {
            format!("if not exist {path} echo ::not-staged\r\nif exist {path} cmd /c {path} detect 2>&1 <nul")
        }
    };
    let output = ask(transport, op, "detect", &[Section { name: "script", line }]).await?;
    let Some((code, answer)) = shell::section(&output, "script") else {
        let text = crate::transports::tail(&output, 300).to_owned();
        return Err(DeviceError::Garbled { what: "detect".into(), text });
    };
    if answer.trim() == "::not-staged" {
        return Err(DeviceError::NotStaged { file: file.to_owned() });
    }
    Ok(match code {
        0 => Detected::Present { proof: format!("detect ended with 0: {}", bounded(answer)) },
        1 => Detected::Absent,
        code => Detected::Unknown { why: format!("detect ended with {code}: {}", bounded(answer)) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reg_s_own_no_means_that_a_value_is_not_there() {
        let asked = [RegistryValue { key: r"HKLM\X".into(), value: "Installed" }];
        let read = |answer: &str, code: u32| {
            let output = format!("::begin value0\n{answer}\n\n::end value0 {code}\n");
            answers(&asked, &["value0".to_owned()], &output)
        };
        assert_eq!(read("    Installed    REG_DWORD    0x1", 0).unwrap(), [Some("0x1".to_owned())]);
        assert_eq!(read("    installed\tREG_DWORD\t0x1", 0).unwrap(), [Some("0x1".to_owned())]);
        assert_eq!(read("", 1).unwrap(), [None]);
        for (answer, code) in [("", 0), ("    Installed", 0), ("", 5), ("", 9009)] {
            assert!(matches!(read(answer, code), Err(DeviceError::Garbled { .. })), "{answer:?} {code}");
        }
    }
}
