//! Changes of one order take place one after another.
//!
//! Each is a read, a decision and a write that must find the version that was read. Many at once would
//! read and write again and again, and most for nothing.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::StoreError;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// One lock for each order that is being changed by this process. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct OrderLocks(Arc<Mutex<HashMap<Uuid, Lock>>>);

impl OrderLocks {
    /// Waits, first come first served, until no other change of the order is under way.
    ///
    /// # Errors
    /// [`StoreError::LockTimeout`] at the deadline.
    pub(super) async fn lock(&self, id: Uuid, deadline: Instant) -> Result<OrderLock, StoreError> {
        let lock = Arc::clone(self.0.lock().entry(id).or_default());
        // Removes the entry also when the wait is in vain.
        let mut held = OrderLock {
            locks: self.clone(),
            id,
            guard: None,
        };
        let guard = timeout_at(deadline, lock.lock_owned()).await;
        held.guard = Some(guard.map_err(|_| StoreError::LockTimeout)?);
        Ok(held)
    }
}

/// The right to change one order; given back on drop.
pub(super) struct OrderLock {
    locks: OrderLocks,
    id: Uuid,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for OrderLock {
    fn drop(&mut self) {
        let mut locks = self.locks.0.lock();
        self.guard = None;
        // The map has the only reference left when nobody waits: the map is locked, so none is added.
        if locks
            .get(&self.id)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lock_is_waited_for_until_the_deadline_and_leaves_nothing_behind() {
        let locks = OrderLocks::default();
        let soon = || Instant::now() + Duration::from_secs(1);
        let first = locks.lock(Uuid::nil(), soon()).await.unwrap();
        let other = locks.lock(Uuid::max(), soon()).await.unwrap();
        let start = Instant::now();
        let refused = locks.lock(Uuid::nil(), soon()).await.err();
        assert_eq!(refused, Some(StoreError::LockTimeout));
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        let (again, ()) = tokio::join!(locks.lock(Uuid::nil(), soon()), async { drop(first) });
        assert!(again.is_ok());
        drop((again, other));
        assert!(locks.0.lock().is_empty());
    }
}
