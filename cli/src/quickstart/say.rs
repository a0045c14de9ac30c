//! The quickstart's voice: plain words with the time since it began. To standard error where JSON has the output.

use std::time::Instant;

use crate::output::{self, Format};

/// Tells a person what is happening.
pub(super) struct Voice {
    format: Format,
    begun: Instant,
}

impl Voice {
    pub(super) fn new(format: Format) -> Self {
        Self { format, begun: Instant::now() }
    }

    /// One sentence, with the time.
    pub(super) fn say(&self, text: &str) {
        self.plain(&format!("{:5.1} s  {text}", self.begun.elapsed().as_secs_f64()));
    }

    /// Text as it is.
    pub(super) fn plain(&self, text: &str) {
        match self.format {
            Format::Json => eprintln!("{text}"),
            // Nobody who reads is no reason to stop half way.
            Format::Human => drop(output::text(text)),
        }
    }
}
