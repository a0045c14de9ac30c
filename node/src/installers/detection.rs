//! Detection: what to ask of a device, and what its answers mean.

use wardround_rollout_plans::{
    model::{Detected, FileVersion, PackageManager, Sign, Variant, Version},
    patch_file::safe,
};

use super::{Refused, commands::Manager, parse_exit_code};

/// One question to a device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Read a registry value.
    Registry {
        /// Key, beginning with `HKLM\`.
        key: String,
        /// Value name.
        value: String,
    },
    /// The version of a file.
    FileVersion {
        /// Path, with the system's own variables.
        path: String,
    },
    /// The updates that Windows lists.
    Updates,
    /// The version of a Linux package.
    Package {
        /// Whose.
        manager: PackageManager,
        /// Name.
        name: String,
    },
}

/// What a device answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is there: data, version, or list.
    There(String),
    /// It is not there.
    Missing,
    /// Whether it is there is not known.
    Unread(String),
}

/// Written by every Windows since NT 4: when even this can't be read, "not found" proves nothing.
const CANARY: (&str, &str) = (r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion", "CurrentVersion");

/// The part that both views of a 64-bit Windows have of their own.
const SOFTWARE: &str = r"HKLM\SOFTWARE\";
/// The 32-bit view. `reg.exe` of XP has no `/reg:32`, so it is named by its path.
const WOW64: &str = r"HKLM\SOFTWARE\Wow6432Node\";

/// `CurrentState` of a servicing package that is in force: installed, permanent, or superseded by one that holds it.
/// Source: Microsoft, "CBS Servicing States Chart" (blogs.technet.microsoft.com/tip_of_the_day, 2015-10-12).
const IN_FORCE: [&str; 3] = ["0x70", "0x80", "0x50"];

/// The value that tells whether the registry can be read at all.
#[must_use]
pub fn canary() -> Question {
    Question::Registry { key: CANARY.0.to_owned(), value: CANARY.1.to_owned() }
}

fn views(below: &str, value: &str) -> [Question; 2] {
    [SOFTWARE, WOW64].map(|view| Question::Registry { key: format!("{view}{below}"), value: value.to_owned() })
}

/// What to ask about a sign.
///
/// # Errors
/// [`Refused`] when something in it is not of its form.
pub fn questions(sign: &Sign) -> Result<Vec<Question>, Refused> {
    Ok(match sign {
        // learn.microsoft.com "Uninstall Registry Key".
        Sign::Msi { product_code, .. } => {
            safe::product_code(product_code)?;
            views(&format!(r"Microsoft\Windows\CurrentVersion\Uninstall\{product_code}"), "DisplayVersion").to_vec()
        }
        // Windows Installer keeps its patches per machine (S-1-5-18) under packed codes; State is MSIPATCHSTATE.
        Sign::Msp { product_code, patch_code } => {
            safe::product_code(product_code)?;
            safe::product_code(patch_code)?;
            let (product, patch) = (packed(product_code), packed(patch_code));
            let key = format!(
                r"{SOFTWARE}Microsoft\Windows\CurrentVersion\Installer\UserData\S-1-5-18\Products\{product}\Patches\{patch}"
            );
            vec![Question::Registry { key, value: "State".to_owned() }]
        }
        // KB262841: update.exe records each hotfix here with Installed = 1.
        Sign::Hotfix { kb } => {
            safe::kb(kb)?;
            views(&format!(r"Microsoft\Windows NT\CurrentVersion\HotFix\{kb}"), "Installed").to_vec()
        }
        Sign::Msu { kb, package } => {
            safe::kb(kb)?;
            let mut asked = vec![Question::Updates];
            if let Some(package) = package {
                asked.push(servicing(package)?);
            }
            asked
        }
        Sign::Cab { package } => vec![servicing(package)?],
        Sign::LinuxPackage { manager, name, .. } => {
            safe::package_name(name)?;
            vec![Question::Package { manager: *manager, name: name.clone() }]
        }
        Sign::File { path, .. } => vec![file(path)?],
        Sign::Registry { key, value, data } => {
            safe::registry_key(key)?;
            safe::registry_text(value)?;
            if let Some(data) = data {
                safe::registry_text(data)?;
            }
            match key.get(..SOFTWARE.len()) {
                Some(begin) if begin.eq_ignore_ascii_case(SOFTWARE) && !below_wow64(key) => {
                    views(&key[SOFTWARE.len()..], value).to_vec()
                }
                _ => vec![Question::Registry { key: key.clone(), value: value.clone() }],
            }
        }
    })
}

fn below_wow64(key: &str) -> bool {
    key.get(..WOW64.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(WOW64))
}

fn servicing(package: &str) -> Result<Question, Refused> {
    safe::servicing_name(package)?;
    let key = format!(r"{SOFTWARE}Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages\{package}");
    Ok(Question::Registry { key, value: "CurrentState".to_owned() })
}

fn file(path: &str) -> Result<Question, Refused> {
    safe::device_path(path)?;
    Ok(Question::FileVersion { path: path.to_owned() })
}

/// What to ask about a variant: its installer's sign, the alternatives, and the files. A script is asked by itself.
///
/// # Errors
/// As [`questions`].
pub fn questions_of(variant: &Variant) -> Result<Vec<Question>, Refused> {
    let mut asked = Vec::new();
    for sign in variant.installer.sign().iter().chain(&variant.detection.any_of) {
        asked.extend(questions(sign)?);
    }
    for one in &variant.detection.files {
        asked.push(file(&one.path)?);
    }
    Ok(asked)
}

/// What the answers mean for a sign. `answer` knows what was answered to each of its [`questions`].
#[must_use]
pub fn interpret(sign: &Sign, asked: &[Question], answer: &dyn Fn(&Question) -> Answer) -> Detected {
    let mut unread = None;
    for question in asked {
        match answer(question) {
            Answer::There(found) => {
                if let Some(proof) = shows(sign, question, &found) {
                    return Detected::Present { proof };
                }
            }
            Answer::Missing => {}
            Answer::Unread(why) => {
                unread.get_or_insert(why);
            }
        }
    }
    unread.map_or(Detected::Absent, |why| Detected::Unknown { why })
}

/// The proof, where what was found shows the sign.
fn shows(sign: &Sign, question: &Question, found: &str) -> Option<String> {
    let named = || match question {
        Question::Registry { key, value } => format!(r"{key}\{value} = {found}"),
        Question::FileVersion { path } => format!("{path} {found}"),
        Question::Updates => "Win32_QuickFixEngineering".to_owned(),
        Question::Package { name, .. } => format!("{name} {found}"),
    };
    let counts = match (sign, question) {
        (Sign::Msi { display_version, .. }, _) => display_version.as_ref().is_none_or(|wanted| wanted == found),
        // REG_DWORD as reg.exe prints it.
        (Sign::Hotfix { .. }, _) => parse_exit_code(found).is_some_and(|n| n != 0),
        // Applied, superseded and obsoleted patches are in force (MSIPATCHSTATE 1, 2, 4); a registered one (8) is not.
        (Sign::Msp { .. }, _) => parse_exit_code(found).is_some_and(|state| matches!(state, 1 | 2 | 4)),
        (Sign::Msu { kb, .. }, Question::Updates) => {
            return lists(found, kb).then(|| format!("{} lists {kb}", named()));
        }
        (Sign::Msu { .. } | Sign::Cab { .. }, _) => IN_FORCE.contains(&found.to_ascii_lowercase().as_str()),
        (Sign::LinuxPackage { version, .. }, _) => version == found,
        (Sign::File { version, .. }, _) => found.parse::<Version>().is_ok_and(|found| found >= *version),
        (Sign::Registry { data, .. }, _) => data.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(found)),
    };
    counts.then(named)
}

