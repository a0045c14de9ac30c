//! Whether somebody works with a device. Fails closed: anything but a clear "free" is in use.

use std::{fmt::Write as _, time::Duration};

use tokio::process::Command;

use super::{ask_with, bounded, facts::OP};
use crate::{
    config::InUse,
    transports::{
        DeviceError, Transport, decode, run_process,
        shell::{self, Section, Shell, quote},
    },
};

/// How long the site's own program may take. Silence counts as in use.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);
/// The script that asks Windows' own management interface, there from Windows 2000 on.
const SCRIPT: &str = "wr-use.vbs";

/// Why the device must not be disturbed; `None` means that it is free. `confirmed` says until when a person has said so.
pub(super) async fn in_use(transport: &Transport, asked: Option<&InUse>, confirmed: bool) -> Option<String> {
    let asked = asked?;
    if asked.confirm && !confirmed {
        return Some("a person must say that it is free: run `wardround node confirm DEVICE` on the node".to_owned());
    }
    if let Some(why) = command(asked.command.as_deref()).await {
        return Some(why);
    }
    if !asked.asks_device() {
        return None;
    }
    let found = match transport.shell() {
        Shell::Cmd => windows(transport, asked).await,
        Shell::Sh => unix(transport, asked).await,
    };
    match found {
        Ok(signs) if signs.is_empty() => None,
        Ok(signs) => Some(signs.join(", ")),
        Err(error) => Some(format!("unknown: {}", bounded(&error.to_string()))),
    }
}

async fn command(argv: Option<&[String]>) -> Option<String> {
    let (program, args) = argv?.split_first()?;
    let mut command = Command::new(program);
    command.args(args);
    match run_process(command, None, COMMAND_TIMEOUT, 4096).await {
        Err(error) => Some(format!("unknown: {program} could not be run: {error}")),
        Ok(done) if done.timed_out => {
            Some(format!("unknown: {program} gave no answer in {}s", COMMAND_TIMEOUT.as_secs()))
        }
        Ok(done) => match done.code {
            Some(0) => None,
            Some(1) => {
                let said = bounded(&decode(&done.stdout));
                Some(if said.is_empty() { "in use".to_owned() } else { said })
            }
            Some(code) => Some(format!("unknown: {program} ended with {code}")),
            None => Some(format!("unknown: {program} was ended by a signal")),
        },
    }
}

async fn windows(transport: &Transport, asked: &InUse) -> Result<Vec<String>, DeviceError> {
    let mut sections = Vec::new();
    let mut files = Vec::new();
    if asked.logged_on || !asked.processes.is_empty() {
        let path = quote(Shell::Cmd, &Shell::Cmd.join(&transport.op_dir(OP), SCRIPT))?;
        sections.push(Section { name: "wmi", line: format!("cscript //nologo {path} 2>&1") });
        files.push((SCRIPT.to_owned(), script()));
    }
    if !asked.connections.is_empty() {
        sections.push(Section { name: "net", line: "netstat -an -p tcp".into() });
    }
    let output = ask_with(transport, OP, "use", &sections, files).await?;
    let mut signs = Vec::new();
    if let Some((_, text)) = shell::section(&output, "wmi") {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        if lines.last() != Some(&"::use end") {
            return Err(garbled("who uses it", text));
        }
        let told = |kind: &str| {
            let mark = format!("::use {kind} ");
            lines.iter().filter_map(|line| line.strip_prefix(&mark)).map(str::to_owned).collect::<Vec<_>>()
        };
        let running = told("process");
        if asked.logged_on {
            signs.extend(told("user").into_iter().map(|user| format!("{user} is logged on")));
            // Who came by remote desktop is nobody's console user, but has a desktop.
            if signs.is_empty() && running.iter().any(|name| name.eq_ignore_ascii_case("explorer.exe")) {
                signs.push("somebody has a desktop".to_owned());
            }
        }
        let found = |wanted: &&String| running.iter().any(|name| name.eq_ignore_ascii_case(wanted));
        signs.extend(asked.processes.iter().filter(found).map(|name| format!("{name} runs")));
    } else if asked.logged_on || !asked.processes.is_empty() {
        return Err(garbled("who uses it", &output));
    }
    if !asked.connections.is_empty() {
        let Some((0, text)) = shell::section(&output, "net") else { return Err(garbled("its connections", &output)) };
        signs.extend(connections(netstat(text), &asked.connections));
    }
    Ok(signs)
}

fn garbled(what: &str, text: &str) -> DeviceError {
    DeviceError::Garbled { what: what.to_owned(), text: crate::transports::tail(text, 300).to_owned() }
}

fn script() -> String {
    let lines = [
        "Dim wmi, one",
        "Set wmi = GetObject(\"winmgmts:\\\\.\\root\\cimv2\")",
        "For Each one In wmi.ExecQuery(\"SELECT UserName FROM Win32_ComputerSystem\")",
        "  If Len(one.UserName & \"\") > 0 Then WScript.Echo \"::use user \" & one.UserName",
        "Next",
        "For Each one In wmi.ExecQuery(\"SELECT Name FROM Win32_Process\")",
        "  WScript.Echo \"::use process \" & one.Name",
        "Next",
        "WScript.Echo \"::use end\"",
    ];
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = write!(text, "{line}\r\n");
        text
    })
}

/// Local port and remote address of each TCP line: "  TCP    10.0.0.5:104   10.0.0.9:50123   ESTABLISHED". The last word is in the
/// system's language, so what counts is that there is somebody at the other end.
fn netstat(text: &str) -> Vec<(u16, String)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (kind, local, remote) = (words.next()?, words.next()?, words.next()?);
        let (_, port) = local.rsplit_once(':')?;
        let (_, other) = remote.rsplit_once(':')?;
        let open = kind.eq_ignore_ascii_case("tcp") && other.parse::<u16>().is_ok_and(|port| port != 0);
        Some((port.parse().ok()?, remote.to_owned())).filter(|_| open)
    };
    text.lines().filter_map(line).collect()
}

