//! The two shells that devices have: quoting, paths, and the scripts that are run there.

use super::DeviceError;

/// A device's shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// POSIX `sh`.
    Sh,
    /// Windows `cmd`.
    Cmd,
}

impl Shell {
    /// Its name.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Sh => "sh",
            Self::Cmd => "cmd",
        }
    }

    /// Ending of its script files.
    #[must_use]
    pub fn extension(self) -> &'static str {
        self.word()
    }

    /// `dir` and `name` as one path.
    #[must_use]
    pub fn join(self, dir: &str, name: &str) -> String {
        match self {
            Self::Sh => format!("{dir}/{name}"),
            Self::Cmd => format!(r"{dir}\{name}"),
        }
    }

    /// Lines as a script file: `cmd` finds labels only behind CR LF.
    fn file(self, lines: &[String]) -> String {
        let end = if self == Self::Cmd { "\r\n" } else { "\n" };
        lines.iter().fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push_str(end);
            text
        })
    }
}

/// A text that no quoting makes safe for a shell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} can't be passed to {shell} safely")]
pub struct Unquotable {
    /// The text.
    pub text: String,
    /// The shell.
    pub shell: &'static str,
}

/// The one place where text becomes a shell word.
///
/// # Errors
/// [`Unquotable`] for control characters, and for `cmd` also for `" % ! ^ & | < >`: cmd expands some of them inside quotes.
pub fn quote(shell: Shell, text: &str) -> Result<String, Unquotable> {
    let bad = |c: char| c.is_control() || (shell == Shell::Cmd && "\"%!^&|<>".contains(c));
    if text.chars().any(bad) {
        return Err(Unquotable { text: text.chars().take(120).collect(), shell: shell.word() });
    }
    Ok(match shell {
        Shell::Sh => format!("'{}'", text.replace('\'', r"'\''")),
        Shell::Cmd => format!("\"{text}\""),
    })
}

/// Longest name of an operation's directory on a device: Windows' `MAX_PATH` is 260 for the whole path.
const OP_NAME_MAX: usize = 60;
/// Longest file name, for the same reason.
const FILE_NAME_MAX: usize = 120;

/// A payload's name on the device. Names that begin with "wr-" are our own.
pub(crate) fn file_name(name: &str) -> Result<&str, DeviceError> {
    let ours = name.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("wr-"));
    if !ours && name.len() <= FILE_NAME_MAX && plain(name) { Ok(name) } else { Err(bad_name("file", name)) }
}

/// The directory of an operation on the device: its id, or the beginning and the digest of a long one.
pub(crate) fn op_name(op: &str) -> Result<String, DeviceError> {
    if !plain(op) {
        return Err(bad_name("operation", op));
    }
    if op.len() <= OP_NAME_MAX {
        return Ok(op.to_owned());
    }
    let digest = wardround_signing::Digest::of(op.as_bytes()).hex();
    Ok(format!("{}-{}", &op[..OP_NAME_MAX - 17], &digest[..16]))
}

/// Nothing that a shell or a path gives a meaning to.
fn plain(name: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    !name.is_empty() && !name.starts_with(['.', '-']) && name.chars().all(ok)
}

fn bad_name(what: &'static str, name: &str) -> DeviceError {
    DeviceError::BadName { what, name: name.chars().take(FILE_NAME_MAX).collect() }
}

/// A step's state, as its state script prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepState {
    /// It has not begun.
    None,
    /// It has begun, and its launcher runs.
    Running,
    /// It has begun, and its launcher is gone without a result.
    Dead,
    /// It was withdrawn before it began: no launcher will ever begin it.
    Withdrawn,
    /// It has ended with this exit code.
    Done(u32),
}

