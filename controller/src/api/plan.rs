//! Previewing plans and drafting rollouts.

use std::sync::Arc;

use tonic::{Code, Status};
use wardround_proto::v1;
use wardround_rollout_plans::{
    describe::{at_once, gate_words, order_words, window_lines},
    engine::Event,
    language::{Finding, ParsedPlan, Problem, parse_plan},
    model::{
        Installer, Interpreter, Member, Patch, PatchId, Payload, Plan, Platform, RolloutId, Severity, Variant,
        VariantId, WavePlan,
    },
    resolve::{Resolution, document, resolve},
};
use wardround_signing::{Digest, document_bytes, read_document};

use super::{Api, blocking, convert, id, image, status};
use crate::{clock, core::Change, registry::RegistryEvent};

/// Longest plan, bytes: 50 waves with long device lists stay far below.
const PLAN_BYTES_MAX: usize = 1024 * 1024;
/// Longest file name for messages, bytes.
const FILE_NAME_BYTES_MAX: usize = 200;
/// Numbers tried for a rollout id that the controller chooses.
const ROLLOUTS_OF_A_PATCH_MAX: u32 = 10_000;
/// Members and left-out devices of a preview: a person reads it, and it must fit one answer.
const PREVIEW_MAX: usize = 20_000;

fn parse(yaml: &str, file_name: &str) -> Result<ParsedPlan, Status> {
    if yaml.len() > PLAN_BYTES_MAX {
        return Err(status::invalid("plan_yaml", format!("a plan has at most {PLAN_BYTES_MAX} bytes")));
    }
    if file_name.len() > FILE_NAME_BYTES_MAX {
        return Err(status::invalid("file_name", format!("a file name has at most {FILE_NAME_BYTES_MAX} bytes")));
    }
    let file_name = if file_name.is_empty() { "plan.yaml" } else { file_name };
    parse_plan(yaml, file_name).map_err(|problems| status::problems(&problems))
}

impl Api {
    pub(super) async fn preview(
        &self,
        by: &str,
        asked: &v1::PreviewPlanRequest,
    ) -> Result<v1::PreviewPlanResponse, Status> {
        let parsed = parse(&asked.plan_yaml, &asked.file_name)?;
        let patch = match asked.patch.as_str() {
            "" => any_patch(&parsed.plan)?,
            // A preview is for those who have yet to sign, so an unsigned patch will do.
            text => {
                let id: PatchId = id("patch", text)?;
                let found = self.core.read(|facts| facts.registry.patch(&id).map(|p| Arc::clone(&p.document.text)));
                let found = found.ok_or_else(|| status::not_found("patch", text, "see `wardround patch list`"))?;
                read_document(found.as_bytes()).map_err(Status::data_loss)?
            }
        };
        self.check_circle(&patch)?;
        let (parsed, patch, resolution) = self.resolve(parsed, patch).await?;
        let (parsed, resolution, forecast) = self.forecast(by, asked, parsed, patch, resolution).await?;
        let (forecast_json, no_forecast) = match forecast {
            Ok(json) => (json, String::new()),
            Err(why) => (String::new(), why),
        };
        let of_day = parsed.warnings_on(clock::now());
        let open = |finding: &&Finding| finding.accepted.is_none();
        let own = parsed.warnings.iter().chain(&of_day);
        let mut warnings: Vec<String> = own.clone().filter(open).map(|finding| warning(&finding.problem)).collect();
        warnings.extend(resolution.warnings.iter().filter(open).map(|finding| finding.problem.message.clone()));
        let findings = own.chain(&resolution.warnings).map(|found| finding(&parsed.plan, found)).collect();
        let total: usize = resolution.waves.iter().map(Vec::len).sum();
        if total > PREVIEW_MAX || resolution.left_out.len() > PREVIEW_MAX {
            warnings.push(format!("only the first {PREVIEW_MAX} of {total} devices are listed"));
        }
        let mut room = PREVIEW_MAX;
        let waves = parsed.plan.waves.iter().zip(&resolution.waves).enumerate();
        Ok(v1::PreviewPlanResponse {
            waves: waves
                .map(|(at, (wave, members))| preview_wave(&parsed.plan, at, wave, members, &mut room))
                .collect(),
            left_out: resolution
                .left_out
                .iter()
                .take(PREVIEW_MAX)
                .map(|(device, reason)| v1::LeftOut { device: device.to_string(), reason: reason.clone() })
                .collect(),
            warnings,
            windows: window_lines(&parsed.plan),
            findings,
            forecast_json,
            no_forecast,
        })
    }

    /// Resolves on a copy of the estate, away from the state's lock and the async threads: for a national estate it takes
    /// so long that a halt would have to wait.
    async fn resolve(&self, parsed: ParsedPlan, patch: Patch) -> Result<(ParsedPlan, Patch, Resolution), Status> {
        let (estate, kin) =
            self.core.read(|facts| (facts.engine.estate().clone(), facts.registry.kin(&facts.engine, &patch)));
        let (parsed, patch, resolved) = blocking(move || {
            let resolved = resolve(&parsed, &patch, &estate.knowing(kin.known()));
            (parsed, patch, resolved)
        })
        .await?;
        let resolution = resolved.map_err(|problems| status::problems(&problems))?;
        Ok((parsed, patch, resolution))
    }

