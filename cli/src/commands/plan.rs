//! `wardround plan`: look at a plan before anything is signed.

mod estate;
mod foreseen;
mod simulate;
mod simulated;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::{
    describe::window_lines,
    language::{ParsedPlan, Problem, parse_plan, plan_schema},
    model::PatchId,
    simulate::Forecast,
};

use super::risk::{Risk, risks};
use crate::{
    client::call,
    failure::{Exit, Failure},
    output::{self, Format, count},
    profile::read_text_max,
    session::Session,
    when,
};

/// Largest plan file, bytes. Fifty waves with every field take some tens of kilobytes.
const PLAN_BYTES_MAX: u64 = 1024 * 1024;

/// Check a plan, and see what it would do
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(subcommand)]
    command: PlanCommand,
}

#[derive(Debug, Subcommand)]
enum PlanCommand {
    Lint(Lint),
    Preview(Preview),
    Schema(Schema),
    Simulate(Box<simulate::Simulate>),
}

/// Check a plan file; exit 1 when it has problems. Without --estate or --patch this needs no controller
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  wardround plan lint plan.yaml\n  wardround plan lint plan.yaml --patch KB4500331 --strict"
)]
struct Lint {
    /// The plan
    file: PathBuf,
    /// Also ask the controller what the plan meets in the present estate
    #[arg(long)]
    estate: bool,
    /// As --estate, with the devices that this patch is for
    #[arg(long, value_name = "ID")]
    patch: Option<PatchId>,
    /// Exit 1 for every risk that the plan does not accept
    #[arg(long)]
    strict: bool,
}

/// Print the JSON Schema of plans, for editors
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround plan schema > plan.schema.json")]
struct Schema {}

/// See which devices each wave would take and when, against the present estate; nothing is stored
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround plan preview plan.yaml --patch KB4500331
  wardround plan preview plan.yaml --patch KB4500331 --svg plan.svg

How the times come about: docs/foresee.md.")]
struct Preview {
    /// The plan
    file: PathBuf,
    /// Patch id
    #[arg(long, value_name = "ID")]
    patch: PatchId,
    /// List every device
    #[arg(long)]
    devices: bool,
    /// Write the timeline as a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// When the rollout would be started, RFC 3339; now if not given
    #[arg(long, value_name = "TIME")]
    start: Option<jiff::Timestamp>,
}

#[derive(Serialize)]
struct ShownProblem<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    field: &'a str,
    message: &'a str,
    hint: &'a str,
}

#[derive(Serialize)]
struct Linted<'a> {
    ok: bool,
    /// When installs may begin, in words.
    windows: Vec<String>,
    problems: Vec<ShownProblem<'a>>,
    /// Risks that the plan does not accept.
    warnings: Vec<&'a Risk>,
    /// Risks that it accepts.
    accepted: Vec<&'a Risk>,
}

#[derive(Serialize)]
struct Previewed {
    waves: Vec<PreviewedWave>,
    windows: Vec<String>,
    left_out: Vec<LeftOut>,
    warnings: Vec<String>,
    findings: Vec<Risk>,
    forecast: Option<Forecast>,
    no_forecast: Option<String>,
}

#[derive(Serialize)]
struct PreviewedWave {
    name: String,
    devices: Vec<PreviewedDevice>,
    gate: String,
    at_once: u64,
    soak_ms: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    order: String,
}

#[derive(Serialize)]
struct PreviewedDevice {
    device: String,
    variant: String,
}

#[derive(Serialize)]
struct LeftOut {
    device: String,
    reason: String,
}

impl Plan {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            PlanCommand::Lint(lint) => lint.run(session).await,
            PlanCommand::Preview(preview) => preview.run(session).await,
            PlanCommand::Schema(Schema {}) => {
                // By line, so that a change of the published file can be read.
                output::text(&format!("{:#}", plan_schema()))?;
                Ok(Exit::Ok)
            }
            PlanCommand::Simulate(simulate) => simulate.run(session).await,
        }
    }
}

