//! One error of a site file.

use std::fmt;

/// Why a site file can't be used: where, what, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// File.
    pub file: String,
    /// Line, from 1; 0 when the file as a whole is meant.
    pub line: u64,
    /// Column, from 1; 0 when unknown.
    pub column: u64,
    /// Field ("devices[2].transport.host_key"); empty when none is meant.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// The way out; empty when the message says it.
    pub hint: String,
}

impl fmt::Display for ConfigError {
    /// `file:line:column: field: message`, without the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}
