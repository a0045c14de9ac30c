//! `wardround root assemble`.

use std::path::PathBuf;

use clap::Args;

use super::{finish, publish};
use crate::{
    failure::{Exit, Failure},
    request::{Answer, Reading, Request, review},
    session::Session,
    when,
};

/// Put the answers of a ceremony together: policy and thresholds are checked, and the signed files written
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround root assemble root.request.json ann.answer.json ben.answer.json --out repository")]
pub(super) struct Assemble {
    /// The request that was signed
    request: PathBuf,
    /// Everyone's answers
    #[arg(required = true)]
    answers: Vec<PathBuf>,
    /// The folder for N.root.json and N.targets.json
    #[arg(long, value_name = "DIR", default_value = "repository")]
    out: PathBuf,
}

impl Assemble {
    pub(super) fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let now = when::now_ms();
        let request = Request::load(&self.request)?;
        let Request::Metadata(metadata) = &request else {
            return Err(Failure::usage(format!("{} is no request of a root ceremony", self.request.display()))
                .hint("its answers are handed in with `wardround sign import`"));
        };
        let mut reviewed = review(metadata, now)?;
        let mut signed_by = Vec::new();
        for path in &self.answers {
            let answer = Answer::load(path)?;
            reviewed.attach(&answer)?;
            signed_by.push(answer.signer());
        }
        let files = publish(&reviewed, &self.out, now)?;
        finish(session, &Reading::new(request, now)?, signed_by, files)
    }
}
