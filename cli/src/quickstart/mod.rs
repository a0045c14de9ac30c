//! `wardround quickstart`: the whole thing on one machine, with real processes, real payloads and a real fault.
//!
//! A controller, six site nodes and six viewers run as processes of their own; everything is done through the API with
//! the code of the commands. At the end the devices are read from the outside.

mod children;
mod estate;
mod inspect;
mod patches;
mod people;
mod render;
mod round;
mod say;
mod viewer;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use wardround_controller::{InitOptions, OperatorRole};
use wardround_rollout_plans::model::DurationMs;

pub(crate) use viewer::{Viewer, serve_viewer};

use self::{
    children::Children,
    estate::{SITES, Site},
    people::People,
    round::{Outcome, Stage},
    say::Voice,
};
use crate::{
    client::Controller,
    commands::{init, site, stop_signal},
    failure::{Exit, Failure},
    output::{self, Format, count},
    pin,
    profile::Profile,
    session::Session,
};

/// How long processes may take to come up: a second or two, and much longer on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(90);
/// Between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Nodes report this often: people are watching.
const CHECK_IN_EVERY: &str = "300ms";

/// How fast the waves go.
#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Pace {
    /// For machines: a soak of 1.2 seconds
    Fast,
    /// For people who watch: a soak of 2 seconds
    #[default]
    Normal,
    /// For people who want to look around meanwhile: a soak of 10 seconds
    Slow,
}

/// Try everything on this machine: six sites, a patch that works, and one that breaks a viewer and is taken back
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround quickstart                          shows it, then keeps running so that you can look around
  wardround quickstart --exit --output json     for programs: exit 0 only if both rounds went as they should

Everything stands in one folder: --home DIR, which must be empty, or a temporary one that is removed at the end.")]
pub(crate) struct Quickstart {
    /// Stop at the end, instead of keeping everything running
    #[arg(long)]
    exit: bool,
    /// How fast the waves go
    #[arg(long, value_enum, default_value = "normal", value_name = "PACE")]
    pace: Pace,
}

#[derive(Serialize)]
struct Report<'a> {
    rollouts: &'a [Outcome],
}

impl Pace {
    fn soak_ms(self) -> u64 {
        match self {
            Self::Fast => 1_200,
            Self::Normal => 2_000,
            Self::Slow => 10_000,
        }
    }
}

impl Quickstart {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let home = Home::open(session.global.home.as_deref())?;
        let stop = CancellationToken::new();
        tokio::spawn(stop_signal(stop.clone(), false));
        let voice = Voice::new(session.format());
        let mut children = Children::new(home.path.join("logs"))?;
        let mut outcomes = Vec::new();
        let finished = tokio::select! {
            shown = Box::pin(self.show(&voice, &home.path, &mut children, &mut outcomes)) => Some(shown),
            () = stop.cancelled() => None,
        };
        if finished.is_some() && session.format() == Format::Json {
            // Also when a round went wrong: a program wants to know how.
            output::json(&Report { rollouts: &outcomes })?;
        }
        let ended = match finished {
            None => Ok(Exit::Interrupted),
            Some(Ok(())) if self.exit => Ok(Exit::Ok),
            Some(Ok(())) => tokio::select! {
                () = stop.cancelled() => Ok(Exit::Ok),
                failure = guard(&mut children) => Err(failure),
            },
            Some(Err(failure)) => Err(failure),
        };
        voice.say(&format!("stopping {}", children.words()));
        for name in children.stop().await {
            voice.say(&format!("{name} had to be killed"));
        }
        match ended {
            Ok(exit) => Ok(exit),
            Err(mut failure) => {
                let kept = home.keep();
                if failure.hint.is_empty() {
                    failure.hint = format!("the logs are in {}", kept.join("logs").display());
                }
                Err(failure)
            }
        }
    }

    async fn show(
        &self,
        voice: &Voice,
        home: &Path,
        children: &mut Children,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), Failure> {
        let ports = free_ports(2 + SITES.len())?;
        let (listen, console, viewers) = (ports[0], ports[1], &ports[2..]);
        voice.say(&format!("everything stands in {}", home.display()));
        let people = people::make(&home.join("people")).await?;
        voice.say("keys made for Ann Lee (release), Ben Fox (clinical) and Cy Poole (on-call)");
        let controller = start_controller(home, &people, listen, console, children).await?;
        voice.say(&format!("controller runs on {listen}, console on http://{console}/"));
        let sites = estate::build(home, viewers)?;
        start_sites(&controller, &sites, listen, children).await?;
        wait_for_estate(&controller, &sites, children).await?;
        let devices: u64 = sites.iter().map(|s| s.devices.len() as u64).sum();
        voice.say(&format!(
            "{} nodes enrolled and connected, with {} and {} healthy viewers, each a process of its own",
            sites.len(),
            count(devices, "device"),
            sites.len()
        ));
        let plan = patches::plan(home, self.pace.soak_ms())?;
        let operator = home.join("operator");
        let stage = Stage { controller: &controller, operator: &operator, people: &people, voice, plan: &plan };

        voice.plain("\nRound 1: a good patch");
        let good = patches::good(home)?;
        outcomes.push(stage.play(children, &good, "round-1").await?);
        expect(outcomes, "completed", &[("canary", "passed"), ("pilot", "passed"), ("full", "passed")])?;
        let held = inspect::all_hold(&sites, &good.version).await?;
        voice.say(&format!("checked on the devices: all {held} render with version {}", good.version));

        voice.plain("\nRound 2: a patch whose variant for Server 2003 breaks the viewer; no canary runs Server 2003");
        let bad = patches::bad(home)?;
        outcomes.push(stage.play(children, &bad, "round-2").await?);
        expect(outcomes, "rolled_back", &[("canary", "rolled_back"), ("pilot", "rolled_back"), ("full", "pending")])?;
        let traces = inspect::traces(&sites, bad.id.as_str(), &bad.version);
        if !traces.is_empty() {
            return Err(Failure::new(format!("traces of {} are left on the devices", bad.id)).details(traces));
        }
        let held = inspect::all_hold(&sites, &good.version).await?;
        voice.say(&format!(
            "checked on the devices: no trace of {}, all {held} render with version {} again, every viewer is well",
            bad.id, good.version
        ));
        if !self.exit {
            voice.plain(&what_next(home, console));
        }
        Ok(())
    }
}