/// The files that make a step run on its own: name and text. The one called
/// `wr-{step}.sh` or `wr-{step}.cmd` starts it.
///
/// - `run` performs the installer's lines and leaves the exit code as text. It does so itself, since `call` loses it in Wine.
/// - The launcher claims the step: making a directory is atomic, so it runs at most once however often it is started.
///   The code gets its final name only when it is complete.
///
/// `cmd` gets nothing but `goto`: brackets, `else` and `||` differ between its versions, and Wine's.
pub(crate) fn step_files(
    shell: Shell,
    dir: &str,
    root: Option<&str>,
    step: &str,
    lines: &[String],
) -> Result<Vec<(String, String)>, Unquotable> {
    let at = |name: &str| quote(shell, &shell.join(dir, &format!("wr-{step}.{name}")));
    let extension = shell.extension();
    let (started, log, tmp, rc) = (at("started")?, at("log")?, at("tmp")?, at("rc")?);
    let run_file = at(&format!("run.{extension}"))?;
    let text = |lines: &[String]| shell.file(lines);
    let named = |name: &str, lines: &[String]| (format!("wr-{step}.{name}{extension}"), text(lines));
    Ok(match shell {
        Shell::Sh => {
            let (home, pid) = (quote(shell, root.unwrap_or("/"))?, at("pid")?);
            let mut run = lines.to_vec();
            run.push(format!("echo $? > {tmp}"));
            let launcher = [
                format!("mkdir {started} 2>/dev/null || exit 0"),
                format!("echo $$ > {pid}"),
                format!("cd {home} || exit 1"),
                format!("WARDROUND_DEVICE_ROOT={home}; export WARDROUND_DEVICE_ROOT"),
                format!("sh {run_file} > {log} 2>&1 < /dev/null"),
                format!("mv -f {tmp} {rc}"),
            ];
            vec![named("run.", &run), named("", &launcher)]
        }
        Shell::Cmd => {
            let off = "@echo off".to_owned();
            let (claim_file, lock) = (at("claim.cmd")?, at("lock")?);
            let mut run = vec![off.clone(), format!("cd /d {}", quote(shell, dir)?)];
            run.extend_from_slice(lines);
            // The redirection stands first: "echo 1>file" would redirect handle 1 and write nothing.
            run.push(format!(">{tmp} echo %ERRORLEVEL%"));
            let claim = [
                off.clone(),
                format!("md {started} 2>nul"),
                "if errorlevel 1 exit /b 0".into(),
                format!("call {run_file} > {log} 2>&1 < nul"),
                format!("if exist {tmp} move /y {tmp} {rc} > nul"),
            ];
            let launcher = [off.clone(), format!("call {claim_file} > {lock}")];
            vec![named("run.", &run), named("claim.", &claim), named("", &launcher)]
        }
    })
}

/// What a state script does before it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing.
    Only,
    /// It claims the step as a launcher does. Whoever of the two comes second finds it claimed: so a launcher that was
    /// started, but is late, does nothing any more.
    Withdraw,
}

impl Look {
    /// The script's name.
    pub(crate) fn file(self, shell: Shell, step: &str) -> String {
        let word = if self == Self::Withdraw { "withdraw" } else { "state" };
        format!("wr-{step}.{word}.{}", shell.extension())
    }
}

