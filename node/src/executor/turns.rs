//! Turns: of the tasks of one deployment only one is at work.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::{AbortHandle, JoinHandle};
use wardround_rollout_plans::model::{DeviceId, RolloutId};

/// A deployment.
pub(super) type Key = (RolloutId, DeviceId);

/// The newest task of each deployment.
#[derive(Clone, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<Key, Newest>>>);

struct Newest {
    task: u64,
    abort: AbortHandle,
    /// Held by the task that is at work. An aborted task lets go of it only when it has really ended.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Turns {
    fn newest(&self) -> MutexGuard<'_, HashMap<Key, Newest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins `work`. A task of the same deployment that has not ended is ended first, and `work` waits for that.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        key: Key,
        task: u64,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let mut newest = self.newest();
        let overtaken = newest.remove(&key);
        if let Some(overtaken) = &overtaken {
            overtaken.abort.abort();
        }
        let turn = overtaken.map(|overtaken| overtaken.turn).unwrap_or_default();
        let own = Arc::clone(&turn);
        let work = tokio::spawn(async move {
            let _turn = own.lock_owned().await;
            work.await
        });
        newest.insert(key, Newest { task, abort: work.abort_handle(), turn });
        work
    }

    /// Forgets a task that has ended, unless a newer one is known.
    pub(super) fn ended(&self, key: &Key, task: u64) {
        let mut newest = self.newest();
        if newest.get(key).is_some_and(|newest| newest.task == task) {
            newest.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, sync::atomic::Ordering, time::Duration};

    use super::*;

    fn key() -> Key {
        (RolloutId::new("r1").unwrap(), DeviceId::new("rx1/ct-01").unwrap())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_task_begins_only_when_the_one_that_it_overtakes_has_ended() {
        let turns = Turns::default();
        let at_work = Arc::new(AtomicBool::new(false));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let first = turns.begin(key(), 1, {
            let at_work = Arc::clone(&at_work);
            async move {
                at_work.store(true, Ordering::SeqCst);
                begun.send(()).unwrap();
                // In the middle of a call that can't be broken off.
                tokio::task::block_in_place(|| released.recv().unwrap());
                at_work.store(false, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
        });
        has_begun.await.unwrap();
        let mut second = turns.begin(key(), 2, async move { at_work.load(Ordering::SeqCst) });
        // Where the two overlap the second ends within this time, on a machine that is fast enough to show it.
        let early = tokio::time::timeout(Duration::from_millis(300), &mut second).await;
        release.send(()).unwrap();
        assert!(early.is_err(), "the second did not wait");
        assert!(!second.await.unwrap(), "both were at work");
        assert!(first.await.unwrap_err().is_cancelled());
    }

    #[tokio::test]
    async fn the_end_of_an_old_task_does_not_hide_the_new_one() {
        let turns = Turns::default();
        let first = turns.begin(key(), 1, std::future::pending::<()>());
        let second = turns.begin(key(), 2, std::future::pending::<()>());
        turns.ended(&key(), 1);
        let third = turns.begin(key(), 3, async {});
        third.await.unwrap();
        assert!(first.await.unwrap_err().is_cancelled() && second.await.unwrap_err().is_cancelled());
    }
}
