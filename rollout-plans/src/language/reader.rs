//! Field by field: what was expected, what was found, where, and the way out.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use wardround_signing::is_hidden;

use super::{
    Problem, did_you_mean,
    tree::{Node, Pos, Value},
};
use crate::model::{DurationMs, Labels, Percent};

/// Most items of a list. Selection by labels, sites and regions is for the rest.
const LIST_ITEMS_MAX: usize = 10_000;
/// Most problems that one reading reports: nobody reads more.
const PROBLEMS_MAX: usize = 100;
/// Longest path of a field that a problem shows, characters: those that we know are shorter.
const PATH_CHARS_MAX: usize = 200;
/// Longest label key or value, bytes.
const LABEL_BYTES_MAX: usize = 63;

/// Gathers problems, and the places of everything that was read.
pub(crate) struct Reader {
    file: String,
    problems: Vec<Problem>,
    positions: BTreeMap<String, (u32, u32)>,
    /// Which groups were read, with the fields that they may have and must have: the schema is held against it.
    #[cfg(test)]
    pub(super) groups: BTreeMap<String, Vec<&'static str>>,
    #[cfg(test)]
    pub(super) required: Vec<(String, &'static str)>,
}

/// The fields of one group.
pub(crate) struct Fields<'n> {
    at: Pos,
    path: String,
    entries: BTreeMap<&'n str, &'n Node>,
}

impl Fields<'_> {
    /// The path of a field of this group.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Whether the field was written.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }
}

