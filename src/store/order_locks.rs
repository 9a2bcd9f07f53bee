//! Serializes the updates of one order.
//!
//! An update reads, decides, and writes if the version is still the one that was read. Of many concurrent updates,
//! most would find another version, and would have to read and write again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout_at};

use super::StoreError;
use super::order_key::OrderKey;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// One lock for each order that this process is updating. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct OrderLocks(Arc<Mutex<HashMap<OrderKey, Lock>>>);

impl OrderLocks {
    /// Waits until no other update of the order runs, in the order of the calls.
    ///
    /// # Errors
    /// [`StoreError::LockTimeout`] at the deadline.
    pub(super) async fn lock(
        &self,
        order: OrderKey,
        deadline: Instant,
    ) -> Result<OrderLock, StoreError> {
        let lock = Arc::clone(self.0.lock().entry(order.clone()).or_default());
        // Removes the entry even if the lock is not acquired.
        let mut held = OrderLock {
            locks: self.clone(),
            order,
            guard: None,
        };
        let guard = timeout_at(deadline, lock.lock_owned()).await;
        held.guard = Some(guard.map_err(|_| StoreError::LockTimeout)?);
        Ok(held)
    }
}

/// The lock of one order; released on drop.
pub(super) struct OrderLock {
    locks: OrderLocks,
    order: OrderKey,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Drop for OrderLock {
    fn drop(&mut self) {
        let mut locks = self.locks.0.lock();
        self.guard = None;
        // If no update waits, the map holds the last reference. No other is added meanwhile, because the map is
        // locked.
        if locks
            .get(&self.order)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.order);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::Tenant;
    use uuid::Uuid;

    fn order(tenant: &str, id: Uuid) -> OrderKey {
        OrderKey::new(&Tenant::parse(tenant).unwrap(), id)
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_lock_ends_at_the_deadline_and_leaves_no_entry() {
        let locks = OrderLocks::default();
        let soon = || Instant::now() + Duration::from_secs(1);
        let first = locks.lock(order("a", Uuid::nil()), soon()).await.unwrap();
        let other = locks.lock(order("a", Uuid::max()), soon()).await.unwrap();
        // A caller cannot delay the updates of another tenant.
        let tenant = locks.lock(order("b", Uuid::nil()), soon()).await.unwrap();
        let start = Instant::now();
        let rejected = locks.lock(order("a", Uuid::nil()), soon()).await.err();
        assert_eq!(rejected, Some(StoreError::LockTimeout));
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        let (again, ()) = tokio::join!(locks.lock(order("a", Uuid::nil()), soon()), async {
            drop(first)
        });
        assert!(again.is_ok());
        drop((again, other, tenant));
        assert!(locks.0.lock().is_empty());
    }
}