impl Lint {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let name = self.file.display().to_string();
        let yaml = read_text_max(&self.file, PLAN_BYTES_MAX)?;
        let parsed = match parse_plan(&yaml, &name) {
            Ok(parsed) => parsed,
            Err(problems) if session.format() == Format::Json => {
                output::json(&Linted {
                    ok: false,
                    windows: Vec::new(),
                    problems: shown(&problems),
                    warnings: Vec::new(),
                    accepted: Vec::new(),
                })?;
                return Ok(Exit::Failure);
            }
            Err(problems) => return Err(failure(&name, &problems)),
        };
        let risks = if self.estate || self.patch.is_some() {
            let controller = session.connect().await?;
            let patch = self.patch.as_ref().map(ToString::to_string).unwrap_or_default();
            let request =
                v1::PreviewPlanRequest { plan_yaml: yaml, file_name: name.clone(), patch, ..Default::default() };
            let preview = controller.rollouts().preview_plan(call(request)).await?.into_inner();
            preview.findings.iter().map(|finding| Risk::told(&name, finding)).collect()
        } else {
            risks(&parsed)
        };
        let (accepted, warnings): (Vec<&Risk>, Vec<&Risk>) = risks.iter().partition(|risk| risk.accepted.is_some());
        let strict = self.strict && !warnings.is_empty();
        let linted =
            Linted { ok: !strict, windows: window_lines(&parsed.plan), problems: Vec::new(), warnings, accepted };
        output::emit(session.format(), &linted, || good(&name, &parsed, &risks))?;
        Ok(if strict { Exit::Failure } else { Exit::Ok })
    }
}

fn good(name: &str, parsed: &ParsedPlan, risks: &[Risk]) -> String {
    let plan = &parsed.plan;
    let waves: Vec<&str> = plan.waves.iter().map(|w| w.name.as_str()).collect();
    let mut text = format!("{name}: plan {:?} is well formed; waves: {}", plan.name, waves.join(" → "));
    for line in window_lines(plan) {
        text += &format!("\n{line}");
    }
    for risk in risks {
        text += &format!("\n{}", risk.words());
    }
    text
}

impl Preview {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let plan = read_plan(&self.file)?;
        let plan_name = plan.title.clone();
        let request = v1::PreviewPlanRequest {
            plan_yaml: plan.yaml,
            file_name: plan.name,
            patch: self.patch.to_string(),
            with_forecast: true,
            start_ms: self.start.map_or(0, jiff::Timestamp::as_millisecond),
        };
        let preview = controller.rollouts().preview_plan(call(request)).await?.into_inner();
        let forecast = foreseen::read(&preview)?;
        if let Some(path) = &self.svg {
            foreseen::draw(path, &plan_name, self.patch.as_str(), forecast.as_ref(), &preview.no_forecast)?;
        }
        let file = self.file.display().to_string();
        let previewed = Previewed::new(&file, &preview, forecast);
        output::emit(session.format(), &previewed, || self.human(&preview, previewed.forecast.as_ref()))?;
        Ok(Exit::Ok)
    }

    fn human(&self, preview: &v1::PreviewPlanResponse, forecast: Option<&Forecast>) -> String {
        let rows = preview.waves.iter().map(|w| {
            [
                w.name.clone(),
                w.members.len().to_string(),
                w.at_once.to_string(),
                when::length(w.soak_ms),
                w.gate.clone(),
            ]
        });
        let mut text = output::table(["wave", "devices", "at once", "soak", "gate"], rows);
        for wave in preview.waves.iter().filter(|wave| !wave.order.is_empty()) {
            text += &format!("\nwithin {}: {}", wave.name, wave.order);
        }
        for line in &preview.windows {
            text += &format!("\n{line}");
        }
        match forecast {
            Some(forecast) => text += &foreseen::human(forecast),
            None if !preview.no_forecast.is_empty() => text += &format!("\n\nno times: {}", preview.no_forecast),
            None => {}
        }
        if self.devices {
            let members = preview.waves.iter().flat_map(|w| &w.members);
            let rows = members.map(|m| [m.wave.clone(), m.device.clone(), m.variant.clone()]);
            text += "\n\n";
            text += &output::table(["wave", "device", "variant"], rows);
        }
        if !preview.left_out.is_empty() {
            text += &format!("\n\nleft out: {}", count(preview.left_out.len(), "device"));
            for left in &preview.left_out {
                text += &format!("\n  {}: {}", left.device, left.reason);
            }
        }
        for finding in &preview.findings {
            text += &format!("\n{}", Risk::told(&self.file.display().to_string(), finding).words());
        }
        text
    }
}