    /// Patches that require one another: whatever the plan, no rollout could bring any of them first.
    fn check_circle(&self, patch: &Patch) -> Result<(), Status> {
        let Some(way) = self.core.read(|facts| facts.registry.circle(patch)) else { return Ok(()) };
        let steps = way.iter().zip(way.iter().cycle().skip(1));
        let steps: Vec<String> = steps.map(|(patch, required)| format!("{patch} requires {required}")).collect();
        let text = format!("{}: none of them could be the first on a device", steps.join(", "));
        Err(status::make(
            Code::FailedPrecondition,
            "CIRCLE",
            &text,
            "import one of them anew with what it truly requires",
        ))
    }

    pub(super) async fn create_rollout(
        &self,
        by: String,
        asked: &v1::CreateRolloutRequest,
    ) -> Result<RolloutId, Status> {
        let patch_id: PatchId = id("patch", &asked.patch)?;
        let parsed = parse(&asked.plan_yaml, &asked.file_name)?;
        let (record, patch) = self.ready_patch(&patch_id).await?;
        if let Some(only) = parsed.plan.patch.as_ref().filter(|only| **only != patch_id) {
            let text = format!("the plan is for patch {only} only, not for {patch_id}");
            return Err(status::invalid("patch", text));
        }
        self.check_circle(&patch)?;
        let _turn = self.drafting.lock().await;
        let rollout_id = match asked.id.as_str() {
            "" => self.choose_id(&patch_id)?,
            text => id("id", text)?,
        };
        let (parsed, patch, resolution) = self.resolve(parsed, patch).await?;
        let reporters = self.core.read(|facts| facts.registry.reporters());
        let own = record.document.digest;
        let rollout = document(rollout_id.clone(), &parsed.plan, &patch, own, &resolution, &reporters, clock::now());
        let bytes = document_bytes(&rollout).map_err(|e| {
            status::make(Code::InvalidArgument, "DOCUMENT", &e.to_string(), "list fewer devices by name")
        })?;
        let digest = Digest::of(&bytes);
        let text = convert::document("plan_yaml", bytes)?;
        let members: Vec<Member> = resolution.waves.into_iter().flatten().collect();
        let drafted =
            RegistryEvent::RolloutDrafted { id: rollout_id.clone(), patch: patch_id, document: text.into(), by };
        let created = Event::RolloutCreated { rollout: Box::new(rollout), digest, members, reporters };
        let change = Change::from(drafted).and(created);
        self.core.submit(change).await.map_err(|e| status::core(&e))?;
        self.images.recognise().await.map_err(|e| image::image(&e))?;
        Ok(rollout_id)
    }

    /// "kb4500331-1", "kb4500331-2" …
    fn choose_id(&self, patch: &PatchId) -> Result<RolloutId, Status> {
        let stem = patch.as_str().to_ascii_lowercase();
        let free = |id: &RolloutId| self.core.read(|facts| facts.registry.rollout(id).is_none());
        (1..=ROLLOUTS_OF_A_PATCH_MAX)
            .filter_map(|n| RolloutId::new(&format!("{stem}-{n}")).ok())
            .find(free)
            .ok_or_else(|| status::invalid("id", "no free id could be made from the patch's; give one"))
    }
}

fn finding(plan: &Plan, found: &Finding) -> v1::Finding {
    let problem = &found.problem;
    let reason = found.accepted.and_then(|at| plan.accept.get(at)).map(|accepted| accepted.reason.clone());
    v1::Finding {
        rule: found.rule.word().to_owned(),
        weight: found.rule.weight().word().to_owned(),
        wave: found.wave.as_ref().map(ToString::to_string).unwrap_or_default(),
        line: problem.line,
        column: problem.column,
        field: problem.field.clone(),
        message: problem.message.clone(),
        hint: problem.hint.clone(),
        accepted: reason.unwrap_or_default(),
    }
}

fn warning(problem: &Problem) -> String {
    format!("{}: {}", status::place(problem), status::sentence(problem))
}

/// Stands for a patch that fits every device, for a preview without one.
fn any_patch(plan: &Plan) -> Result<Patch, Status> {
    let wrong = |e: &dyn std::fmt::Display| Status::internal(e.to_string());
    let platform = Platform::new("cpe:2.3:*:*:*:*:*:*:*:*:*:*:*").map_err(|e| wrong(&e))?;
    let payload = Payload {
        file_name: "any".to_owned(),
        digest: Digest::of(b""),
        length: 0,
        chunks: Vec::new(),
        sizes: Vec::new(),
    };
    let variant = Variant::new(
        VariantId::new("any").map_err(|e| wrong(&e))?,
        vec![platform],
        payload,
        Installer::Script { interpreter: Interpreter::Sh },
    );
    Ok(Patch {
        id: plan.patch.clone().map_or_else(|| PatchId::new("any"), Ok).map_err(|e| wrong(&e))?,
        title: String::new(),
        cves: Vec::new(),
        severity: Severity::Low,
        guidance: String::new(),
        supersedes: Vec::new(),
        requires: Vec::new(),
        variants: vec![variant],
    })
}

fn preview_wave(plan: &Plan, at: usize, wave: &WavePlan, members: &[Member], room: &mut usize) -> v1::PreviewWave {
    let shown = members.len().min(*room);
    *room -= shown;
    v1::PreviewWave {
        name: wave.name.to_string(),
        members: members[..shown].iter().map(convert::member).collect(),
        gate: gate_words(plan, at),
        at_once: at_once(plan, at, members),
        soak_ms: i64::try_from(wave.soak.0).unwrap_or(i64::MAX),
        order: order_words(wave).unwrap_or_default(),
    }
}
