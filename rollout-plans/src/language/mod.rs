//! The plan language: YAML in, a validated [`Plan`] out, errors with file, line, field, expectation and hint.

use crate::model::Plan;

/// A plan with what is needed to point at its lines later.
#[derive(Debug, Clone)]
pub struct ParsedPlan {
    /// The plan.
    pub plan: Plan,
    /// For messages.
    pub file_name: String,
    /// Line (from 1) of each wave, in order.
    pub wave_lines: Vec<u32>,
    /// What a careful reader should know ("no canary").
    pub warnings: Vec<Problem>,
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

/// Reads and checks a plan.
///
/// # Errors
/// All problems found, in order of lines.
pub fn parse_plan(_yaml: &str, _file_name: &str) -> Result<ParsedPlan, Vec<Problem>> {
    todo!()
}
