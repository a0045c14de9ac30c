//! The order within a wave: its fields, and the rules that hold for them together.

use std::collections::BTreeSet;

use wardround_signing::is_hidden;

use super::{reader::Reader, tree::Node};
use crate::model::{PRECEDENCE_VALUES_MAX, PRECEDENCES_MAX, Plan, Precedence, PrecedenceBy};

/// Longest value, bytes: as long as the name of a region.
pub(super) const VALUE_BYTES_MAX: usize = 120;
/// Longest key of a label, bytes.
pub(super) const LABEL_BYTES_MAX: usize = 63;

pub(super) fn order(reader: &mut Reader, node: &Node, path: &str) -> Option<Vec<Precedence>> {
    reader.some(node, path, |reader, node, path| {
        let fields = reader.fields(node, path, &["label", "by", "values"])?;
        reader.unless_problems(|reader| {
            let label = reader.optional(&fields, "label", |r, n, p| r.line(n, p, LABEL_BYTES_MAX));
            let by = reader.optional(&fields, "by", |r, n, p| r.word(n, p, &PrecedenceBy::ALL));
            let values =
                reader.optional(&fields, "values", |r, n, p| r.some(n, p, |r, n, p| r.line(n, p, VALUE_BYTES_MAX)));
            Some(Precedence { label, by, values: values.unwrap_or_default() })
        })
    })
}

/// Adds what is wrong with the orders of a plan.
pub(super) fn check(reader: &mut Reader, plan: &Plan) {
    for (index, wave) in plan.waves.iter().enumerate() {
        let path = format!("waves[{index}].order");
        if wave.order.len() > PRECEDENCES_MAX {
            let message = format!("the order has {} rules; at most {PRECEDENCES_MAX} are allowed", wave.order.len());
            reader.problem_at(&path, message, "nobody could foresee what more of them do together");
        }
        let mut seen = BTreeSet::new();
        for (at, rule) in wave.order.iter().enumerate() {
            let path = format!("{path}[{at}]");
            check_one(reader, &path, rule);
            if !seen.insert((&rule.label, rule.by)) {
                reader.problem_at(&path, "an earlier rule goes by the same", "join the two");
            }
            if rule.by == Some(PrecedenceBy::Hash) && at + 1 < wave.order.len() {
                let hint = "no two devices have the same hash: move it to the end";
                reader.problem_at(&path, "no rule after `hash` is ever asked", hint);
            }
        }
    }
}

fn check_one(reader: &mut Reader, path: &str, rule: &Precedence) {
    let values = format!("{path}.values");
    match (&rule.label, rule.by) {
        (None, None) => {
            let hint = "for example `label: criticality` with `values`, or `by: critical_last`";
            reader.problem_at(path, "neither `label` nor `by` is there", hint);
        }
        (Some(_), Some(_)) => {
            reader.problem_at(path, "`label` and `by` are both there", "write two rules, the more important one first");
        }
        (None, Some(by)) if !by.asks_for_values() && !rule.values.is_empty() => {
            reader.problem_at(&values, format!("`by: {}` takes no values", by.word()), "remove the line");
        }
        (None, Some(by)) if !by.asks_for_values() => {}
        _ if rule.values.is_empty() => {
            let hint = "add `values: [ … ]`, what goes first at the beginning";
            reader.problem_at(path, "`values` is missing: nothing says what goes first", hint);
        }
        _ => {}
    }
    if rule.values.len() > PRECEDENCE_VALUES_MAX {
        let message = format!("{} values; at most {PRECEDENCE_VALUES_MAX} are allowed", rule.values.len());
        reader.problem_at(&values, message, "whatever is not named comes last");
    }
    if rule.values.iter().collect::<BTreeSet<_>>().len() < rule.values.len() {
        reader.problem_at(&values, "a value is there twice", "keep one of the two");
    }
    // A plan that comes in a document was not read from a file.
    let texts = rule.values.iter().map(|text| (text, VALUE_BYTES_MAX));
    for (text, max) in texts.chain(rule.label.iter().map(|key| (key, LABEL_BYTES_MAX))) {
        if text.trim().is_empty() || text.len() > max || text.chars().any(is_hidden) {
            let message = format!("labels and values have 1 to {max} plain characters");
            reader.problem_at(path, message, "");
        }
    }
}
