//! Standard output: a table for people or one JSON document for programs, never both.

use std::{
    borrow::Cow,
    io::{self, Write as _},
};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use wardround_rollout_plans::language::is_hidden;
pub(crate) use wardround_rollout_plans::words::count;

use crate::failure::{Exit, Failure, os_words};

/// Who reads the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Words and tables.
    #[default]
    Human,
    /// One JSON document (one per line where a command follows something).
    Json,
}

/// Writes `value` as JSON, or what `human` says.
pub(crate) fn emit<T: Serialize>(format: Format, value: &T, human: impl FnOnce() -> String) -> Result<(), Failure> {
    match format {
        Format::Human => text(&human()),
        Format::Json => json(value),
    }
}

/// Writes a list: each item as JSON, or `table` of them all; for people, `none` says that there is nothing.
pub(crate) fn list<T, J: Serialize>(
    format: Format,
    items: &[T],
    shown: impl FnMut(&T) -> J,
    none: &str,
    table: impl FnOnce(&[T]) -> String,
) -> Result<Exit, Failure> {
    match format {
        Format::Json => json(&items.iter().map(shown).collect::<Vec<_>>())?,
        Format::Human if items.is_empty() => text(none)?,
        Format::Human => text(&table(items))?,
    }
    Ok(Exit::Ok)
}

/// Writes one JSON document on one line.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let document = serde_json::to_string(value).map_err(|e| Failure::new(format!("cannot write JSON: {e}")))?;
    text(&document)
}

/// Writes text, ended by one line feed. A reader that has gone away is not an error of ours.
pub(crate) fn text(text: &str) -> Result<(), Failure> {
    let text = harmless(text);
    let trimmed = text.trim_end_matches('\n');
    let mut out = io::stdout().lock();
    match out.write_all(trimmed.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {}", os_words(&error))))
        }
        _ => Ok(()),
    }
}

/// A table without lines, as wide as its content: it reads well and cuts well.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.map(str::to_uppercase));
    for row in rows {
        table.add_row(row.map(|cell| one_line(&cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Text without what a terminal obeys, or what hides other text. Reasons, findings and names come from nodes and devices, and
/// must not be able to paint over a line that on-call relies on.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| is_hidden(c) && c != '\n' && c != '\t';
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// The same on one line: in a table, another line would pass for another row.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().map(harmless).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_others_cannot_paint_over_ours() {
        assert_eq!(harmless("a\u{1b}[2Kb\r\u{202e}c\u{9b}1A\td\n"), "a\u{fffd}[2Kb\u{fffd}\u{fffd}c\u{fffd}1A\td\n");
        assert_eq!(harmless("plain: Ä → 100 %"), "plain: Ä → 100 %");
        let shown = table(["device", "why"], [["ct-1".into(), "x\nct-2  succeeded\u{1b}[1A".into()]]);
        assert_eq!(shown.lines().count(), 2, "a header and one row: {shown:?}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}
