//! The plan language as a JSON Schema (2020-12), for editors: completion, hints, and most mistakes while they are made.
//!
//! Lists of words and limits are the reader's own. That the groups, their fields and what is required are the same as in
//! the reader, is tested below; what a schema can't say (names that must exist, sums of hours) only the lint says.

use serde_json::{Map, Value, json};

use super::{
    Rule,
    order::{LABEL_BYTES_MAX, VALUE_BYTES_MAX},
    plan::{LIMIT_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX},
};
use crate::model::{
    ACCEPT_REASON_BYTES_MAX, ACCEPTED_MAX, Axis, COMBINATIONS_MAX, Day, Deadline, FREEZE_REASON_BYTES_MAX, FREEZES_MAX,
    PRECEDENCE_VALUES_MAX, PRECEDENCES_MAX, PrecedenceBy, REPRESENTATIVE_MAX, Retries, WAVES_MAX, WINDOWS_MAX,
};
use wardround_signing::Role;

/// A name and no address: a copy may stand anywhere.
const ID: &str = "urn:wardround:plan:schema";
/// One part of an id: `crate::model::id`.
const ID_PART: &str = "[a-z0-9][a-z0-9._-]{0,62}";

/// The schema.
#[must_use]
pub fn plan_schema() -> Value {
    let mut schema = plan();
    if let Value::Object(fields) = &mut schema {
        fields.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        fields.insert("$id".to_owned(), json!(ID));
        fields.insert("title".to_owned(), json!("A rollout plan of wardround"));
    }
    schema
}

/// A group of fields, those that must be there first.
fn group(about: &str, required: &[(&str, Value)], optional: &[(&str, Value)]) -> Value {
    let fields: Map<String, Value> =
        required.iter().chain(optional).map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let mut schema = json!({
        "type": "object", "description": about, "additionalProperties": false, "properties": fields,
    });
    if !required.is_empty() {
        schema["required"] = required.iter().map(|(name, _)| *name).collect();
    }
    schema
}

/// The same with a word about it, which editors show.
fn told(mut schema: Value, about: &str) -> Value {
    schema["description"] = json!(about);
    schema
}

fn line(bytes_max: usize) -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": bytes_max, "pattern": "\\S" })
}

fn matching(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!("^{pattern}$") })
}

fn word<'a>(words: impl Iterator<Item = &'a str>) -> Value {
    json!({ "enum": words.collect::<Vec<_>>() })
}

fn some(items: Value) -> Value {
    json!({ "type": "array", "minItems": 1, "items": items })
}

fn number(min: u32, max: u32) -> Value {
    json!({ "type": "integer", "minimum": min, "maximum": max })
}

fn percent() -> Value {
    matching(r"[0-9]{1,3}(\.[0-9]{1,2})?\s*%")
}

/// "90s", "1h30m"; the number 0 may stand alone.
fn duration() -> Value {
    json!({ "anyOf": [matching("([0-9]+(ms|s|m|h|d))+"), { "const": 0 }] })
}

fn platform() -> Value {
    json!({ "type": "string", "maxLength": 255, "pattern": r"^cpe:2\.3:" })
}