/// The script that tells a step that works from one that died: name and text. While a launcher runs it holds a file open,
/// which Windows then refuses to delete (`cmd`), or its process id stands in a file (`sh`).
pub(crate) fn state_script(shell: Shell, dir: &str, step: &str, look: Look) -> Result<(String, String), Unquotable> {
    let at = |name: &str| quote(shell, &shell.join(dir, &format!("wr-{step}.{name}")));
    let (started, rc, withdrawn) = (at("started")?, at("rc")?, at("withdrawn")?);
    let withdraw = look == Look::Withdraw;
    let lines = match shell {
        Shell::Sh => {
            let pid = at("pid")?;
            let claim = withdraw.then(|| format!("if mkdir {started} 2>/dev/null; then echo 1 > {withdrawn}; fi"));
            let look = [
                format!("if test -e {withdrawn}; then echo WITHDRAWN; exit; fi"),
                format!("if test -e {rc}; then echo DONE; cat {rc}; exit; fi"),
                format!("if test ! -e {started}; then echo NONE; exit; fi"),
                // No process id yet means that it has only just begun.
                format!("if test ! -s {pid} || kill -0 `cat {pid}` 2>/dev/null; then echo RUNNING; exit; fi"),
                format!("if test -e {rc}; then echo DONE; cat {rc}; else echo DEAD; fi"),
            ];
            claim.into_iter().chain(look).collect()
        }
        Shell::Cmd => {
            let lock = at("lock")?;
            let mut lines = vec!["@echo off".to_owned()];
            if withdraw {
                lines.extend([
                    format!("md {started} 2>nul"),
                    "if errorlevel 1 goto look".into(),
                    format!(">{withdrawn} echo 1"),
                    ":look".into(),
                ]);
            }
            lines.extend([
                format!("if exist {withdrawn} goto withdrawn"),
                format!("if exist {rc} goto done"),
                format!("if not exist {started} goto none"),
                format!("del {lock} 2>nul"),
                format!("if exist {lock} goto running"),
                format!("if exist {rc} goto done"),
                "echo DEAD".into(),
                "exit /b 0".into(),
                ":done".into(),
                "echo DONE".into(),
                format!("type {rc}"),
                "exit /b 0".into(),
                ":none".into(),
                "echo NONE".into(),
                "exit /b 0".into(),
                ":withdrawn".into(),
                "echo WITHDRAWN".into(),
                "exit /b 0".into(),
                ":running".into(),
                "echo RUNNING".into(),
            ]);
            lines
        }
    };
    Ok((look.file(shell, step), shell.file(&lines)))
}

/// Reads what a state script printed.
pub(crate) fn step_state(output: &str) -> Option<StepState> {
    let mut lines = output.trim().lines();
    let state = match lines.next()?.trim() {
        "NONE" => StepState::None,
        "RUNNING" => StepState::Running,
        "DEAD" => StepState::Dead,
        "WITHDRAWN" => StepState::Withdrawn,
        "DONE" => StepState::Done(crate::installers::parse_exit_code(lines.next()?)?),
        _ => return None,
    };
    Some(state)
}

/// One question of a [`query_script`].
pub(crate) struct Section<'a> {
    /// Name; letters only.
    pub(crate) name: &'a str,
    /// The line that asks.
    pub(crate) line: String,
}

/// A script that asks several questions in one go, each between marks, with its exit code in the closing one.
pub(crate) fn query_script(shell: Shell, sections: &[Section<'_>]) -> String {
    let mut lines = Vec::new();
    if shell == Shell::Cmd {
        lines.push("@echo off".to_owned());
    }
    for Section { name, line } in sections {
        lines.push(format!("echo ::begin {name}"));
        lines.push(line.clone());
        match shell {
            // An empty line first: the answer may lack its line end.
            Shell::Sh => lines.push(format!("code=$?; echo; echo \"::end {name} $code\"")),
            Shell::Cmd => {
                lines.push("set WARDROUND_CODE=%ERRORLEVEL%".into());
                lines.push("echo.".into());
                lines.push(format!("echo ::end {name} %WARDROUND_CODE%"));
            }
        }
    }
    shell.file(&lines)
}

/// The answer to one section: its exit code and what it printed. `None` when it is not there as a whole.
pub(crate) fn section<'a>(output: &'a str, name: &str) -> Option<(u32, &'a str)> {
    let (_, rest) = output.split_once(&format!("::begin {name}\n"))?;
    let mark = format!("::end {name} ");
    let end = rest.rfind(&mark)?;
    let code = crate::installers::parse_exit_code(rest[end + mark.len()..].lines().next()?)?;
    Some((code, rest[..end].trim_end_matches('\n')))
}

