//! YAML as a tree in which every value and key knows its place, so that all problems of a file can be gathered in one
//! pass and each can point at its line.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{DuplicateKeyPolicy, Error, Location, MergeKeyPolicy, Spanned, budget::BudgetBreach};

use super::Problem;

/// Largest file that is read, bytes. Fifty waves with long lists of devices stay far below.
pub(crate) const FILE_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting; plans and patch files need six.
const DEPTH_MAX: usize = 16;
/// Most values in one file: more than [`FILE_BYTES_MAX`] of one-letter list items can hold is never needed.
const NODES_MAX: usize = 50_000;
/// Most aliases (`*name`) in one file, and most values that all of them may repeat: a "billion laughs" file ends here.
const ALIASES_MAX: usize = 64;
const ALIAS_EVENTS_MAX: usize = 4_096;

/// A place in the file, counted from 1; 0 when unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pos {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl From<Location> for Pos {
    fn from(at: Location) -> Self {
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Self { line: small(at.line()), column: small(at.column()) }
    }
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Pos,
    pub(crate) value: Value,
}

/// A YAML value of the core schema (YAML 1.2.2, section 10.3).
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// Keys with their places, in file order, repeated keys included.
    Map(Vec<(Pos, String, Node)>),
}

impl Value {
    /// What a person would call it, for "found …".
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(b) => format!("the yes/no value {b}"),
            Self::Int(n) => format!("the number {n}"),
            Self::Float(x) => format!("the number {x}"),
            Self::Text(text) if text.chars().count() > 60 => "a long text".to_owned(),
            Self::Text(text) => format!("the text {text:?}"),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Map(_) => "a group of fields".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { at: spanned.referenced.into(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        // Beyond any field's range either way: the reader names the range that it wanted.
        Ok(Value::Int(i64::try_from(value).unwrap_or(i64::MAX)))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push((key.referenced.into(), key.value, map.next_value()?));
        }
        Ok(Value::Map(entries))
    }
}

/// Reads one YAML document within the limits above.
pub(crate) fn read(yaml: &str, file: &str) -> Result<Node, Problem> {
    let whole = |message: String, hint: &str| Problem {
        file: file.to_owned(),
        line: 0,
        column: 0,
        field: String::new(),
        message,
        hint: hint.to_owned(),
    };
    if yaml.len() > FILE_BYTES_MAX {
        return Err(whole(
            format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", yaml.len()),
            "choose devices by labels, sites or regions instead of listing them one by one",
        ));
    }
    if yaml.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Err(whole("the file is empty".to_owned(), "start from one of the files in rollout-plans/examples"));
    }
    if let Some(problem) = tab_in_indentation(yaml, file) {
        return Err(problem);
    }
    serde_saphyr::from_str_with_options(yaml, options()).map_err(|error| syntax_problem(&error, file))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_aliases: ALIASES_MAX,
            max_anchors: ALIASES_MAX,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: ALIAS_EVENTS_MAX,
        },
        // Repeated keys reach the reader, which points at the second one and goes on.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        // `no` stays a text: it may be a region.
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// YAML forbids tabs in indentation (YAML 1.2.2, section 6.1); parsers' own words about it help nobody.
fn tab_in_indentation(yaml: &str, file: &str) -> Option<Problem> {
    let (index, line) = yaml.lines().enumerate().find(|(_, line)| {
        let indent = &line[..line.len() - line.trim_start_matches([' ', '\t']).len()];
        indent.contains('\t') && !line.trim().is_empty()
    })?;
    Some(Problem {
        file: file.to_owned(),
        line: u32::try_from(index + 1).unwrap_or(u32::MAX),
        column: u32::try_from(line.find('\t').unwrap_or(0) + 1).unwrap_or(u32::MAX),
        field: String::new(),
        message: "the indentation holds a tab; YAML wants spaces".to_owned(),
        hint: "replace each tab by two spaces".to_owned(),
    })
}

fn syntax_problem(error: &Error, file: &str) -> Problem {
    let error = error.without_snippet();
    let at = error.location().map(Pos::from).unwrap_or_default();
    let (message, hint) = words(error);
    Problem { file: file.to_owned(), line: at.line, column: at.column, field: String::new(), message, hint }
}

/// The parser's error in our words, without the place, which is told apart.
fn words(error: &Error) -> (String, String) {
    match error {
        Error::AliasError { error, .. } => words(error.without_snippet()),
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } | Error::MultipleDocuments { .. } => {
            ("the file holds more than one document".to_owned(), "keep one per file; remove the line `---`".to_owned())
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::RecursiveReferencesRequireWeakTypes { .. } => (
            "the file is nested too deeply or repeats too much through aliases".to_owned(),
            format!(
                "at most {DEPTH_MAX} levels, {NODES_MAX} values and {ALIASES_MAX} aliases are read; write lists out"
            ),
        ),
        Error::MergeKeyNotAllowed { .. } => {
            ("merge keys (`<<`) are not read".to_owned(), "write the fields out".to_owned())
        }
        other => {
            let text = other.render();
            let first = text.lines().next().unwrap_or_default().trim().trim_start_matches("error: ");
            let first = first.split_once(" at line ").map_or(first, |(before, _)| before);
            (format!("not valid YAML: {first}"), "check indentation, colons, brackets and quotes above here".to_owned())
        }
    }
}
