//! Asks a device whether a patch is there.

use wardround_rollout_plans::model::{Detected, Installer, Sign, Variant};

use super::{ask_with, bounded};
use crate::{
    installers::{self, Answer, Question, Refused, canary},
    transports::{
        DeviceError, Transport,
        shell::{self, Section, Shell, quote},
    },
};

/// The script that reads what `reg.exe` can't: Windows Script Host is there from Windows 2000 on.
const LOOK: &str = "wr-look.vbs";

pub(super) async fn detect(transport: &Transport, op: &str, variant: &Variant) -> Result<Detected, DeviceError> {
    let op = &shell::op_name(op)?;
    transport.here()?;
    if let Some(link) = transport.whole_steps().await? {
        return link.detect(op, variant).await;
    }
    let own = match &variant.installer {
        Installer::Script { .. } => Some(script(transport, op, variant).await?),
        _ => None,
    };
    let known = answers(transport, op, installers::questions_of(variant)?).await?;
    Ok(installers::detected(variant, own, &|question| known.of(question))?)
}

/// Whether what shows a patch is there.
pub(super) async fn sign(transport: &Transport, op: &str, sign: &Sign) -> Result<Detected, DeviceError> {
    let op = &shell::op_name(op)?;
    transport.here()?;
    let asked = installers::questions(sign)?;
    let known = answers(transport, op, asked.clone()).await?;
    Ok(installers::interpret(sign, &asked, &|question| known.of(question)))
}

/// What a device said.
pub(super) struct Answers(Vec<(Question, Answer)>);

impl Answers {
    pub(super) fn of(&self, question: &Question) -> Answer {
        let found = self.0.iter().find(|(asked, _)| asked == question).map(|(_, answer)| answer.clone());
        found.unwrap_or_else(|| Answer::Unread("the device did not answer every question".to_owned()))
    }
}

/// Asks everything in one go.
pub(super) async fn answers(transport: &Transport, op: &str, mut asked: Vec<Question>) -> Result<Answers, DeviceError> {
    asked.sort();
    asked.dedup();
    if asked.is_empty() {
        return Ok(Answers(Vec::new()));
    }
    match transport.shell() {
        Shell::Cmd => of_windows(transport, op, asked).await,
        Shell::Sh => of_unix(transport, op, asked).await,
    }
}

fn wrong_shell(technology: &'static str, shell: Shell) -> DeviceError {
    Refused::WrongShell { technology, shell: shell.word() }.into()
}

async fn of_windows(transport: &Transport, op: &str, asked: Vec<Question>) -> Result<Answers, DeviceError> {
    let kind = Shell::Cmd;
    let mut lines = vec![
        ("canary".to_owned(), registry_line(&canary())?),
        // Set where a 32-bit program runs on a 64-bit Windows.
        ("half".to_owned(), "echo [%PROCESSOR_ARCHITEW6432%]".to_owned()),
    ];
    let mut look = Vec::new();
    for (n, question) in asked.iter().enumerate() {
        match question {
            Question::Registry { .. } => lines.push((format!("value{n}"), registry_line(question)?)),
            Question::FileVersion { path } => look.push(format!("LookFile {n}, \"{path}\"")),
            Question::Updates => look.push(format!("LookUpdates {n}")),
            Question::Package { .. } => return Err(wrong_shell("Linux", kind)),
        }
    }
    let mut files = Vec::new();
    if !look.is_empty() {
        let path = quote(kind, &kind.join(&transport.op_dir(op), LOOK))?;
        lines.push(("look".to_owned(), format!("cscript //nologo {path} 2>&1")));
        files.push((LOOK.to_owned(), look_script(&look)));
    }
    let sections: Vec<Section<'_>> = lines.iter().map(|(name, line)| Section { name, line: line.clone() }).collect();
    let output = ask_with(transport, op, "detect", &sections, files).await?;
    Ok(read(asked, &output))
}

fn registry_line(question: &Question) -> Result<String, DeviceError> {
    let Question::Registry { key, value } = question else { return Ok(String::new()) };
    Ok(format!("reg query {} /v {} 2>nul", quote(Shell::Cmd, key)?, quote(Shell::Cmd, value)?))
}