/// As [`netstat`], from Linux' own table (proc(5), `/proc/net/tcp`): state 01 is "established".
fn proc_net(text: &str) -> Vec<(u16, String)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote, state) = (words.next()?, words.next()?, words.next()?);
        let port = |address: &str| u16::from_str_radix(address.rsplit_once(':')?.1, 16).ok();
        Some((port(local)?, format!("port {}", port(remote)?))).filter(|_| state == "01")
    };
    text.lines().filter_map(line).collect()
}

fn connections(open: Vec<(u16, String)>, wanted: &[u16]) -> Vec<String> {
    let mut signs: Vec<String> = Vec::new();
    for port in wanted {
        if let Some((_, remote)) = open.iter().find(|(local, _)| local == port) {
            signs.push(format!("a connection at port {port} is open (from {remote})"));
        }
    }
    signs
}

async fn unix(transport: &Transport, asked: &InUse) -> Result<Vec<String>, DeviceError> {
    let sections = [
        Section { name: "who", line: "who".into() },
        Section { name: "ps", line: "ps -A -o comm=".into() },
        Section { name: "net", line: "cat /proc/net/tcp; cat /proc/net/tcp6 2>/dev/null; true".into() },
    ];
    let output = ask_with(transport, OP, "use", &sections, Vec::new()).await?;
    let answer = |name: &str, what: &str| match shell::section(&output, name) {
        Some((0, text)) => Ok(text),
        _ => Err(garbled(what, &output)),
    };
    let mut signs = Vec::new();
    if asked.logged_on {
        let users = answer("who", "who is logged on")?.lines().filter_map(|line| line.split_whitespace().next());
        signs.extend(users.map(|user| format!("{user} is logged on")));
    }
    if !asked.processes.is_empty() {
        let running: Vec<&str> = answer("ps", "what runs")?.lines().map(str::trim).collect();
        let found =
            |wanted: &&String| running.iter().any(|name| name == wanted || name.ends_with(&format!("/{wanted}")));
        signs.extend(asked.processes.iter().filter(found).map(|name| format!("{name} runs")));
    }
    if !asked.connections.is_empty() {
        let text = answer("net", "its connections")?;
        // The table has a head even when it is empty.
        if !text.contains("local_address") {
            return Err(garbled("its connections", text));
        }
        signs.extend(connections(proc_net(text), &asked.connections));
    }
    Ok(signs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_does_not_say_free_says_in_use() {
        let ask = async |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            command(Some(&words)).await
        };
        assert_eq!(command(None).await, None);
        assert_eq!(ask(&["true"]).await, None);
        assert_eq!(ask(&["sh", "-c", "echo scan running; exit 1"]).await.unwrap(), "scan running");
        for words in [&["sh", "-c", "exit 2"][..], &["/nowhere/at/all"], &["sh", "-c", "kill -9 $$"]] {
            assert!(ask(words).await.unwrap().starts_with("unknown"), "{words:?}");
        }
    }

    #[test]
    fn an_open_association_is_seen_in_any_language() {
        let german = "Aktive Verbindungen\n\n  Proto  Lokale Adresse         Remoteadresse          Status\n  \
                      TCP    0.0.0.0:104            0.0.0.0:0              ABHÖREN\n  \
                      TCP    10.0.0.5:104           10.0.0.9:50123         HERGESTELLT\n  \
                      TCP    [::1]:2575             [::1]:49160            HERGESTELLT\n";
        let open = netstat(german);
        assert_eq!(open, [(104, "10.0.0.9:50123".to_owned()), (2575, "[::1]:49160".to_owned())]);
        assert_eq!(connections(open, &[104, 11112]), ["a connection at port 104 is open (from 10.0.0.9:50123)"]);
        let table = "  sl  local_address rem_address   st\n   0: 0100007F:0068 00000000:0000 0A 0\n   \
                     1: 0100007F:0068 0100007F:C3CB 01 0\n";
        assert_eq!(proc_net(table), [(104, "port 50123".to_owned())]);
    }

    #[tokio::test]
    async fn a_device_is_free_only_when_everything_says_so() {
        let root = tempfile::tempdir().unwrap();
        let yaml = format!(
            "site: rx1\ndevices:\n  - {{ name: a, platform: 'cpe:2.3:o:debian:debian_linux:*:*:*:*:*:*:*:*', \
             transport: {{ kind: local, root: '{}', shell: sh }} }}\n",
            root.path().display()
        );
        let site = crate::config::parse_site_file(&yaml, "site.yaml").unwrap();
        let (id, config) = site.devices.first_key_value().unwrap();
        let transport = Transport::new(id, config, root.path());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let with = |use_of: InUse| InUse { connections: vec![port], ..use_of };
        let free = in_use(&transport, Some(&with(InUse::default())), false).await;
        assert_eq!(free, None, "listening is not in use");
        let _session = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _other = listener.accept().unwrap();
        let busy = in_use(&transport, Some(&with(InUse::default())), false).await.unwrap();
        assert!(busy.contains(&format!("port {port} is open")), "{busy}");
        let asked = InUse { processes: vec!["no-such-viewer".into()], confirm: true, ..InUse::default() };
        assert!(in_use(&transport, Some(&asked), false).await.unwrap().contains("wardround node confirm"));
        assert_eq!(in_use(&transport, Some(&asked), true).await, None);
        assert_eq!(in_use(&transport, None, false).await, None);
    }
}
