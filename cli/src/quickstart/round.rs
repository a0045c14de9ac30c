//! One round: a patch from import to the end of its rollout, told as it happens.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::model::{Command, RolloutId, WaveName};

use super::{children::Children, patches::Written, people::People, say::Voice};
use crate::{
    client::{Controller, call},
    commands::{
        patch,
        plan::read_plan,
        rollout::{self, order::submit, shown},
    },
    failure::Failure,
    output::count,
};

/// How long a round may take before the quickstart gives up. It takes a tenth of that; a busy machine takes longer.
const ROUND_MAX: Duration = Duration::from_secs(200);
/// The node's word for "a clinical system got worse": it ends the reason of a rollback that the node began by itself.
const CLINICAL_SYSTEM: &str = "clinical_system";
/// Between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a round came to.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) patch: String,
    pub(super) state: String,
    pub(super) waves: Vec<Wave>,
    pub(super) duration_s: f64,
}

/// A wave at the end.
#[derive(Debug, Serialize)]
pub(super) struct Wave {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) deployments: BTreeMap<String, u64>,
}

/// Everything that a round needs.
pub(super) struct Stage<'a> {
    pub(super) controller: &'a Controller,
    /// The operator's profile.
    pub(super) operator: &'a Path,
    pub(super) people: &'a People,
    pub(super) voice: &'a Voice,
    pub(super) plan: &'a Path,
}

impl Stage<'_> {
    /// Plays a round to the end of its rollout.
    pub(super) async fn play(&self, children: &mut Children, patch: &Written, id: &str) -> Result<Outcome, Failure> {
        let begun = Instant::now();
        self.release(patch).await?;
        let rollout_id = RolloutId::new(id).map_err(|e| Failure::new(e.to_string()))?;
        self.preview(patch).await?;
        rollout::create(self.controller, &patch.id, read_plan(self.plan)?, Some(&rollout_id)).await?;
        rollout::sign(self.controller, self.operator, id, &self.people.release).await?;
        rollout::sign(self.controller, self.operator, id, &self.people.clinical).await?;
        self.voice.say(&format!("rollout {id}: plan resolved, its device lists checked and signed by Ann and Ben"));
        submit(self.controller, &self.people.release, id, &Command::Start, "quickstart").await?;
        self.voice.say("Ann starts it");
        let followed = tokio::time::timeout(ROUND_MAX, self.follow(children, id)).await;
        let rollout = followed.map_err(|_| {
            Failure::new(format!("rollout {id} did not end within {} s", ROUND_MAX.as_secs()))
                .hint(format!("`wardround rollout status {id}` says what it waits for"))
        })??;
        Ok(Outcome {
            patch: rollout.patch.clone(),
            state: rollout.state.clone(),
            waves: rollout
                .waves
                .iter()
                .map(|w| Wave { name: w.name.clone(), state: w.state.clone(), deployments: shown::counts(w) })
                .collect(),
            duration_s: (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        })
    }

    /// Imports the patch and has both roles sign it.
    async fn release(&self, patch: &Written) -> Result<(), Failure> {
        let imported = patch::import(self.controller, &patch.manifest).await?;
        self.voice.say(&format!(
            "patch {} imported: {} ({} of payload sent)",
            patch.id,
            patch.title,
            count(imported.sent, "chunk")
        ));
        patch::sign(self.controller, self.operator, patch.id.as_str(), &self.people.release).await?;
        patch::sign(self.controller, self.operator, patch.id.as_str(), &self.people.clinical).await?;
        self.voice.say(
            "signed by Ann Lee (release) and Ben Fox (clinical); the quickstart holds both keys and signs for them",
        );
        Ok(())
    }

    async fn preview(&self, patch: &Written) -> Result<(), Failure> {
        let plan = read_plan(self.plan)?;
        let request = v1::PreviewPlanRequest {
            plan_yaml: plan.yaml,
            file_name: plan.name,
            patch: patch.id.to_string(),
            ..Default::default()
        };
        let preview = self.controller.rollouts().preview_plan(call(request)).await?.into_inner();
        let waves: Vec<String> =
            preview.waves.iter().map(|w| format!("{} {}", w.name, count(w.members.len(), "device"))).collect();
        self.voice.say(&format!("preview: {}", waves.join(" → ")));
        // What it says of the plan itself is its pace, which is for people who watch.
        let place = self.plan.display().to_string();
        for warning in preview.warnings.iter().filter(|w| !w.starts_with(&place)) {
            self.voice.say(&format!("preview warns: {warning}"));
        }
        Ok(())
    }

    /// Follows to the end; approves what the plan wants approved.
    async fn follow(&self, children: &mut Children, id: &str) -> Result<v1::Rollout, Failure> {
        let request = v1::WatchRolloutRequest { id: id.to_owned() };
        let mut stream = self.controller.rollouts().watch_rollout(request).await?.into_inner();
        let mut teller = Teller::new(self.voice);
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let change = tokio::select! {
                change = stream.message() => change?.ok_or_else(|| Failure::new("the controller closed the stream"))?,
                _ = look.tick() => {
                    children.check()?;
                    continue;
                }
            };
            let Some(rollout) = change.rollout else { continue };
            // Devices before the wave that they decide.
            teller.deployments(&rollout::all_deployments(self.controller, id, "", "").await?);
            for alarm in &change.alarms {
                self.voice.say(&format!("ALARM for on-call: {}", alarm.text));
            }
            teller.rollout(&rollout);
            if shown::has_ended(&rollout) {
                return Ok(rollout);
            }
            for wave in rollout.waves.iter().filter(|w| w.state == "awaiting_approval") {
                self.approve(id, &wave.name).await?;
            }
        }
    }

    async fn approve(&self, id: &str, wave: &str) -> Result<(), Failure> {
        let name = WaveName::new(wave).map_err(|e| Failure::new(e.to_string()))?;
        submit(self.controller, &self.people.clinical, id, &Command::Approve { wave: name }, "quickstart").await?;
        self.voice.say(&format!("wave {wave} needed a clinical approval: Ben has looked and approves"));
        Ok(())
    }
}

