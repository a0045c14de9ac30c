//! Whole steps: a device whose tool installs by itself. The adapter's verbs stand in for the node's launcher and its questions.

use std::time::Duration;

use serde_json::{Value, json};
use wardround_rollout_plans::model::{Detected, EVIDENCE_TEXT_MAX, Variant};

use super::{
    AdapterLink,
    protocol::{Answer, Broken, Verb},
};
use crate::{
    installers::Step,
    transports::{
        DeviceError, QUESTION_TIMEOUT,
        shell::{Look, StepState},
        tail,
    },
};

impl AdapterLink {
    /// Whether steps are the adapter's.
    ///
    /// # Errors
    /// Where it announces only some of the four verbs.
    pub(crate) async fn does_whole_steps(&self) -> Result<bool, DeviceError> {
        let described = self.described().await?;
        let steps: Vec<&str> =
            Verb::WHOLE_STEPS.into_iter().filter(|verb| described.has(*verb)).map(Verb::word).collect();
        if !steps.is_empty() && steps.len() < Verb::WHOLE_STEPS.len() {
            let detail = format!("of the verbs of whole steps, all four or none: it announces {}", steps.join(", "));
            return Err(DeviceError::AdapterRefused { verb: Verb::Describe.word(), detail });
        }
        Ok(!steps.is_empty())
    }

    /// Begins a step, unless it has begun or was withdrawn under this operation, and says how it stands. It goes on without the
    /// call.
    pub(crate) async fn begin(
        &self,
        op: &str,
        step: Step,
        variant: &Variant,
        timeout: Duration,
    ) -> Result<StepState, DeviceError> {
        let args = json!({
            "begin": true,
            "file": variant.payload.file_name,
            "installer": variant.installer,
            "timeout_ms": u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
        });
        self.stands(verb_of(step), op, &args).await
    }

    /// How a step stands.
    pub(crate) async fn step_state(&self, op: &str, step: Step, look: Look) -> Result<StepState, DeviceError> {
        match look {
            Look::Only => self.stands(verb_of(step), op, &json!({"begin": false})).await,
            Look::Withdraw => self.stands(Verb::Withdraw, op, &json!({"step": step.word()})).await,
        }
    }

    /// Whether the patch is there, in the tool's words.
    pub(crate) async fn detect(&self, op: &str, variant: &Variant) -> Result<Detected, DeviceError> {
        let args = json!({
            "file": variant.payload.file_name,
            "installer": variant.installer,
            "detection": variant.detection,
        });
        let answer = self.ask(Verb::Detect, op, &args, QUESTION_TIMEOUT).await?;
        read_detected(&answer).map_err(|broken| Self::broken(Verb::Detect, broken))
    }

    async fn stands(&self, verb: Verb, op: &str, args: &Value) -> Result<StepState, DeviceError> {
        let answer = self.ask(verb, op, args, QUESTION_TIMEOUT).await?;
        read_state(&answer).map_err(|broken| Self::broken(verb, broken))
    }
}

pub(super) fn verb_of(step: Step) -> Verb {
    match step {
        Step::Install => Verb::Install,
        Step::Uninstall => Verb::Uninstall,
    }
}

fn read_state(answer: &Answer) -> Result<StepState, Broken> {
    Ok(match answer.text("state")? {
        "none" => StepState::None,
        "running" => StepState::Running,
        "dead" => StepState::Dead,
        "withdrawn" => StepState::Withdrawn,
        "done" => StepState::Done(answer.exit_code()?),
        other => return Err(Broken::BadResult(format!("state is none of the words: {:?}", tail(other, 40)))),
    })
}

fn read_detected(answer: &Answer) -> Result<Detected, Broken> {
    let words = |name: &str| Ok::<_, Broken>(tail(answer.text(name)?.trim(), EVIDENCE_TEXT_MAX).to_owned());
    Ok(match answer.text("detected")? {
        "present" => Detected::Present { proof: words("proof")? },
        "absent" => Detected::Absent,
        "unknown" => Detected::Unknown { why: words("why")? },
        other => return Err(Broken::BadResult(format!("detected is none of the words: {:?}", tail(other, 40)))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transports::adapter::protocol::CallOutcome;

    fn answer(fields: Value) -> Answer {
        let Value::Object(fields) = fields else { panic!("{fields}") };
        Answer { outcome: CallOutcome::Ok, detail: String::new(), fields }
    }

    #[test]
    fn a_state_is_a_word_and_done_has_its_code() {
        for (fields, state) in [
            (json!({"state": "none"}), StepState::None),
            (json!({"state": "running", "exit_code": 0}), StepState::Running),
            (json!({"state": "done", "exit_code": -2_145_124_329}), StepState::Done(0x8024_0017)),
            (json!({"state": "withdrawn"}), StepState::Withdrawn),
            (json!({"state": "dead"}), StepState::Dead),
        ] {
            assert_eq!(read_state(&answer(fields)).unwrap(), state);
        }
        // Nothing that is not said counts as success.
        for bad in [json!({}), json!({"state": "ok"}), json!({"state": "done"}), json!({"state": 0})] {
            assert!(read_state(&answer(bad.clone())).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_said_clearly_is_neither_there_nor_missing() {
        let present = read_detected(&answer(json!({"detected": "present", "proof": " listed "}))).unwrap();
        assert_eq!(present, Detected::Present { proof: "listed".into() });
        assert_eq!(read_detected(&answer(json!({"detected": "absent"}))).unwrap(), Detected::Absent);
        for bad in [json!({}), json!({"detected": true}), json!({"detected": "present"}), json!({"detected": "no"})] {
            assert!(read_detected(&answer(bad.clone())).is_err(), "{bad}");
        }
    }
}
