//! A Windows device as it looks over SMB: Samba on the drive of a Wine prefix, on an address of its own, since clients
//! insist on port 445. What starts commands there is a stand-in for WMI.

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use super::{Running, WineDevice, peer_file, require, wait_until};

/// What the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialects {
    /// SMB 1 and nothing else, as Windows XP and Server 2003.
    One,
    /// SMB 2 and 3, as today.
    TwoAndThree,
}

/// Samba before a Wine prefix. It ends with the test.
#[derive(Debug)]
pub struct SmbDevice {
    _server: Running,
    _agent: Running,
    dir: TempDir,
    address: Ipv4Addr,
}

/// The account's password on every such device.
const SMB_PASSWORD: &str = "hunter2+smb";

impl SmbDevice {
    /// Starts one; `None` where Samba or impacket is missing, or this account may not listen on port 445.
    ///
    /// # Panics
    /// When Samba does not start.
    #[must_use]
    pub fn start(device: &WineDevice, dialects: Dialects) -> Option<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let smbd = require("smbd")?;
        require("wardround-impacket-python")?;
        if !nix::unistd::Uid::effective().is_root() {
            println!("skipped: only root may listen on port 445");
            return None;
        }
        // Tests that run side by side have addresses of their own.
        let process = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 64 | (process[2] & 0x3f), process[3], NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::tempdir().expect("a temporary directory is made");
        let at = dir.path().display();
        for name in ["lock", "state", "cache", "private", "ncalrpc"] {
            fs::create_dir(dir.path().join(name)).expect("it is ours");
        }
        let (least, most) = match dialects {
            Dialects::One => ("NT1", "NT1"),
            Dialects::TwoAndThree => ("SMB2", "SMB3"),
        };
        let config = dir.path().join("smb.conf");
        let text = format!(
            "[global]\nworkgroup = SITE\nnetbios name = XPDEV\nserver role = standalone server\nsmb ports = 445\n\
             interfaces = {address}/8\nbind interfaces only = yes\nserver min protocol = {least}\n\
             server max protocol = {most}\nntlm auth = ntlmv1-permitted\ndisable netbios = yes\nload printers = no\n\
             lock directory = {at}/lock\nstate directory = {at}/state\ncache directory = {at}/cache\n\
             private dir = {at}/private\npid directory = {at}/lock\nncalrpc dir = {at}/ncalrpc\n\
             passdb backend = tdbsam:{at}/private/passdb.tdb\nlog file = {at}/log\n\
             [C$]\npath = {}\nread only = no\n",
            device.root().join("drive_c").display()
        );
        fs::write(&config, text).expect("it is ours");
        fs::write(dir.path().join("password"), SMB_PASSWORD).expect("it is ours");
        let typed =
            format!("printf '%s\\n%s\\n' '{SMB_PASSWORD}' '{SMB_PASSWORD}' | smbpasswd -c {at}/smb.conf -s -a root");
        let made = Command::new("sh").args(["-c", &typed]).output().expect("smbpasswd runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut command = Command::new(smbd);
        command.args(["-F", "--no-process-group", "-s"]).arg(&config);
        let server = Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        let listens = || TcpStream::connect((address, 445)).is_ok();
        wait_until("smbd listens", Duration::from_secs(20), listens);
        let mut agent = Command::new("bash");
        agent.arg(peer_file("windows-agent.sh")).arg(device.root());
        let agent = Running::start(agent.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()));
        Some(Self { _server: server, _agent: agent, dir, address })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The file that the account's password is in.
    #[must_use]
    pub fn password_file(&self) -> PathBuf {
        self.dir.path().join("password")
    }
}