impl Reader {
    pub(crate) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            problems: Vec::new(),
            positions: BTreeMap::new(),
            #[cfg(test)]
            groups: BTreeMap::new(),
            #[cfg(test)]
            required: Vec::new(),
        }
    }

    /// The places and the problems, by line.
    pub(crate) fn finish(mut self) -> (BTreeMap<String, (u32, u32)>, Vec<Problem>) {
        self.problems.sort_by_key(|p| (p.line, p.column));
        (self.positions, self.problems)
    }

    /// The value of `read`, unless it found problems: for groups whose meaning changes when a field is left out.
    pub(crate) fn unless_problems<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let before = self.problems.len();
        read(self).filter(|_| self.problems.len() == before)
    }

    /// Adds a problem at a place.
    pub(crate) fn problem(&mut self, at: Pos, field: &str, message: impl Into<String>, hint: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem {
                file: self.file.clone(),
                line: at.line,
                column: at.column,
                field: shown_path(field),
                message: message.into(),
                hint: hint.into(),
            });
        }
    }

    /// How many problems there are so far.
    pub(crate) fn count_problems(&self) -> usize {
        self.problems.len()
    }

    /// Whether this field was read.
    pub(crate) fn knows(&self, field: &str) -> bool {
        self.positions.contains_key(field)
    }

    /// Adds a problem at a field that was read.
    pub(crate) fn problem_at(&mut self, field: &str, message: impl Into<String>, hint: impl Into<String>) {
        let (line, column) = self.positions.get(field).copied().unwrap_or_default();
        self.problem(Pos { line, column }, field, message, hint);
    }

    fn wrong(&mut self, node: &Node, path: &str, expected: &str, hint: impl Into<String>) {
        self.problem(node.at, path, format!("expected {expected}, found {}", node.value.what()), hint);
    }

    /// A group of known fields; unknown and repeated ones are problems.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, path: &str, known: &[&'static str]) -> Option<Fields<'n>> {
        self.positions.insert(path.to_owned(), (node.at.line, node.at.column));
        #[cfg(test)]
        self.groups.insert(path.to_owned(), known.to_vec());
        let Value::Map(entries) = &node.value else {
            let hint = match node.value {
                Value::Null => "remove the line, or write the fields indented below it",
                _ => "write `field: value` lines, indented below",
            };
            self.wrong(node, path, &format!("a group of fields ({})", known.join(", ")), hint);
            return None;
        };
        let mut fields = Fields { at: node.at, path: path.to_owned(), entries: BTreeMap::new() };
        for (at, key, value) in entries {
            let field = fields.path(key);
            if !known.contains(&key.as_str()) {
                let hint = match did_you_mean(key, known.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("the fields here are {}", known.join(", ")),
                };
                self.problem(*at, &field, "unknown field", hint);
            } else if fields.entries.insert(key, value).is_some() {
                self.problem(*at, &field, "the field is there twice", "keep one of the two");
            }
        }
        Some(fields)
    }

    /// A field that may be absent.
    pub(crate) fn optional<'n, T>(
        &mut self,
        fields: &Fields<'n>,
        name: &str,
        read: impl FnOnce(&mut Self, &'n Node, &str) -> Option<T>,
    ) -> Option<T> {
        let node = fields.entries.get(name)?;
        let path = fields.path(name);
        self.positions.insert(path.clone(), (node.at.line, node.at.column));
        if node.value == Value::Null {
            self.problem(node.at, &path, "the field has no value", "give it a value or remove the line");
            return None;
        }
        read(self, node, &path)
    }

    /// A field that must be there.
    pub(crate) fn required<'n, T>(
        &mut self,
        fields: &Fields<'n>,
        name: &'static str,
        example: &str,
        read: impl FnOnce(&mut Self, &'n Node, &str) -> Option<T>,
    ) -> Option<T> {
        #[cfg(test)]
        self.required.push((fields.path.clone(), name));
        if !fields.has(name) {
            let message = format!("the field `{name}` is missing");
            self.problem(fields.at, &fields.path, message, format!("add `{name}: {example}`"));
            return None;
        }
        self.optional(fields, name, read)
    }

    /// Every item of a list; `None` when one of them is bad, after all were read.
    pub(crate) fn list<'n, T>(
        &mut self,
        node: &'n Node,
        path: &str,
        mut read: impl FnMut(&mut Self, &'n Node, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::List(items) = &node.value else {
            self.wrong(node, path, "a list", "write `[one, two]`, or each item on a line that begins with `- `");
            return None;
        };
        if items.len() > LIST_ITEMS_MAX {
            let message = format!("the list has {} items; at most {LIST_ITEMS_MAX} are read", items.len());
            self.problem(node.at, path, message, "choose by labels, sites or regions");
            return None;
        }
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.positions.insert(path.clone(), (item.at.line, item.at.column));
            values.push(read(self, item, &path));
        }
        values.into_iter().collect()
    }

    /// As [`Reader::list`], with at least one item.
    pub(crate) fn some<'n, T>(
        &mut self,
        node: &'n Node,
        path: &str,
        read: impl FnMut(&mut Self, &'n Node, &str) -> Option<T>,
    ) -> Option<Vec<T>> {
        if matches!(&node.value, Value::List(items) if items.is_empty()) {
            self.problem(node.at, path, "the list is empty: it would choose nothing", "add an item or remove the line");
            return None;
        }
        self.list(node, path, read)
    }

    /// A text of 1 to `max` bytes on one line, without hidden characters: it is shown to those who sign.
    pub(crate) fn line(&mut self, node: &Node, path: &str, max: usize) -> Option<String> {
        let text = self.text(node, path, max)?;
        if text.trim().is_empty() {
            self.problem(node.at, path, "the text is empty", "write something, or remove the line if it may be absent");
            return None;
        }
        if text.chars().any(is_hidden) {
            self.problem(node.at, path, "the text has more than one line or holds hidden characters", "one plain line");
            return None;
        }
        Some(text)
    }

    /// A text of up to `max` bytes, on several lines if need be.
    pub(crate) fn text(&mut self, node: &Node, path: &str, max: usize) -> Option<String> {
        let text = match &node.value {
            Value::Text(text) => text,
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                self.wrong(node, path, "a text", "put the value in quotes");
                return None;
            }
            _ => {
                self.wrong(node, path, "a text", "");
                return None;
            }
        };
        if text.len() > max {
            let message = format!("the text has {} bytes; at most {max} are allowed", text.len());
            self.problem(node.at, path, message, "shorten it");
            return None;
        }
        if text.chars().any(|c| is_hidden(c) && c != '\n' && c != '\t') {
            self.problem(
                node.at,
                path,
                "the text holds hidden characters",
                "plain text only: people sign what they see",
            );
            return None;
        }
        Some(text.trim_end().to_owned())
    }

    /// Anything with a checked text form: ids, CPE names, roles, digests.
    pub(crate) fn parsed<T: FromStr<Err: Display>>(&mut self, node: &Node, path: &str, hint: &str) -> Option<T> {
        let text = self.text(node, path, 1_000)?;
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(node.at, path, error.to_string(), hint);
                None
            }
        }
    }

    /// One of some words.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, path: &str, words: &[(&'static str, T)]) -> Option<T> {
        let list = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        let Value::Text(text) = &node.value else {
            self.wrong(node, path, &format!("one of {list}"), "");
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
            return Some(*value);
        }
        let hint = did_you_mean(text, words.iter().map(|(word, _)| *word))
            .map(|meant| format!("did you mean `{meant}`?"))
            .unwrap_or_default();
        self.wrong(node, path, &format!("one of {list}"), hint);
        None
    }

    /// A whole number within a range.
    pub(crate) fn count(&mut self, node: &Node, path: &str, min: u32, max: u32) -> Option<u32> {
        let expected = format!("a whole number from {min} to {max}");
        match node.value {
            Value::Int(n) => {
                if let Some(n) = u32::try_from(n).ok().filter(|n| (min..=max).contains(n)) {
                    return Some(n);
                }
                let hint = if n == 0 { "0 would stop everything; leave the line out for the default" } else { "" };
                self.wrong(node, path, &expected, hint);
            }
            _ => self.wrong(node, path, &expected, "write digits only, without quotes"),
        }
        None
    }

    /// A yes/no value.
    pub(crate) fn flag(&mut self, node: &Node, path: &str) -> Option<bool> {
        let Value::Bool(value) = node.value else {
            self.wrong(node, path, "true or false", "");
            return None;
        };
        Some(value)
    }

    /// "90s", "8h", within a range.
    pub(crate) fn duration(&mut self, node: &Node, path: &str, min: DurationMs, max: DurationMs) -> Option<DurationMs> {
        let duration = match &node.value {
            Value::Text(text) => match DurationMs::parse(text) {
                Ok(duration) => duration,
                Err(message) => {
                    self.problem(node.at, path, message, "");
                    return None;
                }
            },
            Value::Int(0) => DurationMs(0),
            Value::Int(n) => {
                self.wrong(node, path, "a duration", format!("add the unit: `{n}s`, `{n}m` or `{n}h`"));
                return None;
            }
            _ => {
                self.wrong(node, path, "a duration such as 90s, 10m, 8h or 2d", "");
                return None;
            }
        };
        if (min..=max).contains(&duration) {
            return Some(duration);
        }
        let (relation, bound) = if duration < min { ("shorter than", min) } else { ("longer than", max) };
        self.problem(node.at, path, format!("{duration} is {relation} {bound}"), format!("from {min} to {max}"));
        None
    }

    /// "10%" or "2.5%", at most two decimals.
    pub(crate) fn percent(&mut self, node: &Node, path: &str) -> Option<Percent> {
        let text = match &node.value {
            Value::Text(text) => text,
            Value::Int(n) => {
                self.wrong(node, path, "a percentage", format!("write `{n}%`"));
                return None;
            }
            Value::Float(x) if (0.0..=1.0).contains(x) => {
                self.wrong(node, path, "a percentage", format!("write `{}%`", (x * 10_000.0).round() / 100.0));
                return None;
            }
            _ => {
                self.wrong(node, path, "a percentage such as 10% or 2.5%", "");
                return None;
            }
        };
        let Some(points) = basis_points(text) else {
            self.wrong(node, path, "a percentage such as 10% or 2.5%", "at most two digits after the point, then `%`");
            return None;
        };
        match Percent::from_basis_points(points) {
            Ok(percent) => Some(percent),
            Err(message) => {
                self.problem(node.at, path, message, "percentages end at 100%");
                None
            }
        }
    }

    /// Labels: texts by key.
    pub(crate) fn labels(&mut self, node: &Node, path: &str) -> Option<Labels> {
        let Value::Map(entries) = &node.value else {
            self.wrong(node, path, "labels", "write `{ ring: canary }`, or `ring: canary` on lines of their own");
            return None;
        };
        if entries.is_empty() {
            self.problem(node.at, path, "no label is named", "add one or remove the line");
            return None;
        }
        let mut labels = Labels::new();
        for (at, key, value) in entries {
            let field = format!("{path}.{key}");
            self.positions.insert(field.clone(), (value.at.line, value.at.column));
            let Some(text) = self.line(value, &field, LABEL_BYTES_MAX) else { continue };
            if key.is_empty() || key.len() > LABEL_BYTES_MAX || key.chars().any(is_hidden) {
                self.problem(*at, &field, format!("a label key has 1 to {LABEL_BYTES_MAX} plain characters"), "");
            } else if labels.insert(key.clone(), text).is_some() {
                self.problem(*at, &field, "the label is there twice", "keep one of the two");
            }
        }
        Some(labels)
    }
}

