//! Guests: whoever only looks at a device leaves it as soon as a task wants it, and never comes while one is there.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::model::DeviceId;

/// The doors of all devices.
#[derive(Clone, Default)]
pub(crate) struct Guests(Arc<Mutex<HashMap<DeviceId, Arc<Door>>>>);

#[derive(Default)]
struct Door {
    /// Tasks share it, as far as the machine lets them; a guest has it alone.
    room: Arc<RwLock<()>>,
    /// Tells the guest to leave.
    leave: Mutex<CancellationToken>,
    /// Tasks that are there or on their way.
    tasks: AtomicUsize,
}

/// A task is on its way, or there.
pub(super) struct Present {
    door: Arc<Door>,
    room: Option<OwnedRwLockReadGuard<()>>,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.room = None;
        self.door.tasks.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A guest is there; it must go when `leave` says so.
pub(crate) struct Guest {
    pub(crate) leave: CancellationToken,
    _room: OwnedRwLockWriteGuard<()>,
}

impl Guests {
    fn door(&self, device: &DeviceId) -> Arc<Door> {
        let mut doors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(doors.entry(device.clone()).or_default())
    }

    /// For a task: sends the guest away, and waits until it is gone.
    pub(super) async fn work(&self, device: &DeviceId) -> Present {
        let door = self.door(device);
        door.tasks.fetch_add(1, Ordering::SeqCst);
        let mut present = Present { door: Arc::clone(&door), room: None };
        door.leave.lock().unwrap_or_else(PoisonError::into_inner).cancel();
        present.room = Some(Arc::clone(&door.room).read_owned().await);
        present
    }

    /// For a guest: `None` while anybody else is there.
    pub(crate) fn enter(&self, device: &DeviceId) -> Option<Guest> {
        let door = self.door(device);
        let room = Arc::clone(&door.room).try_write_owned().ok()?;
        let leave = CancellationToken::new();
        door.leave.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&leave);
        // A task that came since has told the guest before this one: it is asked for here.
        (door.tasks.load(Ordering::SeqCst) == 0).then_some(Guest { leave, _room: room })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guest_leaves_when_work_comes_and_does_not_come_while_it_is_there() {
        let guests = Guests::default();
        let device = DeviceId::new("rx1/ct-01").unwrap();
        let guest = guests.enter(&device).unwrap();
        assert!(guests.enter(&device).is_none(), "one at a time");
        assert!(guests.enter(&DeviceId::new("rx1/ct-02").unwrap()).is_some(), "another device is another matter");
        let work = tokio::spawn({
            let (guests, device) = (guests.clone(), device.clone());
            async move { guests.work(&device).await }
        });
        guest.leave.cancelled().await;
        assert!(!work.is_finished(), "the guest is still there");
        drop(guest);
        let first = work.await.unwrap();
        let second = guests.work(&device).await;
        assert!(guests.enter(&device).is_none());
        drop(first);
        assert!(guests.enter(&device).is_none());
        drop(second);
        assert!(guests.enter(&device).is_some());
        // A task that is ended while it waits leaves no trace.
        let guest = guests.enter(&device).unwrap();
        let waiting = guests.work(&device);
        assert!(tokio::time::timeout(std::time::Duration::from_millis(10), waiting).await.is_err());
        drop(guest);
        assert!(guests.enter(&device).is_some());
    }
}
