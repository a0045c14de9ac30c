//! `wardround node probe`: the site engineer's first question, did I write it right?

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use wardround_node::{
    config::{SiteFile, read_site_file},
    probes::{Looked, probe_site},
};
use wardround_rollout_plans::model::{Health, ProbeAnswer, SystemId};

use crate::{
    failure::{Exit, Failure},
    output::{self, table},
    session::Session,
};

/// Run the probes of a site file once, and show every answer
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround node probe --site /etc/wardround/site.yaml
  wardround node probe --site /etc/wardround/site.yaml pacs

Run it on the node's machine and as the node's account, since names, firewalls and files may differ elsewhere. Ends with 0
when every probe found its system healthy, and with 1 when one did not.")]
pub(super) struct Probe {
    /// The site's devices and clinical systems
    #[arg(long, value_name = "FILE")]
    site: PathBuf,
    /// One system of it only
    #[arg(value_name = "SYSTEM")]
    system: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    site: String,
    healthy: bool,
    systems: Vec<ShownSystem>,
}

#[derive(Serialize)]
struct ShownSystem {
    system: String,
    health: &'static str,
    probes: Vec<ShownProbe>,
}

#[derive(Serialize)]
struct ShownProbe {
    probe: String,
    ok: bool,
    at: String,
    took_ms: u32,
    answer: String,
}

impl Probe {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let site = read_site_file(&self.site).map_err(|error| Failure::new(error.to_string()).hint(error.hint))?;
        let systems = self.systems(&site)?;
        // For connections to devices; a running node has its own.
        let work = tempfile::tempdir().map_err(|error| Failure::file("write", &std::env::temp_dir(), &error))?;
        let found = probe_site(&site, &systems, work.path()).await;
        let answers = || found.iter().flat_map(|looked| &looked.answers);
        let healthy = answers().next().is_some() && answers().all(|answer| answer.ok);
        let shown = Shown {
            site: site.inventory.site.to_string(),
            healthy,
            systems: found.iter().map(ShownSystem::of).collect(),
        };
        output::emit(session.format(), &shown, || people(&shown))?;
        Ok(if healthy { Exit::Ok } else { Exit::Failure })
    }

    /// The systems that are asked for, in the order of the file.
    fn systems(&self, site: &SiteFile) -> Result<Vec<SystemId>, Failure> {
        let all: Vec<SystemId> = site.inventory.systems.iter().map(|system| system.id.clone()).collect();
        let Some(wanted) = &self.system else { return Ok(all) };
        let whole = format!("{}/{wanted}", site.inventory.site);
        let found = all.iter().find(|id| id.as_str() == wanted || id.as_str() == whole);
        found.map(|id| vec![id.clone()]).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(SystemId::as_str).collect();
            let hint = format!("it has {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") });
            Failure::with(Exit::NotFound, format!("the site file has no system {wanted:?}")).hint(hint)
        })
    }
}

impl ShownSystem {
    fn of(looked: &Looked) -> Self {
        let health = match looked.health() {
            Health::Healthy => "healthy",
            Health::Unhealthy => "unhealthy",
            Health::Unknown => "unknown",
        };
        Self { system: looked.system.to_string(), health, probes: looked.answers.iter().map(ShownProbe::of).collect() }
    }
}

impl ShownProbe {
    fn of(answer: &ProbeAnswer) -> Self {
        let at = Timestamp::from_millisecond(answer.at.0).unwrap_or_default();
        Self {
            probe: answer.probe.clone(),
            ok: answer.ok,
            at: at.to_string(),
            took_ms: answer.took_ms,
            answer: answer.answer.clone(),
        }
    }
}

fn people(shown: &Shown) -> String {
    let rows = shown.systems.iter().flat_map(|system| {
        let empty = system.probes.is_empty().then(|| {
            [&system.system, "unknown", "", "", "no probe is declared: its health is never known"].map(str::to_owned)
        });
        let probes = system.probes.iter().map(|probe| {
            let health = if probe.ok { "healthy" } else { "unhealthy" };
            let took = format!("{} ms", probe.took_ms);
            [system.system.clone(), health.to_owned(), took, probe.probe.clone(), probe.answer.clone()]
        });
        empty.into_iter().chain(probes).collect::<Vec<_>>()
    });
    table(["system", "found", "took", "probe", "answer"], rows)
}