/// Text as it may go to a terminal: whoever made it could otherwise hide what it says.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A field's path as it may go to a terminal: a key is whatever somebody wrote into a file.
fn shown_path(path: &str) -> String {
    let mut shown = shown(path);
    if let Some((cut, _)) = shown.char_indices().nth(PATH_CHARS_MAX) {
        shown.truncate(cut);
        shown.push('…');
    }
    shown
}

/// "2.5%" as 250.
pub(crate) fn basis_points(text: &str) -> Option<u32> {
    let number = text.strip_suffix('%')?.trim_end();
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || whole.len() > 6 || part.len() > 2 {
        return None;
    }
    let part = if part.len() == 1 { format!("{part}0") } else { part.to_owned() };
    Some(whole.parse::<u32>().ok()? * 100 + part.parse::<u32>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::basis_points;

    #[test]
    fn percentages_are_exact() {
        for (text, points) in [
            ("10%", Some(1000)),
            ("2.5%", Some(250)),
            ("0.01%", Some(1)),
            ("12.34%", Some(1234)),
            ("120%", Some(12000)),
            ("100 %", Some(10000)),
            ("10", None),
            ("-1%", None),
            ("1.234%", None),
            (".5%", None),
            ("1e2%", None),
            ("%", None),
        ] {
            assert_eq!(basis_points(text), points, "{text}");
        }
    }
}
