//! System Restore of Windows XP, Vista and 7. Servers have none (learn.microsoft.com, "System Restore", class `SystemRestore`).

use super::ask_with;
use crate::transports::{
    DeviceError, Transport,
    shell::{self, Section, Shell, quote},
};

const SCRIPT: &str = "wr-restore-point.vbs";

/// Makes one, and says its number: the highest of those that bear this operation's name. A second call finds the first one's.
pub(super) async fn make(transport: &Transport, op: &str) -> Result<u32, DeviceError> {
    let op = &shell::op_name(op)?;
    // 0: application install; 100: begin of a system change ("RESTOREPOINTINFO structure").
    let lines = [
        format!("name = \"wardround {op}\""),
        "Set root = GetObject(\"winmgmts:\\\\.\\root\\default\")".to_owned(),
        "number = Find()".to_owned(),
        "If number = 0 Then".to_owned(),
        "  code = root.Get(\"SystemRestore\").CreateRestorePoint(name, 0, 100)".to_owned(),
        "  If code <> 0 Then".to_owned(),
        "    WScript.Echo \"::point error \" & code".to_owned(),
        "    WScript.Quit".to_owned(),
        "  End If".to_owned(),
        "  number = Find()".to_owned(),
        "End If".to_owned(),
        "WScript.Echo \"::point \" & number".to_owned(),
        "Function Find()".to_owned(),
        "  Dim one".to_owned(),
        "  Find = 0".to_owned(),
        "  For Each one In root.ExecQuery(\"SELECT SequenceNumber, Description FROM SystemRestore\")".to_owned(),
        "    If one.Description = name And one.SequenceNumber > Find Then Find = one.SequenceNumber".to_owned(),
        "  Next".to_owned(),
        "End Function".to_owned(),
    ];
    let answer = run(transport, op, &lines).await?;
    match answer.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(refused("make a restore point", &answer)),
    }
}

pub(super) async fn restore(transport: &Transport, op: &str, point: u32) -> Result<(), DeviceError> {
    let op = &shell::op_name(op)?;
    let lines = [
        "Set root = GetObject(\"winmgmts:\\\\.\\root\\default\")".to_owned(),
        format!("WScript.Echo \"::point \" & root.Get(\"SystemRestore\").Restore({point})"),
    ];
    match run(transport, op, &lines).await?.as_str() {
        "0" => Ok(()),
        other => Err(refused(&format!("put restore point {point} back"), other)),
    }
}

fn refused(what: &str, said: &str) -> DeviceError {
    let why = if said.is_empty() { "System Restore is missing or turned off".to_owned() } else { said.to_owned() };
    DeviceError::Garbled { what: format!("the order to {what}"), text: why }
}

/// What the script says behind its mark; empty where it says nothing.
async fn run(transport: &Transport, op: &str, lines: &[String]) -> Result<String, DeviceError> {
    if transport.shell() != Shell::Cmd {
        return Err(refused("use System Restore", "the device is no Windows"));
    }
    let path = quote(Shell::Cmd, &Shell::Cmd.join(&transport.op_dir(op), SCRIPT))?;
    let script = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let sections = [Section { name: "point", line: format!("cscript //nologo {path} 2>&1") }];
    let output = ask_with(transport, op, "restore-point", &sections, vec![(SCRIPT.to_owned(), script)]).await?;
    let said = shell::section(&output, "point").map(|(_, text)| text).unwrap_or_default();
    Ok(said.lines().find_map(|line| line.trim().strip_prefix("::point ")).unwrap_or_default().to_owned())
}