/// `reg query` of one value, and what its answer holds. reg.exe prints `name TYPE data`, with tabs on XP and spaces later,
/// and the name as it was written: names differ by more than their case.
pub(crate) fn registry_value<'a>(answer: &'a str, value: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| {
        let (name, rest) = line.trim().split_at_checked(value.len())?;
        let rest = if name.eq_ignore_ascii_case(value) { rest } else { return None };
        let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
        let (kind, data) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        kind.starts_with("REG_").then(|| data.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_holds_or_refuses() {
        assert_eq!(quote(Shell::Sh, "a b$(x)'c").unwrap(), r"'a b$(x)'\''c'");
        assert_eq!(quote(Shell::Cmd, r"C:\a b\c").unwrap(), r#""C:\a b\c""#);
        for bad in ["a\"b", "%PATH%", "a&b", "a|b", "a^b", "!x!", "a\nb", "<", ">"] {
            assert!(quote(Shell::Cmd, bad).is_err(), "{bad:?}");
        }
        assert!(quote(Shell::Sh, "a\nb").is_err() && quote(Shell::Sh, "a\0b").is_err());
    }

    #[test]
    fn names_can_not_leave_their_directory() {
        assert!(file_name("WindowsXP-KB4500331-x86-custom-enu_d7206aca.exe").is_ok());
        for bad in ["", "..", "../x", "a/b", r"a\b", "a b", "-rf", ".ssh", "a;b", "a(b", "a\nb", "ä"] {
            assert!(file_name(bad).is_err() && op_name(bad).is_err(), "{bad:?}");
        }
        for bad in ["wr-install.rc", "WR-x", &"x".repeat(121)] {
            assert!(file_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn long_operation_ids_stay_apart_and_short_enough() {
        assert_eq!(op_name("wr-r1.ct-01.1").unwrap(), "wr-r1.ct-01.1");
        let (a, b) = (format!("{}1", "r".repeat(130)), format!("{}2", "r".repeat(130)));
        let (a, b) = (op_name(&a).unwrap(), op_name(&b).unwrap());
        assert!(a != b && a.len() == OP_NAME_MAX && a.starts_with("rrr"), "{a} {b}");
    }

    #[test]
    fn states_are_read_or_refused() {
        assert_eq!(step_state("RUNNING \n"), Some(StepState::Running));
        assert_eq!(step_state("WITHDRAWN\n"), Some(StepState::Withdrawn));
        assert_eq!(step_state("\nDONE\n-2145124329 \n"), Some(StepState::Done(0x8024_0017)));
        for bad in ["", "DONE", "DONE\n", "DONE\nx", "sh: not found"] {
            assert_eq!(step_state(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn sections_are_whole_or_missing() {
        let output = "::begin a\nline\n\n::end a 1\n::begin b\nhalf";
        assert_eq!(section(output, "a"), Some((1, "line")));
        assert_eq!(section(output, "b"), None, "cut off");
        assert_eq!(section(output, "c"), None);
        assert_eq!(section("::begin a\n\n::end a -1\n", "a"), Some((u32::MAX, "")));
    }

    #[test]
    fn registry_values_are_read_with_tabs_and_spaces() {
        let xp = "\n! REG.EXE VERSION 3.0\n\nHKEY_LOCAL_MACHINE\\X\n    Installed\tREG_DWORD\t0x1\n";
        assert_eq!(registry_value(xp, "Installed"), Some("0x1"));
        let later =
            "HKEY_LOCAL_MACHINE\\X\n    DisplayVersion    REG_SZ    1.0 beta\n    DisplayVersionX    REG_SZ    2\n";
        assert_eq!(registry_value(later, "DisplayVersion"), Some("1.0 beta"));
        assert_eq!(registry_value(later, "Display"), None);
        assert_eq!(registry_value("  P    REG_MULTI_SZ", "P"), Some(""));
    }
}