fn plan() -> Value {
    group(
        "Which devices get a patch, in which order, how long each is watched, and what must hold before the next wave.",
        &[
            ("name", told(line(NAME_BYTES_MAX), "Name, for people and records.")),
            (
                "waves",
                json!({ "type": "array", "minItems": 1, "maxItems": WAVES_MAX, "items": wave(), "description": "In order; each device falls to the first wave that selects it." }),
            ),
        ],
        &[
            (
                "description",
                json!({ "type": "string", "maxLength": TEXT_BYTES_MAX, "description": "What and why, for those who sign." }),
            ),
            ("patch", told(matching("[A-Za-z0-9][A-Za-z0-9._-]{0,62}"), "Only for this patch.")),
            ("eligible", group("Which devices may be touched at all.", &[], &criteria())),
            ("windows", windows("When installs may begin, by the clock of each site.")),
            (
                "freezes",
                json!({ "type": "array", "maxItems": FREEZES_MAX, "items": freeze(), "description": "Days on which none may begin." }),
            ),
            ("on_call", windows("When somebody is on call for this rollout, by the clock of each site.")),
            (
                "accept",
                json!({ "type": "array", "maxItems": ACCEPTED_MAX, "items": acceptance(), "description": "Risks that are taken knowingly." }),
            ),
            ("limits", limits("Over the whole rollout.")),
            (
                "health",
                group(
                    "How clinical systems are watched.",
                    &[],
                    &[
                        ("interval", told(duration(), "Between two probes; 10s if absent.")),
                        (
                            "failures",
                            told(
                                number(1, 100),
                                "Failures in a row that make a healthy system unhealthy; 3 if absent.",
                            ),
                        ),
                        ("grace", told(duration(), "How long after an install failures don't count.")),
                        (
                            "control",
                            group(
                                "Look at unpatched systems of the site before a patch is blamed.",
                                &[],
                                &[(
                                    "wait_max",
                                    told(duration(), "Longest that the blame waits for them; 10m if absent."),
                                )],
                            ),
                        ),
                    ],
                ),
            ),
            (
                "rollback",
                group(
                    "What is taken back when something fails.",
                    &[],
                    &[(
                        "scope",
                        told(word(["device", "site", "wave", "rollout"].into_iter()), "How far; wave if absent."),
                    )],
                ),
            ),
            ("deadline", deadline("By when a wave must have begun with all its devices; for waves that do not say.")),
            ("offline", offline("What becomes of devices whose site does not answer; for waves that do not say.")),
            (
                "timing",
                group(
                    "Waits and retries.",
                    &[],
                    &[
                        (
                            "retries",
                            told(
                                number(0, Retries::MOST),
                                "How often a node tries an install again that failed and changed nothing; 0 if absent.",
                            ),
                        ),
                        (
                            "retry",
                            told(duration(), "Before the first of these tries, then twice as long; 1m if absent."),
                        ),
                        ("retry_max", told(duration(), "Longest wait before one of them; 30m if absent.")),
                        (
                            "install_timeout",
                            told(duration(), "How long one install or uninstall may run; 30m if absent."),
                        ),
                        ("reboot_timeout", told(duration(), "How long a device may take to come back; 15m if absent.")),
                        (
                            "unknown_after",
                            told(
                                duration(),
                                "Without word for so long a site's devices count as unknown; 10m if absent.",
                            ),
                        ),
                        ("defer_max", told(duration(), "How long a device in use is tried again; 24h if absent.")),
                        ("retry_after", told(duration(), "Between two tries; 5m if absent.")),
                    ],
                ),
            ),
        ],
    )
}

fn wave() -> Value {
    group(
        "A wave.",
        &[
            ("name", told(matching(ID_PART), "Unique within the plan.")),
            ("select", select()),
            ("soak", told(duration(), "How long each patched device and its clinical systems are watched.")),
        ],
        &[
            ("order", order()),
            ("windows", windows("Narrower than those of the plan.")),
            ("limits", limits("For this wave, beside those of the plan.")),
            ("gate", gate()),
            ("deadline", deadline("By when it must have begun with all its devices.")),
            ("offline", offline("What becomes of devices whose site does not answer.")),
        ],
    )
}

fn deadline(about: &str) -> Value {
    let moment = matching("2[01][0-9]{2}-[0-9]{2}-[0-9]{2}([Tt ][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2}))?");
    let then = word(Deadline::WORDS.iter().map(|(word, _)| *word));
    let mut schema = group(
        about,
        &[],
        &[
            ("by", told(moment, "A day, which is over when it is over in UTC, or a time with its offset.")),
            ("after", told(duration(), "So long after the wave began.")),
            ("then", told(then, "What becomes of what has not begun: an alarm, or it is left out; alarm if absent.")),
        ],
    );
    schema["oneOf"] = json!([{ "required": ["by"] }, { "required": ["after"] }]);
    schema
}

fn offline(about: &str) -> Value {
    let mut schema = group(
        about,
        &[],
        &[
            ("alarm_after", told(duration(), "A person hears of a site that is silent for so long.")),
            ("leave_out_after", told(duration(), "Devices there that have not begun are left out.")),
        ],
    );
    schema["minProperties"] = json!(1);
    schema
}

fn criteria() -> Vec<(&'static str, Value)> {
    let labels = json!({
        "type": "object", "minProperties": 1, "propertyNames": { "minLength": 1, "maxLength": 63 },
        "additionalProperties": line(63), "description": "Each label with this value, on the device or its site.",
    });
    vec![
        ("labels", labels),
        ("platforms", told(some(platform()), "Any of these CPE 2.3 patterns.")),
        ("sites", told(some(matching(ID_PART)), "Any of these sites.")),
        ("regions", told(some(line(120)), "Any of these regions.")),
        ("site_types", told(some(line(63)), "At a site of any of these types.")),
        ("systems", told(some(line(63)), "Needed by a clinical system of any of these kinds.")),
        ("devices", told(some(matching(&format!("{ID_PART}/{ID_PART}"))), "Any of these devices.")),
    ]
}