/// Says what is new, once.
struct Teller<'a> {
    voice: &'a Voice,
    waves: HashMap<String, String>,
    devices: HashMap<String, String>,
    state: String,
}

impl<'a> Teller<'a> {
    fn new(voice: &'a Voice) -> Self {
        Self { voice, waves: HashMap::new(), devices: HashMap::new(), state: "running".into() }
    }

    /// One sentence for all devices that came to the same state since the last look.
    fn deployments(&mut self, deployments: &[v1::Deployment]) {
        let mut news: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for deployment in deployments {
            let known = self.devices.insert(deployment.device.clone(), deployment.state.clone());
            if known.as_ref() == Some(&deployment.state) {
                continue;
            }
            // The node's own decision is told with its reason; what follows from an order needs none.
            let own = deployment.reason.ends_with(&format!("({CLINICAL_SYSTEM})"));
            let (words, with_reason) = match deployment.state.as_str() {
                "soaking" => ("patched, now watched", false),
                "succeeded" => ("still well after the soak", false),
                "skipped" => ("skipped", true),
                "failed" => ("failed", true),
                "rolling_back" if own => ("its node takes the patch back by itself", true),
                "rolling_back" => ("to be taken back", false),
                "rolled_back" => ("taken back", false),
                "rollback_failed" => ("COULD NOT BE TAKEN BACK", true),
                "unknown" => ("no word from the node", true),
                _ => continue,
            };
            let reason = if with_reason { deployment.reason.as_str() } else { "" };
            news.entry((words, reason)).or_default().push(&deployment.device);
        }
        for ((words, reason), devices) in news {
            let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            self.voice.say(&format!("  {}: {words}{why}", devices.join(", ")));
        }
    }

    fn rollout(&mut self, rollout: &v1::Rollout) {
        for wave in rollout.waves.iter().filter(|w| w.state != "pending") {
            if self.waves.insert(wave.name.clone(), wave.state.clone()).as_ref() == Some(&wave.state) {
                continue;
            }
            // The alarm has told already why a wave is taken back.
            let gate = match wave.state.as_str() {
                "passed" | "failed" => format!(" ({})", wave.gate.trim_start_matches("passed: ")),
                _ => String::new(),
            };
            self.voice.say(&format!("wave {}: {}{gate}", wave.name, shown::words(&wave.state)));
        }
        if self.state != rollout.state {
            self.state.clone_from(&rollout.state);
            self.voice.say(&format!("rollout {}: {}", rollout.id, shown::words(&rollout.state)));
        }
    }
}
