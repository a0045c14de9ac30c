//! Detection: what to ask of a device, and what its answer means.

use wardround_rollout_plans::{
    model::{Detected, Installer},
    patch_file::safe,
};

use super::Refused;

/// One question to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Read these registry values, in this order; the first is always there on a device whose registry can be read.
    Registry(Vec<RegistryValue>),
    /// Run the staged script with the verb `detect`.
    Script,
}

/// A registry value to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryValue {
    /// Key, beginning with `HKLM\`.
    pub key: String,
    /// Value name.
    pub value: &'static str,
}

/// Written by every Windows since NT 4: when even this can't be read, "not found" proves nothing.
const CANARY: (&str, &str) = (r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion", "CurrentVersion");

/// The 64-bit and the 32-bit view. `reg.exe` of XP has no `/reg:32`, so the second is named by its path.
const VIEWS: [&str; 2] = [r"HKLM\SOFTWARE", r"HKLM\SOFTWARE\Wow6432Node"];

/// What to ask.
///
/// # Errors
/// [`Refused`] when a product code or KB number is not of its form.
pub fn query(installer: &Installer) -> Result<Query, Refused> {
    let mut values = vec![RegistryValue { key: CANARY.0.into(), value: CANARY.1 }];
    match installer {
        // learn.microsoft.com "Uninstall Registry Key".
        Installer::Msi { product_code, .. } => {
            safe::product_code(product_code)?;
            values.extend(VIEWS.map(|view| RegistryValue {
                key: format!(r"{view}\Microsoft\Windows\CurrentVersion\Uninstall\{product_code}"),
                value: "DisplayVersion",
            }));
        }
        // KB262841: update.exe records each hotfix here with Installed = 1.
        Installer::Hotfix { kb, .. } => {
            safe::kb(kb)?;
            values.extend(VIEWS.map(|view| RegistryValue {
                key: format!(r"{view}\Microsoft\Windows NT\CurrentVersion\HotFix\{kb}"),
                value: "Installed",
            }));
        }
        Installer::Script { .. } => return Ok(Query::Script),
    }
    Ok(Query::Registry(values))
}

/// What the answers to [`Query::Registry`] mean; `None` is "not found". `values` are those that were asked.
#[must_use]
pub fn interpret(installer: &Installer, values: &[RegistryValue], answers: &[Option<String>]) -> Detected {
    if answers.len() != values.len() {
        return Detected::Unknown { why: "the device did not answer every question".into() };
    }
    if !matches!(answers.first(), Some(Some(_))) {
        return Detected::Unknown { why: format!(r"the registry can't be read: {}\{} is missing", CANARY.0, CANARY.1) };
    }
    let found = values.iter().zip(answers).skip(1).filter_map(|(asked, answer)| Some((asked, answer.as_ref()?)));
    let mut present = None;
    for (asked, answer) in found {
        let counts = match installer {
            Installer::Msi { display_version, .. } => display_version.as_ref().is_none_or(|wanted| wanted == answer),
            // REG_DWORD as reg.exe prints it.
            Installer::Hotfix { .. } => super::parse_exit_code(answer).is_some_and(|n| n != 0),
            Installer::Script { .. } => false,
        };
        if counts && present.is_none() {
            present = Some(Detected::Present { proof: format!(r"{}\{} = {answer}", asked.key, asked.value) });
        }
    }
    present.unwrap_or(Detected::Absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn msi(version: Option<&str>) -> Installer {
        Installer::Msi {
            product_code: "{11111111-1111-1111-1111-111111111111}".into(),
            display_version: version.map(str::to_owned),
            properties: Vec::new(),
        }
    }

    fn asked(installer: &Installer) -> Vec<RegistryValue> {
        match query(installer).unwrap() {
            Query::Registry(values) => values,
            Query::Script => panic!("a registry query was wanted"),
        }
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn both_registry_views_count() {
        let installer = msi(Some("1.0.1"));
        let values = asked(&installer);
        assert_eq!(values.len(), 3);
        for answers in [[some("5.2"), some("1.0.1"), None], [some("5.2"), None, some("1.0.1")]] {
            let Detected::Present { proof } = interpret(&installer, &values, &answers) else { panic!("{answers:?}") };
            assert!(proof.ends_with("DisplayVersion = 1.0.1"), "{proof}");
        }
        assert_eq!(interpret(&installer, &values, &[some("5.2"), None, None]), Detected::Absent);
    }

    #[test]
    fn another_version_of_the_product_is_not_this_patch() {
        let installer = msi(Some("1.0.1"));
        let answers = [some("5.2"), some("1.0.0"), None];
        assert_eq!(interpret(&installer, &asked(&installer), &answers), Detected::Absent);
        assert!(matches!(interpret(&msi(None), &asked(&installer), &answers), Detected::Present { .. }));
    }

    #[test]
    fn a_registry_that_cannot_be_read_proves_nothing() {
        let installer = msi(None);
        let values = asked(&installer);
        assert!(matches!(interpret(&installer, &values, &[None, None, None]), Detected::Unknown { .. }));
        assert!(matches!(interpret(&installer, &values, &[some("5.2"), None]), Detected::Unknown { .. }));
        assert!(matches!(interpret(&installer, &values, &[]), Detected::Unknown { .. }));
    }

    #[test]
    fn a_hotfix_counts_only_when_installed_is_not_zero() {
        let installer = Installer::Hotfix { kb: "KB4500331".into(), switches: Vec::new() };
        let values = asked(&installer);
        assert!(values[1].key.ends_with(r"HotFix\KB4500331"));
        let on = interpret(&installer, &values, &[some("5.2"), some("0x1"), None]);
        assert!(matches!(on, Detected::Present { .. }));
        assert_eq!(interpret(&installer, &values, &[some("5.2"), some("0x0"), None]), Detected::Absent);
    }
}
