//! The same client over repositories that are not ours, such as those of the conformance suite and of other
//! implementations in tests. **Nothing that it says is ever installed**: only [`super::Images`] says what people agreed on.

use std::sync::Arc;

use super::{
    Fetch, Files, Moment, Rules, TufError,
    workflow::{TARGETS_FOLDER, Workflow},
};

/// A verified view of a foreign repository.
pub struct Foreign {
    workflow: Workflow,
    now: Moment,
}

impl Foreign {
    /// Brings the view up to date. The files that come back must be kept, after a failure too.
    pub async fn refresh(
        root: &[u8],
        files: Files,
        from: Arc<dyn Fetch>,
        now: Moment,
    ) -> (Files, Result<Self, TufError>) {
        let before = files.clone();
        let mut workflow = match Workflow::open(root, files, from, Rules::ForeignRepository) {
            Ok(workflow) => workflow,
            Err(error) => return (before, Err(error)),
        };
        let result = workflow.refresh(now).await;
        let files = workflow.files();
        (files, result.map(|()| Self { workflow, now }))
    }

    /// A target's bytes, verified, by the delegation that counts for `path`. `have` is a copy from before: it is taken
    /// where it is still the right one, and then nothing is fetched.
    ///
    /// # Errors
    /// [`TufError`] when no role lists it, it can't be had, or it is another one.
    pub async fn download(&mut self, path: &str, have: Option<Vec<u8>>) -> Result<Vec<u8>, TufError> {
        if let Some(bytes) = have {
            self.workflow.lend(&format!("{TARGETS_FOLDER}{path}"), bytes);
        }
        self.workflow.download(path, self.now).await
    }

    /// The verified files, those of delegated roles included.
    #[must_use]
    pub fn files(&self) -> Files {
        self.workflow.files()
    }

    /// The bytes of the trusted root.
    #[must_use]
    pub fn root(&self) -> &[u8] {
        self.workflow.trusted().root_bytes()
    }
}