/// Whether a list of updates holds this one: "KB2712101_Microsoft-Windows-…" counts as KB2712101.
fn lists(found: &str, kb: &str) -> bool {
    found.lines().any(|line| {
        let id: String = line.trim().chars().take_while(char::is_ascii_alphanumeric).collect();
        id.eq_ignore_ascii_case(kb)
    })
}

/// What a variant's detection comes to: any of its signs, and every file.
///
/// # Errors
/// As [`questions`].
pub fn detected(
    variant: &Variant,
    own: Option<Detected>,
    answer: &dyn Fn(&Question) -> Answer,
) -> Result<Detected, Refused> {
    let mut found = own.unwrap_or(Detected::Absent);
    for sign in variant.installer.sign().iter().chain(&variant.detection.any_of) {
        if matches!(found, Detected::Present { .. }) {
            break;
        }
        found = better(found, interpret(sign, &questions(sign)?, answer));
    }
    for FileVersion { path, version } in &variant.detection.files {
        let Detected::Present { proof } = &found else { break };
        let sign = Sign::File { path: path.clone(), version: *version };
        let proof = proof.clone();
        found = match interpret(&sign, &questions(&sign)?, answer) {
            Detected::Present { proof: file } => Detected::Present { proof: format!("{proof}; {file}") },
            other => other,
        };
    }
    Ok(found)
}

/// Of two signs the one that shows more: there, then not known, then not there.
fn better(one: Detected, other: Detected) -> Detected {
    match (&one, &other) {
        (_, Detected::Present { .. }) | (Detected::Absent, Detected::Unknown { .. }) => other,
        _ => one,
    }
}

/// A code as Windows Installer packs it: the digits of the first three groups backwards, of the rest in swapped pairs.
/// Source: what Windows Installer, and Wine's, writes below `Installer\UserData`.
fn packed(code: &str) -> String {
    let digits: Vec<char> = code.chars().filter(char::is_ascii_hexdigit).map(|c| c.to_ascii_uppercase()).collect();
    let mut packed = String::with_capacity(32);
    for (from, to) in [(0, 8), (8, 12), (12, 16)] {
        packed.extend(digits[from..to].iter().rev());
    }
    for pair in digits[16..].chunks(2) {
        packed.extend(pair.iter().rev());
    }
    packed
}

/// The line that asks a Linux for a package's version.
///
/// # Errors
/// [`Refused`] when the root can't be quoted.
pub fn package_line(manager: PackageManager, name: &str, root: Option<&str>) -> Result<String, Refused> {
    safe::package_name(name)?;
    Ok(Manager { manager, root }.version(name)?)
}

#[cfg(test)]
mod tests;
