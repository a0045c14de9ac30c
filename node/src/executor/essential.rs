//! Tasks without which a node must not go on: when one ends by itself, the node ends with an error, so that whoever
//! supervises it starts it anew.

use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::NodeError;

/// The tasks that run as long as the node does.
pub(super) struct Essential {
    tasks: JoinSet<()>,
    names: Vec<(AbortHandle, &'static str)>,
    stop: CancellationToken,
}

impl Essential {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), names: Vec::new(), stop }
    }

    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.names.push((self.tasks.spawn(task), name));
    }

    /// Returns when one has ended that should not have.
    pub(super) async fn dead(&mut self) -> NodeError {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let (id, why) = match ended {
                Ok((_, ())) if self.stop.is_cancelled() => continue,
                Ok((id, ())) => (id, "it ended by itself".to_owned()),
                Err(error) => (error.id(), error.to_string()),
            };
            let name = self.names.iter().find(|(handle, _)| handle.id() == id).map_or("a task", |(_, name)| name);
            return NodeError::Task { name, why };
        }
        std::future::pending().await
    }

    /// Waits until all have ended.
    pub(super) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_or_ends_is_named() {
        for panics in [true, false] {
            let stop = CancellationToken::new();
            let mut essential = Essential::new(stop.clone());
            essential.spawn("the watch stream", stop.clone().cancelled_owned());
            essential.spawn("the check-ins", async move { assert!(!panics, "planted") });
            let dead = essential.dead().await;
            assert!(dead.to_string().contains("the check-ins"), "{dead}");
            stop.cancel();
            essential.ended().await;
        }
    }

    #[tokio::test]
    async fn an_orderly_end_is_no_failure() {
        let stop = CancellationToken::new();
        let mut essential = Essential::new(stop.clone());
        essential.spawn("the check-ins", stop.clone().cancelled_owned());
        stop.cancel();
        tokio::select! {
            biased;
            dead = essential.dead() => panic!("{dead}"),
            () = tokio::task::yield_now() => {}
        }
        essential.ended().await;
    }
}