/// The folder of a quickstart: given and kept, or temporary.
struct Home {
    path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Home {
    fn open(given: Option<&Path>) -> Result<Self, Failure> {
        let Some(given) = given else {
            let temporary = tempfile::Builder::new()
                .prefix("wardround-quickstart-")
                .tempdir()
                .map_err(|e| Failure::new(format!("no temporary folder can be made: {e}")))?;
            return Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) });
        };
        std::fs::create_dir_all(given).map_err(|e| Failure::file("make", given, &e))?;
        let path = std::path::absolute(given).map_err(|e| Failure::file("find", given, &e))?;
        let mut entries = std::fs::read_dir(&path).map_err(|e| Failure::file("read", &path, &e))?;
        if entries.next().is_some() {
            return Err(Failure::refused(format!("{} is not empty", path.display()))
                .hint("the quickstart needs a folder of its own: name another with --home, or leave it out"));
        }
        Ok(Self { path, temporary: None })
    }

    /// Leaves the folder where it is, for someone to look into.
    fn keep(self) -> PathBuf {
        match self.temporary {
            Some(temporary) => temporary.keep(),
            None => self.path,
        }
    }
}

/// Free ports of the loopback address. They are all held until all are found, so that no two are the same.
fn free_ports(number: usize) -> Result<Vec<SocketAddr>, Failure> {
    let find = || {
        let held = (0..number)
            .map(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
            .collect::<Result<Vec<_>, _>>()?;
        held.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, std::io::Error>>()
    };
    find().map_err(|e| Failure::new(format!("no free ports: {e}")))
}

fn args<const N: usize>(words: [&str; N]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

async fn start_controller(
    home: &Path,
    people: &People,
    listen: SocketAddr,
    console: SocketAddr,
    children: &mut Children,
) -> Result<Controller, Failure> {
    let (data, operator) = (home.join("controller"), home.join("operator"));
    let options = InitOptions {
        data: data.clone(),
        operator: operator.clone(),
        listen,
        console: Some(console),
        names: vec!["127.0.0.1".into(), "localhost".into()],
        operator_name: "quickstart".into(),
        operator_roles: OperatorRole::ALL.into(),
    };
    init::init(options).await?;
    // Who has just held the ceremony needs no paper to know its root.
    pin::keep(&operator, &people.begin(&data, &home.join("repository")).await?)?;
    people::sign_orders_as_on_call(&operator, &home.join("people"))?;
    let mut words = args(["controller", "run", "--stop-with-stdin", "--check-in-every", CHECK_IN_EVERY, "--data"]);
    words.push(data.into());
    children.start("controller", &words)?;
    let profile = Profile::load(&operator)?;
    let begun = Instant::now();
    loop {
        children.check()?;
        match Controller::connect(&profile).await {
            Ok(controller) => return Ok(controller),
            Err(failure) if begun.elapsed() > START_TIMEOUT => return Err(failure),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// Enrols a node for each site, and starts it and its viewer.
async fn start_sites(
    controller: &Controller,
    sites: &[Site],
    listen: SocketAddr,
    children: &mut Children,
) -> Result<(), Failure> {
    let endpoint = format!("https://{listen}");
    for site in sites {
        let token = site::make_token(controller, &site.id, DurationMs::from_secs(600)).await?.token;
        let mut words = args(["node", "enrol", "--controller", &endpoint, "--state"]);
        words.push(site.state.clone().into());
        children.finish(&format!("enrol-{}", site.id), &words, ("WARDROUND_TOKEN", &token)).await?;
        let viewer = site.viewer.to_string();
        let mut words = args(["quickstart-viewer", "--stop-with-stdin", "--listen", &viewer]);
        for (_, root) in &site.devices {
            words.extend(["--device".into(), root.clone().into()]);
        }
        children.start(&format!("viewer-{}", site.id), &words)?;
        let mut words = args(["node", "run", "--stop-with-stdin", "--check-in-every", CHECK_IN_EVERY, "--state"]);
        words.extend([site.state.clone().into(), "--site".into(), site.file.clone().into()]);
        children.start(&format!("node-{}", site.id), &words)?;
    }
    Ok(())
}

/// Waits until the controller has heard of everything and every viewer is healthy.
async fn wait_for_estate(controller: &Controller, sites: &[Site], children: &mut Children) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        children.check()?;
        let known = site::list(controller).await?;
        let mut missing = Vec::new();
        for site in sites {
            let up = known
                .iter()
                .any(|k| k.id == site.id.as_str() && k.connected && k.device_count as usize == site.devices.len());
            if !up {
                missing.push(format!("site {} is not up yet", site.id));
            } else if let Err(why) = inspect::ask_viewer(site.viewer).await {
                missing.push(format!("the viewer of {} is not well: {why}", site.id));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > START_TIMEOUT {
            return Err(Failure::new("the sites did not come up in time").details(missing));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits for a process that ends although nobody told it to.
async fn guard(children: &mut Children) -> Failure {
    loop {
        if let Err(failure) = children.check() {
            return failure;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A round that ends otherwise than it should is a failure, with what was expected.
fn expect(outcomes: &[Outcome], state: &str, waves: &[(&str, &str)]) -> Result<(), Failure> {
    let Some(outcome) = outcomes.last() else { return Ok(()) };
    let found: Vec<(&str, &str)> = outcome.waves.iter().map(|w| (w.name.as_str(), w.state.as_str())).collect();
    if outcome.state == state && found == waves {
        return Ok(());
    }
    let words = |list: &[(&str, &str)]| list.iter().map(|(n, s)| format!("{n} {s}")).collect::<Vec<_>>().join(", ");
    Err(Failure::new(format!(
        "the rollout of {} ended {} ({}), and should have ended {state} ({})",
        outcome.patch,
        outcome.state,
        words(&found),
        words(waves)
    )))
}

fn what_next(home: &Path, console: SocketAddr) -> String {
    let program = std::env::current_exe().map_or_else(|_| "wardround".into(), |p| p.display().to_string());
    let home = home.display();
    let w = format!("{program} --home {home}");
    format!(
        "\nEverything keeps running until Ctrl-C. In another terminal:\n\
         \n  W=\"{w}\"\n\
         \n  $W site list                                  # who is connected\
         \n  $W site show rx2                              # devices, clinical systems, alarms\
         \n  $W rollout status round-2                     # how it ended, and why\
         \n  $W rollout deployments round-2                # device by device\
         \n  $W audit show --rollout round-2               # who decided what\n\
         \nA rollout of your own, and the brake:\n\
         \n  A=\"--key {home}/people/ann.key --passphrase-file {home}/people/passphrase\"\
         \n  B=\"--key {home}/people/ben.key --passphrase-file {home}/people/passphrase\"\
         \n  $W rollout create --patch VIEW-2026-12 --plan {home}/plan.yaml --id mine\
         \n  $W rollout sign mine $A --yes && $W rollout sign mine $B --yes && $W rollout start mine $A\
         \n  $W rollout halt mine --reason \"trying it\"     # signed by Cy, on-call, whose key the profile names\
         \n  $W rollout status mine\n\
         \nThe console: http://{console}/"
    )
}
