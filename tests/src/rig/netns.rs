//! Networks of machines on one machine: Linux network namespaces, joined by cables that can be pulled.
//!
//! **Invariant:** nothing is added to the machine's own network. Bridges and both ends of every cable stand in namespaces, so
//! all of it goes when the namespaces go.
//! **Invariant:** whatever runs in a namespace ends with it, also when a test panics; what a killed test left behind, the next
//! one takes away.

use std::{
    fs::{self, File},
    process::{Command, Output},
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{missing, require};

/// Where `ip netns` keeps them.
const PLACE: &str = "/run/netns";
/// What all of ours are called: this, the id of the process that made them, and a number.
const PREFIX: &str = "wardround-";
/// The bridge of a namespace that others are plugged into.
const BRIDGE: &str = "lan";

/// A machine's network, with everything that runs in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A machine that nothing is plugged into: it has its loopback and no more. `None` where `ip` is missing, or namespaces are
    /// not allowed.
    ///
    /// # Panics
    /// When that is so and `WARDROUND_REQUIRE_PEERS=1`.
    #[must_use]
    pub fn create() -> Option<Self> {
        static SWEPT: Once = Once::new();
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        require("ip")?;
        SWEPT.call_once(take_away_what_the_dead_left);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let machine = Self { name: format!("{PREFIX}{}-{number}", std::process::id()) };
        let made = run(&["netns", "add", &machine.name]);
        if !made.status.success() {
            missing(&format!("a network namespace (root makes one): {}", String::from_utf8_lossy(&made.stderr).trim()));
            return None;
        }
        machine.set(&["link", "set", "lo", "up"]);
        Some(machine)
    }

    /// Does `work` as a program of this machine does: what it starts, connects to and listens on is there. Threads and processes
    /// that it starts stay there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter_and_work = || {
            let namespace = File::open(format!("{PLACE}/{}", self.name)).expect("the namespace is there");
            // Of this thread alone, and of what it starts.
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("who made it may enter it");
            work()
        };
        std::thread::scope(|scope| {
            scope.spawn(enter_and_work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes it a place that others are plugged into, itself at this address ("10.1.0.1/24").
    pub fn switch(&self, address: &str) {
        self.set(&["link", "add", BRIDGE, "type", "bridge"]);
        self.set(&["addr", "add", address, "dev", BRIDGE]);
        self.set(&["link", "set", BRIDGE, "up"]);
    }

    /// A cable from here, where it is called `interface` and has this address, into the switch of `other`.
    pub fn plug(&self, interface: &str, address: &str, other: &Self) {
        let port = format!("to{}", self.number());
        self.set(&["link", "add", interface, "type", "veth", "peer", "name", &port, "netns", &other.name]);
        self.set(&["addr", "add", address, "dev", interface]);
        self.set(&["link", "set", interface, "up"]);
        other.set(&["link", "set", &port, "master", BRIDGE]);
        other.set(&["link", "set", &port, "up"]);
    }

    /// Pulls a cable: what was under way on it is lost, and no end is told.
    pub fn cut(&self, interface: &str) {
        self.set(&["link", "set", interface, "down"]);
    }

    /// Plugs it in again.
    pub fn mend(&self, interface: &str) {
        self.set(&["link", "set", interface, "up"]);
    }

    fn number(&self) -> &str {
        self.name.rsplit('-').next().unwrap_or_default()
    }

    fn set(&self, words: &[&str]) {
        let mut all = vec!["-n", &self.name];
        all.extend(words);
        let output = run(&all);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "ip {}: {said}", all.join(" "));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        take_away(&self.name);
    }
}

fn run(words: &[&str]) -> Output {
    Command::new("ip").args(words).output().expect("ip runs")
}

/// Ends what runs in a namespace, and the namespace. Best effort: it may panic in no destructor.
fn take_away(name: &str) {
    // What ends may have started something just before.
    for _ in 0..10 {
        let listed = run(&["netns", "pids", name]);
        let pids: Vec<i32> =
            String::from_utf8_lossy(&listed.stdout).split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let _ = run(&["netns", "del", name]);
}

/// A test that was killed could not clean up.
fn take_away_what_the_dead_left() {
    let Ok(entries) = fs::read_dir(PLACE) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok()).map(Pid::from_raw);
        if owner.is_some_and(|pid| kill(pid, None).is_err()) {
            take_away(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
    };

    use super::{super::wait_until, *};

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn machines_reach_each_other_while_the_cable_is_plugged_in() {
        let Some(here) = Namespace::create() else { return };
        let Some(there) = Namespace::create() else { return };
        here.switch("10.9.0.1/24");
        there.plug("wan", "10.9.0.2/24", &here);
        let listener = here.inside(|| TcpListener::bind("10.9.0.1:7000").unwrap());
        let connect = || {
            let address = ([10, 9, 0, 1], 7000).into();
            there.inside(|| TcpStream::connect_timeout(&address, Duration::from_millis(300)))
        };
        let mut stream = connect().unwrap();
        assert!(TcpListener::bind("10.9.0.1:7001").is_err(), "the address is nobody's outside");

        there.cut("wan");
        assert!(connect().is_err());
        there.mend("wan");
        wait_until("the cable carries again", LONG, || connect().is_ok());
        // What was connected before still is.
        stream.write_all(b"x").unwrap();
        let mut byte = [0];
        listener.accept().unwrap().0.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn what_runs_there_ends_with_it_also_in_a_panic() {
        let Some(machine) = Namespace::create() else { return };
        let name = machine.name.clone();
        let mut program = machine.inside(|| Command::new("sleep").arg("1000").spawn().unwrap());
        let died = std::thread::spawn(move || machine.inside(|| panic!("as a test does"))).join();
        assert!(died.is_err());
        assert!(!program.wait().unwrap().success());
        assert!(!fs::exists(format!("{PLACE}/{name}")).unwrap());
    }

    #[test]
    fn what_a_killed_test_left_is_taken_away() {
        let Some(machine) = Namespace::create() else { return };
        let mut dead = Command::new("true").spawn().unwrap();
        dead.wait().unwrap();
        let left = format!("{PREFIX}{}-1", dead.id());
        assert!(run(&["netns", "add", &left]).status.success());
        take_away_what_the_dead_left();
        let is_there = |name: &str| fs::exists(format!("{PLACE}/{name}")).unwrap();
        assert!(!is_there(&left) && is_there(&machine.name));
    }
}
