//! `wardround plan simulate`: what the plan would do, and how far a bad patch would come, in a modelled world.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use wardround_rollout_plans::{
    estate::Estate,
    language::{ParsedPlan, parse_plan},
    model::{DurationMs, Patch, PatchId, Timestamp},
    patch_file::parse_patch_file,
    resolve::resolve,
    simulate::{
        BadPatch, HORIZON_MS, Model, Prepared, Run, Shape, modelled_estate, parse_model, patch_of_manifest, run,
        some_patch,
    },
};

use super::{
    PLAN_BYTES_MAX, estate, failure,
    simulated::{Asked, Simulated},
};
use crate::{
    commands::patch,
    failure::{Exit, Failure},
    output,
    profile::read_text_max,
    session::Session,
    when,
};

/// Largest manifest and model file, bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Most runs of one command.
const SEEDS_MAX: u64 = 1_000_000;
/// Most devices of a modelled estate: more than twice the largest that wardround is designed for.
const DEVICES_MAX: usize = 4_000_000;

/// Run the plan in a modelled world: how long it takes, and how many devices a bad patch reaches
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround plan simulate plan.yaml --bad-patch \"5% of windows_xp for pacs after 2h\" --seeds 1000
  wardround plan simulate plan.yaml --seed 42 --seeds 1          one run, wave by wave
  wardround plan simulate plan.yaml --patch KB4500331 --estate controller

A bad patch is told as \"SHARE [of PLATFORM] [on MODEL] [for SYSTEM KIND] [after install|restart|TIME] [seen SHARE]\".
Everything is modelled but the engine, which is the real one. What the model assumes: docs/foresee.md.")]
pub(super) struct Simulate {
    /// The plan
    file: PathBuf,
    /// A patch manifest, or the id of a patch that the controller has; some patch if not given
    #[arg(long, value_name = "FILE|ID")]
    patch: Option<String>,
    /// Which estate
    #[arg(long, value_enum, default_value = "modelled")]
    estate: Which,
    /// Sites of the modelled estate
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    sites: u32,
    /// Devices of each of its sites
    #[arg(long, value_name = "M", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    devices_per_site: u32,
    /// A model file; without one the standard model
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// What the patch breaks; without it the patch breaks nothing
    #[arg(long, value_name = "TEXT")]
    bad_patch: Option<BadPatch>,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Number of runs, with seeds that follow upon each other
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=SEEDS_MAX))]
    seeds: u64,
    /// When the rollout is started, RFC 3339; now if not given
    #[arg(long, value_name = "TIME")]
    start: Option<jiff::Timestamp>,
    /// How long a run is followed at most
    #[arg(long, value_name = "TIME", default_value = "400d", value_parser = horizon)]
    horizon: DurationMs,
}

/// Which estate a plan is run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Which {
    /// One that the plan could have been written for.
    Modelled,
    /// The controller's, as its sites report it.
    Controller,
}

fn horizon(text: &str) -> Result<DurationMs, String> {
    let length = DurationMs::parse(text)?;
    let most = DurationMs(10 * HORIZON_MS);
    if length.0 > 0 && length <= most { Ok(length) } else { Err(format!("from 1ms to {most}")) }
}