impl Previewed {
    fn new(file: &str, preview: &v1::PreviewPlanResponse, forecast: Option<Forecast>) -> Self {
        let device = |m: &v1::Member| PreviewedDevice { device: m.device.clone(), variant: m.variant.clone() };
        Self {
            waves: preview
                .waves
                .iter()
                .map(|w| PreviewedWave {
                    name: w.name.clone(),
                    devices: w.members.iter().map(device).collect(),
                    gate: w.gate.clone(),
                    at_once: w.at_once,
                    soak_ms: w.soak_ms,
                    order: w.order.clone(),
                })
                .collect(),
            windows: preview.windows.clone(),
            left_out: preview
                .left_out
                .iter()
                .map(|l| LeftOut { device: l.device.clone(), reason: l.reason.clone() })
                .collect(),
            warnings: preview.warnings.clone(),
            findings: preview.findings.iter().map(|finding| Risk::told(file, finding)).collect(),
            forecast,
            no_forecast: Some(preview.no_forecast.clone()).filter(|why| !why.is_empty()),
        }
    }
}

/// A plan file that was read and linted.
pub(crate) struct PlanFile {
    pub(crate) yaml: String,
    /// For messages.
    pub(crate) name: String,
    title: String,
    risks: Vec<Risk>,
}

impl PlanFile {
    /// Tells a person what a careful reader would ask about.
    pub(crate) fn warn(&self) {
        for risk in self.risks.iter().filter(|risk| risk.accepted.is_none()) {
            eprintln!("{}", risk.words());
        }
    }
}

/// Reads a plan and lints it here, where its lines are.
pub(crate) fn read_plan(path: &Path) -> Result<PlanFile, Failure> {
    let name = path.display().to_string();
    let yaml = read_text_max(path, PLAN_BYTES_MAX)?;
    match parse_plan(&yaml, &name) {
        Ok(parsed) => Ok(PlanFile { yaml, name, risks: risks(&parsed), title: parsed.plan.name }),
        Err(problems) => Err(failure(&name, &problems)),
    }
}

/// "plan.yaml:3:5: waves[0].soak: …".
pub(crate) fn problem_line(problem: &Problem) -> String {
    let mut text = problem.file.clone();
    if problem.line > 0 {
        text += &format!(":{}", problem.line);
        if problem.column > 0 {
            text += &format!(":{}", problem.column);
        }
    }
    if !problem.field.is_empty() {
        text += &format!(": {}", problem.field);
    }
    text + ": " + &problem.message
}

/// All problems, each with its place and its hint.
pub(crate) fn failure(name: &str, problems: &[Problem]) -> Failure {
    let lines = problems.iter().map(|p| match p.hint.as_str() {
        "" => problem_line(p),
        hint => format!("{}\n  hint: {hint}", problem_line(p)),
    });
    Failure::new(format!("{name} has {}", count(problems.len(), "problem")))
        .details(lines.collect())
        .hint("mend the lines above and run it again")
}

fn shown(problems: &[Problem]) -> Vec<ShownProblem<'_>> {
    problems
        .iter()
        .map(|p| ShownProblem {
            file: &p.file,
            line: p.line,
            column: p.column,
            field: &p.field,
            message: &p.message,
            hint: &p.hint,
        })
        .collect()
}
