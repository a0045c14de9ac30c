//! Accepted risks: their fields, their rules, and which finding each of them silences.

use std::collections::BTreeSet;

use wardround_signing::is_hidden;

use super::{
    Finding, Needs, ParsedPlan, Rule, did_you_mean,
    reader::Reader,
    tree::{Node, Value},
};
use crate::model::{ACCEPT_REASON_BYTES_MAX, ACCEPTED_MAX, Acceptance, COMBINATIONS_MAX, Combined, Plan};

/// Longest model or kind of clinical system, bytes.
const NAME_BYTES_MAX: usize = 120;

pub(super) const ACCEPT_FIELDS: [&str; 4] = ["rule", "reason", "wave", "combinations"];
pub(super) const COMBINED_FIELDS: [&str; 3] = ["platform", "model", "system"];

pub(super) fn accept(reader: &mut Reader, node: &Node, path: &str) -> Option<Vec<Acceptance>> {
    reader.list(node, path, |reader, node, path| {
        let fields = reader.fields(node, path, &ACCEPT_FIELDS)?;
        let rule = reader.required(&fields, "rule", "no_canary", |r, n, p| r.text(n, p, NAME_BYTES_MAX));
        let example = "the two devices of this trial are all that there are";
        let reason = reader.required(&fields, "reason", example, |r, n, p| r.line(n, p, ACCEPT_REASON_BYTES_MAX));
        let wave = reader.optional(&fields, "wave", |r, n, p| r.parsed(n, p, "the name of one of the waves below"));
        let combinations = reader.optional(&fields, "combinations", |r, n, p| r.some(n, p, combined));
        if fields.has("combinations") && combinations.is_none() {
            return None;
        }
        Some(Acceptance { rule: rule?, reason: reason?, wave, combinations: combinations.unwrap_or_default() })
    })
}

fn combined(reader: &mut Reader, node: &Node, path: &str) -> Option<Combined> {
    let fields = reader.fields(node, path, &COMBINED_FIELDS)?;
    let hint = "for example cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*";
    let platform = reader.optional(&fields, "platform", |r, n, p| r.parsed(n, p, hint));
    // An empty text says something here: a device without a model, or one that no system needs.
    let mut name = |name: &str| {
        reader.optional(&fields, name, |r, n, p| match &n.value {
            Value::Text(text) if text.is_empty() => Some(String::new()),
            _ => r.line(n, p, NAME_BYTES_MAX),
        })
    };
    let (model, system) = (name("model"), name("system"));
    let read = [("platform", platform.is_some()), ("model", model.is_some()), ("system", system.is_some())];
    if read.iter().any(|(name, read)| fields.has(name) && !read) {
        return None;
    }
    Some(Combined { platform, model, system })
}

/// Adds what is wrong with the accepted risks of a plan.
pub(super) fn check(reader: &mut Reader, plan: &Plan) {
    if plan.accept.len() > ACCEPTED_MAX {
        let message = format!("{} risks are accepted; at most {ACCEPTED_MAX} are allowed", plan.accept.len());
        reader.problem_at("accept", message, "mend some of them");
    }
    for (index, accepted) in plan.accept.iter().enumerate().take(ACCEPTED_MAX) {
        let field = |name: &str| format!("accept[{index}].{name}");
        let acceptable = Rule::ALL.iter().filter(|rule| rule.acceptable()).map(|rule| rule.word());
        match Rule::from_word(&accepted.rule) {
            Some(rule) if rule.acceptable() => {}
            Some(_) => reader.problem_at(&field("rule"), "this can't be accepted", "remove what is not needed"),
            None => {
                let hint = match did_you_mean(&accepted.rule, acceptable) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "`wardround plan lint` says the word of each rule in brackets".to_owned(),
                };
                reader.problem_at(&field("rule"), format!("there is no rule {:?}", super::shown(&accepted.rule)), hint);
            }
        }
        let reason = &accepted.reason;
        if reason.trim().is_empty() || reason.len() > ACCEPT_REASON_BYTES_MAX || reason.chars().any(is_hidden) {
            let message = format!("a reason is one plain line of 1 to {ACCEPT_REASON_BYTES_MAX} bytes");
            reader.problem_at(&field("reason"), message, "say why it is right here");
        }
        if let Some(wave) = accepted.wave.as_ref().filter(|name| plan.waves.iter().all(|wave| wave.name != **name)) {
            let meant = did_you_mean(wave.as_str(), plan.waves.iter().map(|wave| wave.name.as_str()));
            let hint = meant.map(|meant| format!("did you mean `{meant}`?")).unwrap_or_default();
            reader.problem_at(&field("wave"), format!("there is no wave {wave}"), hint);
        }
        check_combinations(reader, &field("combinations"), accepted);
    }
}

fn check_combinations(reader: &mut Reader, path: &str, accepted: &Acceptance) {
    let all = &accepted.combinations;
    if !all.is_empty() && accepted.rule != Rule::Unrepresented.word() {
        reader.problem_at(path, "combinations belong to the rule `unrepresented` only", "remove them");
    }
    if all.len() > COMBINATIONS_MAX {
        let message = format!("{} combinations; at most {COMBINATIONS_MAX} are allowed", all.len());
        reader.problem_at(path, message, "leave out what differs: what is absent fits all");
    }
    for (index, one) in all.iter().enumerate() {
        if *one == Combined::default() {
            let hint = "name a platform, a model or a system, or leave out `combinations`";
            reader.problem_at(&format!("{path}[{index}]"), "it fits every combination", hint);
        }
        let bad = |text: &&String| text.len() > NAME_BYTES_MAX || text.chars().any(is_hidden);
        if one.model.iter().chain(&one.system).any(|text| bad(&text)) {
            let message = format!("a plain line of at most {NAME_BYTES_MAX} bytes is wanted");
            reader.problem_at(&format!("{path}[{index}]"), message, "");
        }
    }
}

/// Whether this accepted risk is that of the finding.
fn covers(accepted: &Acceptance, finding: &Finding) -> bool {
    accepted.rule == finding.rule.word()
        && accepted.combinations.is_empty()
        && accepted.wave.as_ref().is_none_or(|wave| finding.wave.as_ref() == Some(wave))
}

/// Marks what the plan accepts, and adds which of its accepted risks are not there. `seen` says what could be looked at:
/// of a rule that needs more nothing is known yet.
pub(crate) fn settle(parsed: &ParsedPlan, mut findings: Vec<Finding>, seen: Needs) -> Vec<Finding> {
    let accept = &parsed.plan.accept;
    for finding in &mut findings {
        if finding.accepted.is_none() {
            finding.accepted = accept.iter().position(|accepted| covers(accepted, finding));
        }
    }
    // One that is wider than another must not make it look unused.
    let used: BTreeSet<usize> = findings
        .iter()
        .flat_map(|finding| {
            (0..accept.len()).filter(|at| finding.accepted == Some(*at) || covers(&accept[*at], finding))
        })
        .collect();
    for (index, accepted) in accept.iter().enumerate() {
        let looked_at = Rule::from_word(&accepted.rule).is_some_and(|rule| rule.needs() == seen);
        if looked_at && !used.contains(&index) {
            let message = format!("the risk {} is accepted and is not there", accepted.rule);
            let hint = "remove it: it would hide the risk on the day on which it comes";
            let problem = parsed.problem_at(&format!("accept[{index}]"), message, hint.to_owned());
            findings.push(Finding { rule: Rule::UnusedAcceptance, wave: None, problem, accepted: None });
        }
    }
    findings
}