/// The answers of a Windows device.
fn read(asked: Vec<Question>, output: &str) -> Answers {
    let blind = blind(output);
    let look = shell::section(output, "look").map(|(_, text)| text).unwrap_or_default();
    let answer = |n: usize, question: &Question| {
        if let Some(why) = &blind {
            return Answer::Unread(why.clone());
        }
        match question {
            Question::Registry { value, .. } => registry_answer(output, &format!("value{n}"), value),
            _ => looked(look, n),
        }
    };
    let answers = asked.into_iter().enumerate().map(|(n, question)| (question.clone(), answer(n, &question)));
    Answers(answers.collect())
}

/// Why nothing that this device does not show can be taken for missing.
fn blind(output: &str) -> Option<String> {
    let Question::Registry { key, value } = canary() else { return None };
    if !matches!(registry_answer(output, "canary", &value), Answer::There(_)) {
        return Some(format!(r"the registry can't be read: {key}\{value} is missing"));
    }
    match shell::section(output, "half").map(|(_, text)| text.trim()) {
        Some("[]") => None,
        Some(found) if found.starts_with('[') => Some(format!(
            "the device's shell is a 32-bit program on a 64-bit Windows ({found}) and sees half of the registry: \
             let the server start 64-bit programs"
        )),
        _ => Some("the device did not say whether its shell sees the whole registry".to_owned()),
    }
}

fn registry_answer(output: &str, name: &str, value: &str) -> Answer {
    match shell::section(output, name) {
        Some((0, answer)) => match shell::registry_value(answer, value) {
            Some(text) => Answer::There(text.to_owned()),
            // It is there: an answer that is not understood must not count as "not there".
            None => Answer::Unread(format!("the answer about {value} was not understood")),
        },
        // reg.exe ends with 1 both for "not there" and for "not readable": the canary tells them apart.
        Some((1, _)) => Answer::Missing,
        Some((code, _)) => Answer::Unread(format!("reg.exe ended with {code} when asked for {value}")),
        None => Answer::Unread(format!("no answer about {value}")),
    }
}

/// What the look script printed of question `n`: "::look 3 there 5.1.2600.5512", one line for each thing found.
fn looked(output: &str, n: usize) -> Answer {
    let mark = format!("::look {n} ");
    let mut there = Vec::new();
    for line in output.lines().filter_map(|line| line.trim().strip_prefix(&mark)) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("there", found) => there.push(found.trim()),
            ("missing", _) => return Answer::Missing,
            // A list is whole when its end is.
            ("end", _) => return Answer::There(there.join("\n")),
            (_, why) => return Answer::Unread(format!("the device could not look: {why}")),
        }
    }
    let said = bounded(output);
    let why = if said.is_empty() { "nothing" } else { said.as_str() };
    Answer::Unread(format!("the device's script host did not answer: {why}"))
}