fn select() -> Value {
    let axes = word(Axis::ALL.iter().map(|(word, _)| *word));
    let by = json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": axes });
    let representative = json!({ "anyOf": [{ "type": "boolean" }, number(1, REPRESENTATIVE_MAX)] });
    let draws = [
        ("percent", told(percent(), "The first so many of the estate by a stable hash; with `by`, of every stratum.")),
        ("count", told(number(1, LIMIT_MAX), "The first so many by a stable hash; with `by`, of every stratum.")),
        ("by", told(by, "What makes a stratum.")),
        (
            "representative",
            told(
                representative,
                "So many devices of every combination of platform, model and kind of clinical system that later waves have.",
            ),
        ),
        (
            "remaining",
            json!({ "type": "boolean", "description": "Everything that is left; stands alone, in the last wave." }),
        ),
    ];
    let fields: Vec<_> = criteria().into_iter().chain(draws).collect();
    let mut schema = group("Which of the candidates that no earlier wave took.", &[], &fields);
    let not_both = |a: &str, b: &str| json!({ "not": { "required": [a, b] } });
    schema["minProperties"] = json!(1);
    schema["allOf"] = json!([
        not_both("percent", "count"),
        not_both("percent", "representative"),
        not_both("count", "representative")
    ]);
    schema
}

fn order() -> Value {
    let by = word(PrecedenceBy::ALL.iter().map(|(word, _)| *word));
    let values = json!({
        "type": "array", "minItems": 1, "maxItems": PRECEDENCE_VALUES_MAX, "uniqueItems": true, "items": line(VALUE_BYTES_MAX),
        "description": "What goes first, second, and so on; whatever has none of these comes last.",
    });
    let mut rule = group(
        "A rule; where it finds devices alike, the next one decides.",
        &[],
        &[
            ("label", told(line(LABEL_BYTES_MAX), "By the value of this label, on the device or its site.")),
            ("by", told(by, "By something else.")),
            ("values", values),
        ],
    );
    let (label, by, values) = (json!(["label", "values"]), json!(["by"]), json!(["by", "values"]));
    let with = word(PrecedenceBy::ALL.iter().filter(|(_, by)| by.asks_for_values()).map(|(word, _)| *word));
    let without = word(PrecedenceBy::ALL.iter().filter(|(_, by)| !by.asks_for_values()).map(|(word, _)| *word));
    rule["oneOf"] = json!([
        { "required": label, "not": { "required": by } },
        { "required": values, "properties": { "by": with }, "not": { "required": ["label"] } },
        { "required": by, "properties": { "by": without }, "not": { "anyOf": [{ "required": ["label"] }, { "required": ["values"] }] } },
    ]);
    json!({
        "type": "array", "minItems": 1, "maxItems": PRECEDENCES_MAX, "items": rule,
        "description": "What goes first within the wave.",
    })
}

fn gate() -> Value {
    let roles = word(Role::PEOPLE.iter().map(|role| role.word()));
    let approvals = json!({ "type": "array", "uniqueItems": true, "items": roles });
    let test = group(
        "An exact test beside the counts.",
        &[],
        &[
            ("alpha", told(percent(), "How often a harmless patch may be stopped by chance; 5% if absent.")),
            ("harm", told(percent(), "The share of devices that a bad patch makes fail; 30% if absent.")),
            ("miss", told(percent(), "How often such a patch may pass by chance; 20% if absent.")),
            ("background", told(percent(), "Share of devices that fail without the patch.")),
            (
                "control_min",
                told(
                    number(1, LIMIT_MAX),
                    "Fewer unpatched clinical systems than this are no control group; 5 if absent.",
                ),
            ),
        ],
    );
    group(
        "What must hold before the next wave.",
        &[],
        &[
            (
                "success",
                told(percent(), "Least share of successes among the deployments that were tried; 100% if absent."),
            ),
            ("evidence_min", told(number(1, LIMIT_MAX), "Least number of successes; 1 if absent.")),
            ("failures_max", told(number(0, LIMIT_MAX), "Most deployments that may fail.")),
            ("test", test),
            ("approvals", told(approvals, "Roles that must approve the next wave.")),
        ],
    )
}

fn limits(about: &str) -> Value {
    let count = |about: &str| told(number(1, LIMIT_MAX), about);
    group(
        about,
        &[],
        &[
            ("per_site", count("Devices in hand at once at one site.")),
            ("per_region", count("Devices in hand at once in one region.")),
            ("total", count("Devices in hand at once in all.")),
        ],
    )
}

fn windows(about: &str) -> Value {
    let time = || matching("(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)");
    let days = word(Day::ALL.iter().map(|(word, _)| *word));
    let days = json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": days });
    let window = group(
        "Hours on the clock of each site.",
        &[
            ("from", told(time(), "In quotes: \"22:00\".")),
            ("to", told(time(), "In quotes; not after `from` means the next day.")),
        ],
        &[("days", told(days, "On which it begins; every day if absent."))],
    );
    json!({ "type": "array", "minItems": 1, "maxItems": WINDOWS_MAX, "items": window, "description": about })
}