impl Simulate {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let devices = self.sites as usize * self.devices_per_site as usize;
        if self.estate == Which::Modelled && devices > DEVICES_MAX {
            return Err(Failure::usage(format!("{devices} devices are too many"))
                .hint(format!("--sites times --devices-per-site is at most {DEVICES_MAX}")));
        }
        let name = self.file.display().to_string();
        let yaml = read_text_max(&self.file, PLAN_BYTES_MAX)?;
        let parsed = parse_plan(&yaml, &name).map_err(|problems| failure(&name, &problems))?;
        let model = self.model()?;
        let patch = self.patch(session, &parsed).await?;
        let real = match self.estate {
            Which::Modelled => None,
            Which::Controller => Some(estate::fetch(&session.connect().await?).await?),
        };
        let start = Timestamp(self.start.map_or_else(when::now_ms, jiff::Timestamp::as_millisecond));
        let shape = Shape { sites: self.sites as usize, devices_each: self.devices_per_site as usize };
        let (seeds, horizon) = ((self.seed, self.seeds), self.horizon.0);
        let (patch_id, plan_name) = (patch.id.to_string(), parsed.plan.name.clone());
        let work = move || {
            let prepared = prepare(&parsed, &patch, &model, real, shape, start)?;
            let runs = run_all(&prepared, &model, seeds, horizon)?;
            Ok::<_, Failure>((prepared.sites(), prepared.devices(), runs))
        };
        let worked = tokio::task::spawn_blocking(work).await;
        let (sites, devices, runs) = worked.map_err(|e| Failure::new(format!("the simulation stopped: {e}")))??;
        let asked = Asked {
            plan: plan_name,
            patch: patch_id,
            sites,
            devices,
            modelled_estate: self.estate == Which::Modelled,
            start_ms: start.0,
            bad_patch: self.bad_patch_text(),
            command: self.command(start),
        };
        let simulated = Simulated::new(asked, &runs);
        output::emit(session.format(), &simulated, || simulated.human())?;
        Ok(Exit::Ok)
    }

    fn model(&self) -> Result<Model, Failure> {
        let mut model = match &self.model {
            None => Model::standard(),
            Some(path) => {
                let name = path.display().to_string();
                let yaml = read_text_max(path, FILE_BYTES_MAX)?;
                parse_model(&yaml, &name).map_err(|problems| failure(&name, &problems))?
            }
        };
        if let Some(bad) = &self.bad_patch {
            model.bad_patch = Some(bad.clone());
        }
        Ok(model)
    }

    async fn patch(&self, session: &Session, parsed: &ParsedPlan) -> Result<Patch, Failure> {
        let Some(text) = &self.patch else {
            return some_patch(&parsed.plan).map_err(Failure::new);
        };
        let path = Path::new(text);
        if path.exists() || text.contains(['/', '\\']) || text.ends_with(".yaml") {
            return manifest(path);
        }
        let id: PatchId = text.parse().map_err(|e| {
            Failure::usage(format!("{text:?} is neither a file nor a patch: {e}"))
                .hint("--patch takes a manifest, or the id of a patch that the controller has")
        })?;
        let patch = session.connect().await?.patch(id.as_str()).await?;
        patch::document(&patch)
    }

    fn bad_patch_text(&self) -> Option<String> {
        self.bad_patch.as_ref().map(ToString::to_string)
    }

    /// The command that runs this again, apart from the seeds.
    fn command(&self, start: Timestamp) -> String {
        let mut words = vec!["wardround plan simulate".to_owned(), quoted(&self.file.display().to_string())];
        let mut flag = |name: &str, value: String| words.push(format!("--{name} {}", quoted(&value)));
        if let Some(patch) = &self.patch {
            flag("patch", patch.clone());
        }
        match self.estate {
            Which::Controller => flag("estate", "controller".to_owned()),
            Which::Modelled => {
                flag("sites", self.sites.to_string());
                flag("devices-per-site", self.devices_per_site.to_string());
            }
        }
        if let Some(model) = &self.model {
            flag("model", model.display().to_string());
        }
        if let Some(bad) = self.bad_patch_text() {
            flag("bad-patch", bad);
        }
        if self.horizon.0 != HORIZON_MS {
            flag("horizon", format!("{}ms", self.horizon.0));
        }
        flag("start", when::rfc3339(start.0).unwrap_or_default());
        words.join(" ")
    }
}

/// For a shell: as it is, or in single quotes.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A manifest; payload files are only measured, and need not be there.
fn manifest(path: &Path) -> Result<Patch, Failure> {
    let name = path.display().to_string();
    let yaml = read_text_max(path, FILE_BYTES_MAX)?;
    let file = parse_patch_file(&yaml, &name).map_err(|problems| failure(&name, &problems))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let length = |file: &String| std::fs::metadata(folder.join(file)).map_or(0, |found| found.len());
    let lengths: Vec<u64> = file.files().into_iter().map(|named| length(&named.file)).collect();
    Ok(patch_of_manifest(file, &lengths))
}

fn prepare(
    parsed: &ParsedPlan,
    patch: &Patch,
    model: &Model,
    real: Option<Estate>,
    shape: Shape,
    start: Timestamp,
) -> Result<Prepared, Failure> {
    let estate = match real {
        Some(estate) => estate,
        None => modelled_estate(&parsed.plan, patch, model, shape).map_err(Failure::new)?,
    };
    let resolution = resolve(parsed, patch, &estate).map_err(|problems| failure(&parsed.file_name, &problems))?;
    Prepared::new(&parsed.plan, patch, &resolution, &estate, model, start).map_err(Failure::new)
}

/// All seeds, on all processors; in the order of the seeds.
fn run_all(prepared: &Prepared, model: &Model, seeds: (u64, u64), horizon_ms: u64) -> Result<Vec<Run>, Failure> {
    let (first, count) = seeds;
    let bar = ProgressBar::new(count);
    let style = ProgressStyle::with_template("simulating {bar:30} {pos}/{len} runs, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let one = |seed: u64| {
        let done = run(prepared, model, seed, horizon_ms, &mut |_| true);
        bar.inc(1);
        done
    };
    let mut runs = Vec::new();
    std::thread::scope(|scope| {
        let part = |turn: u64| {
            (turn..count).step_by(usize::try_from(threads).unwrap_or(1)).map(|n| one(first.wrapping_add(n)))
        };
        let parts: Vec<_> =
            (0..threads.min(count)).map(|turn| scope.spawn(move || part(turn).collect::<Vec<_>>())).collect();
        for part in parts {
            runs.extend(part.join().into_iter().flatten());
        }
    });
    bar.finish_and_clear();
    let mut runs: Vec<Run> =
        runs.into_iter().collect::<Result<_, _>>().map_err(|_| Failure::new("a run was cut short"))?;
    runs.sort_by_key(|run| run.seed.wrapping_sub(first));
    if runs.len() as u64 == count {
        Ok(runs)
    } else {
        Err(Failure::new("a run has failed: this is a fault of wardround"))
    }
}