/// VBScript, since nothing else that reads file versions is on every Windows from 2000 to 10.
fn look_script(calls: &[String]) -> String {
    let mut lines = vec![
        "Option Explicit",
        "Dim files, host",
        "Set files = CreateObject(\"Scripting.FileSystemObject\")",
        "Set host = CreateObject(\"WScript.Shell\")",
        "Sub LookFile(n, name)",
        "  On Error Resume Next",
        "  Dim path, found",
        "  path = host.ExpandEnvironmentStrings(name)",
        "  If Not files.FileExists(path) Then",
        "    Tell n, \"missing\"",
        "    Exit Sub",
        "  End If",
        "  found = files.GetFileVersion(path)",
        "  If Err.Number <> 0 Then",
        "    Tell n, \"error \" & Err.Number & \" \" & Err.Description",
        "    Exit Sub",
        "  End If",
        "  Tell n, \"there \" & found",
        "  Tell n, \"end\"",
        "End Sub",
        "Sub LookUpdates(n)",
        "  On Error Resume Next",
        "  Dim found, one",
        "  Set found = GetObject(\"winmgmts:\\\\.\\root\\cimv2\").ExecQuery(\"SELECT HotFixID FROM Win32_QuickFixEngineering\")",
        "  For Each one In found",
        "    Tell n, \"there \" & one.HotFixID",
        "  Next",
        "  If Err.Number <> 0 Then",
        "    Tell n, \"error \" & Err.Number & \" \" & Err.Description",
        "    Exit Sub",
        "  End If",
        "  Tell n, \"end\"",
        "End Sub",
        "Sub Tell(n, text)",
        "  WScript.Echo \"::look \" & n & \" \" & text",
        "End Sub",
    ];
    lines.extend(calls.iter().map(String::as_str));
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

async fn of_unix(transport: &Transport, op: &str, asked: Vec<Question>) -> Result<Answers, DeviceError> {
    let root = transport.root();
    let mut lines = Vec::new();
    for (n, question) in asked.iter().enumerate() {
        let Question::Package { manager, name } = question else { return Err(wrong_shell("Windows", Shell::Sh)) };
        lines.push((format!("package{n}"), installers::package_line(*manager, name, root.as_deref())?));
    }
    let sections: Vec<Section<'_>> =
        lines.iter().map(|(name, line)| Section { name, line: format!("{line} 2>&1") }).collect();
    let output = ask_with(transport, op, "detect", &sections, Vec::new()).await?;
    let answer = |name: &str| match shell::section(&output, name) {
        Some((0, text)) if text.trim().is_empty() => Answer::Missing,
        Some((0, text)) => Answer::There(text.trim().to_owned()),
        Some((code, text)) => Answer::Unread(format!("the package manager ended with {code}: {}", bounded(text))),
        None => Answer::Unread("the device did not answer every question".to_owned()),
    };
    Ok(Answers(asked.into_iter().zip(&lines).map(|(question, (name, _))| (question, answer(name))).collect()))
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
    let output = ask_with(transport, op, "script", &[Section { name: "script", line }], Vec::new()).await?;
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

    const WHOLE: &str = "::begin canary\n    CurrentVersion    REG_SZ    5.2\n\n::end canary 0\n\
                         ::begin half\n[]\n\n::end half 0\n";

    fn installed(head: &str, answer: &str, code: u32) -> Answer {
        let asked = vec![Question::Registry { key: r"HKLM\X".into(), value: "Installed".into() }];
        let output = format!("{head}::begin value0\n{answer}\n\n::end value0 {code}\n");
        read(asked.clone(), &output).of(&asked[0])
    }

    #[test]
    fn only_reg_s_own_no_means_that_a_value_is_not_there() {
        let there = Answer::There("0x1".into());
        assert_eq!(installed(WHOLE, "    Installed    REG_DWORD    0x1", 0), there);
        assert_eq!(installed(WHOLE, "    installed\tREG_DWORD\t0x1", 0), there);
        assert_eq!(installed(WHOLE, "", 1), Answer::Missing);
        for (answer, code) in [("", 0), ("    Installed", 0), ("", 5), ("", 9009)] {
            assert!(matches!(installed(WHOLE, answer, code), Answer::Unread(_)), "{answer:?} {code}");
        }
    }

    #[test]
    fn who_sees_half_of_the_registry_misses_nothing() {
        for head in
            ["", &WHOLE.replace("[]", "[AMD64]"), &WHOLE.replace("[]", ""), &WHOLE.replace("canary 0", "canary 1")]
        {
            let found = installed(head, "", 1);
            assert!(matches!(found, Answer::Unread(_)), "{head}: {found:?}");
        }
        let Answer::Unread(why) = installed(&WHOLE.replace("[]", "[AMD64]"), "", 1) else { panic!() };
        assert!(why.contains("32-bit"), "{why}");
    }

    #[test]
    fn a_look_that_was_cut_off_shows_nothing() {
        assert_eq!(looked("::look 0 there 5.1.2600.1\n::look 0 end\n", 0), Answer::There("5.1.2600.1".into()));
        assert_eq!(looked("::look 1 there KB1\n::look 1 there KB2\n::look 1 end", 1), Answer::There("KB1\nKB2".into()));
        assert_eq!(looked("::look 0 missing\n", 0), Answer::Missing);
        for cut in ["", "::look 0 there KB1\n", "::look 0 error 70 Permission denied", "::look 1 missing", "no host"] {
            assert!(matches!(looked(cut, 0), Answer::Unread(_)), "{cut}");
        }
    }
}