fn freeze() -> Value {
    let date = || matching("2[01][0-9]{2}-[0-9]{2}-[0-9]{2}");
    group(
        "Days on which no install begins, from midnight to midnight.",
        &[
            ("from", told(date(), "First day.")),
            ("to", told(date(), "Last day, included.")),
            ("reason", told(line(FREEZE_REASON_BYTES_MAX), "One line; every device that waits shows it.")),
        ],
        &[],
    )
}

fn acceptance() -> Value {
    let rules = word(Rule::ALL.iter().filter(|rule| rule.acceptable()).map(|rule| rule.word()));
    let text = || json!({ "type": "string", "maxLength": 120 });
    let mut combination = group(
        "A combination; what is absent fits all.",
        &[],
        &[
            ("platform", told(platform(), "CPE 2.3 pattern.")),
            ("model", told(text(), "Maker's model; empty means devices without one.")),
            ("system", told(text(), "Kind of clinical system; empty means devices that none needs.")),
        ],
    );
    combination["minProperties"] = json!(1);
    let combinations = json!({
        "type": "array", "minItems": 1, "maxItems": COMBINATIONS_MAX, "items": combination,
        "description": "For the rule `unrepresented`: only these.",
    });
    group(
        "A risk that is taken knowingly.",
        &[
            ("rule", told(rules, "The word that `wardround plan lint` says in brackets.")),
            ("reason", told(line(ACCEPT_REASON_BYTES_MAX), "Why it is right here, in one line; signers read it.")),
        ],
        &[("wave", told(matching(ID_PART), "Only for this wave.")), ("combinations", combinations)],
    )
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{
        super::{plan, reader::Reader, tree},
        *,
    };

    /// Every group of the language, whatever sense it makes.
    const EVERYTHING: &str = "\
name: n
eligible: {}
windows: [{ from: \"20:00\", to: \"05:00\" }]
freezes: [{ from: 2026-12-20, to: 2027-01-04, reason: r }]
on_call: [{ from: \"20:00\", to: \"05:00\" }]
accept: [{ rule: unrepresented, reason: r, combinations: [{ model: CT }] }]
limits: {}
health: { control: {} }
rollback: {}
timing: {}
deadline: { after: 3d }
offline: { leave_out_after: 3d }
waves: [{ name: a, select: { remaining: true }, order: [{ by: hash }], windows: [{ from: \"20:00\", to: \"05:00\" }], limits: {}, soak: 8h, gate: { test: {} }, deadline: { by: 2026-12-19 }, offline: { alarm_after: 2h } }]
";

    /// Path of each group, with its fields and those that must be there.
    type Groups = BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)>;

    fn of_reader() -> Groups {
        let mut reader = Reader::new("plan.yaml");
        assert!(plan::plan(&mut reader, &tree::read(EVERYTHING, "plan.yaml").unwrap()).is_some());
        let read = std::mem::take(&mut reader.groups);
        let required = std::mem::take(&mut reader.required);
        let (_, problems) = reader.finish();
        assert_eq!(problems, [], "the text above must be read to its end");
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let of = |path: &String| {
            let here = required.iter().filter(|(group, _)| group == path).map(|(_, name)| *name);
            texts(&here.collect::<Vec<_>>())
        };
        read.iter().map(|(path, known)| (path.replace("[0]", "[]"), (texts(known), of(path)))).collect()
    }

    fn of_schema(path: &str, schema: &Value, groups: &mut Groups) {
        if let Some(items) = schema.get("items") {
            return of_schema(&format!("{path}[]"), items, groups);
        }
        if schema.get("additionalProperties") != Some(&json!(false)) {
            return;
        }
        let fields = schema["properties"].as_object().unwrap();
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let required = required.map(|name| name.as_str().unwrap().to_owned()).collect();
        groups.insert(path.to_owned(), (fields.keys().cloned().collect(), required));
        for (name, field) in fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            of_schema(&path, field, groups);
        }
    }

    /// A field that only one of the two knows is a mistake in `plan_schema`, or in `EVERYTHING` where a group is missing.
    #[test]
    fn the_schema_has_the_fields_of_the_reader() {
        let mut schema = Groups::new();
        of_schema("", &plan_schema(), &mut schema);
        assert_eq!(schema, of_reader());
    }

    #[test]
    fn the_published_file_is_the_one_of_the_program() {
        let published: Value = serde_json::from_str(include_str!("../../plan.schema.json")).unwrap();
        assert!(published == plan_schema(), "run: wardround plan schema > rollout-plans/plan.schema.json");
    }
}
