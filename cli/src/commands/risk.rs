//! What the lint finds in a plan, as people and programs read it.

use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::{
    language::{Finding, ParsedPlan},
    model::Timestamp,
};

use crate::when;

/// A risk: of the plan alone, or as the controller tells it of the plan in its estate.
#[derive(Debug, Serialize)]
pub(crate) struct Risk {
    rule: String,
    weight: String,
    /// `None`: it is about the whole.
    wave: Option<String>,
    file: String,
    line: u32,
    column: u32,
    field: String,
    message: String,
    hint: String,
    /// Why the plan accepts it; `None`: it does not.
    pub(crate) accepted: Option<String>,
}

/// Those that need no estate.
pub(crate) fn risks(parsed: &ParsedPlan) -> Vec<Risk> {
    let of_day = parsed.warnings_on(Timestamp(when::now_ms()));
    parsed.warnings.iter().chain(&of_day).map(|finding| Risk::found(parsed, finding)).collect()
}

impl Risk {
    fn found(parsed: &ParsedPlan, finding: &Finding) -> Self {
        let problem = &finding.problem;
        let reason = finding.accepted.and_then(|at| parsed.plan.accept.get(at));
        Self {
            rule: finding.rule.word().to_owned(),
            weight: finding.rule.weight().word().to_owned(),
            wave: finding.wave.as_ref().map(ToString::to_string),
            file: problem.file.clone(),
            line: problem.line,
            column: problem.column,
            field: problem.field.clone(),
            message: problem.message.clone(),
            hint: problem.hint.clone(),
            accepted: reason.map(|accepted| accepted.reason.clone()),
        }
    }

    pub(crate) fn told(file: &str, finding: &v1::Finding) -> Self {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Self {
            rule: finding.rule.clone(),
            weight: finding.weight.clone(),
            wave: some(&finding.wave),
            file: file.to_owned(),
            line: finding.line,
            column: finding.column,
            field: finding.field.clone(),
            message: finding.message.clone(),
            hint: finding.hint.clone(),
            accepted: some(&finding.accepted),
        }
    }

    /// "warning[soak_short]: plan.yaml:3:5: waves[0].soak: …", or "accepted[soak_short]: … because …".
    pub(crate) fn words(&self) -> String {
        let mut place = self.file.clone();
        for number in [self.line, self.column].into_iter().take_while(|n| *n > 0) {
            place += &format!(":{number}");
        }
        if !self.field.is_empty() {
            place += &format!(": {}", self.field);
        }
        match &self.accepted {
            Some(reason) => format!("accepted[{}]: {place}: {}; because {reason}", self.rule, self.message),
            None if self.hint.is_empty() => format!("{}[{}]: {place}: {}", self.weight, self.rule, self.message),
            None => format!("{}[{}]: {place}: {}\n  hint: {}", self.weight, self.rule, self.message, self.hint),
        }
    }
}
