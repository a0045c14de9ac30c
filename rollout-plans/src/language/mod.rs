//! The plan language: YAML in, a validated [`Plan`] out, errors with file, line, field, expectation and hint.
//!
//! A file is read into a tree of values with their places (`tree`), walked field by field (`reader`, `plan`) so
//! that *all* problems are found in one pass, and then looked at as a whole (`rules`).

mod accept;
mod distance;
mod lint;
mod on_call;
mod order;
mod patience;
mod plan;
pub(crate) mod reader;
mod rule;
mod rules;
mod schema;
mod selector;
pub(crate) mod tree;
mod warnings;
mod windows;

use std::{collections::BTreeMap, fmt};

use crate::model::{Plan, Timestamp};

pub(crate) use accept::settle;
pub(crate) use distance::did_you_mean;
pub use lint::lint_plan;
pub(crate) use reader::shown;
pub use rule::{Finding, Needs, Rule, Weight};
pub use schema::plan_schema;
pub use wardround_signing::is_hidden;

/// A plan with what is needed to point at its lines later.
#[derive(Debug, Clone)]
pub struct ParsedPlan {
    /// The plan.
    pub plan: Plan,
    /// For messages.
    pub file_name: String,
    /// Line (from 1) of each wave, in order.
    pub wave_lines: Vec<u32>,
    /// Line and column of every field that was written, by its path ("waves[1].select.sites[0]").
    pub positions: BTreeMap<String, (u32, u32)>,
    /// What the plan alone shows to be risky, by line; those that it accepts are marked.
    pub warnings: Vec<Finding>,
}

impl ParsedPlan {
    /// What depends on the day besides: change freezes that are over.
    #[must_use]
    pub fn warnings_on(&self, now: Timestamp) -> Vec<Finding> {
        warnings::of_day(self, now)
    }

    /// A problem that points at `field`, or at the nearest field around it that was written.
    #[must_use]
    pub fn problem_at(&self, field: &str, message: String, hint: String) -> Problem {
        let mut path = field;
        let (line, column) = loop {
            if let Some(at) = self.positions.get(path) {
                break *at;
            }
            match path.rfind(['.', '[']) {
                Some(cut) => path = &path[..cut],
                None => break (0, 0),
            }
        };
        Problem { file: self.file_name.clone(), line, column, field: field.to_owned(), message, hint }
    }
}

/// One thing that is wrong (or risky) in a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// File name as given.
    pub file: String,
    /// Line, from 1; 0 when it concerns the whole.
    pub line: u32,
    /// Column, from 1; 0 when unknown.
    pub column: u32,
    /// Path of the field ("waves[1].gate.success").
    pub field: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// The way out; may be empty.
    pub hint: String,
}

impl fmt::Display for Problem {
    /// `plan.yaml:12:7: waves[1].gate.success: 120% is over 100%`, and the hint on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().take_while(|n| *n > 0) {
            write!(f, ":{number}")?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  hint: {}", self.hint) }
    }
}

/// Reads and checks a plan.
///
/// # Errors
/// All problems found, in order of lines.
pub fn parse_plan(yaml: &str, file_name: &str) -> Result<ParsedPlan, Vec<Problem>> {
    let root = tree::read(yaml, file_name).map_err(|problem| vec![problem])?;
    let mut reader = reader::Reader::new(file_name);
    let plan = plan::plan(&mut reader, &root);
    if let Some(plan) = &plan {
        rules::check(&mut reader, plan);
    }
    let (positions, problems) = reader.finish();
    let Some(plan) = plan.filter(|_| problems.is_empty()) else { return Err(problems) };
    let wave_lines =
        (0..plan.waves.len()).map(|i| positions.get(&format!("waves[{i}]")).map_or(0, |(line, _)| *line)).collect();
    let mut parsed = ParsedPlan { plan, file_name: file_name.to_owned(), wave_lines, positions, warnings: Vec::new() };
    parsed.warnings = warnings::of_plan(&parsed);
    Ok(parsed)
}
