//! Serializes the updates of one order.
//!
//! An update reads, decides, and writes if the version is still the one that was read. Of many concurrent updates,
//! most would find another version, and would have to read and write again. The principals that update one order are
//! served in turn, so that many updates of one principal do not delay those of another.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::StoreError;
use super::error::StoreFault;
use super::order_key::OrderKey;
use crate::shares::{FairPermit, FairSemaphore};

/// With one permit.
type Lock = Arc<FairSemaphore>;

/// One lock for each order that this process is updating. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct OrderLocks(Arc<Mutex<HashMap<OrderKey, Lock>>>);

impl OrderLocks {
    /// Waits until no other update of the order runs. The updates of one principal run in the order of the calls.
    ///
    /// # Errors
    /// [`StoreError::LockTimeout`] at the deadline.
    pub(super) async fn lock(
        &self,
        order: OrderKey,
        principal: &Arc<str>,
        deadline: Instant,
    ) -> Result<OrderLock, StoreError> {
        let lock = Arc::clone(
            self.0
                .lock()
                .entry(order.clone())
                .or_insert_with(|| Arc::new(FairSemaphore::new(1))),
        );
        // Removes the entry even if the lock is not acquired.
        let mut held = OrderLock {
            locks: self.clone(),
            order,
            lock: Arc::clone(&lock),
            permit: None,
        };
        let permit = timeout_at(deadline, lock.acquire(principal, 1)).await;
        drop(lock);
        let permit = permit.map_err(|_| StoreError::LockTimeout)?;
        held.permit = Some(permit.ok_or(StoreFault::Closed)?);
        Ok(held)
    }
}

/// The lock of one order; released on drop.
pub(super) struct OrderLock {
    locks: OrderLocks,
    order: OrderKey,
    lock: Lock,
    permit: Option<FairPermit>,
}

impl Drop for OrderLock {
    fn drop(&mut self) {
        let mut locks = self.locks.0.lock();
        self.permit = None;
        // If no update waits, only this one and the map have a reference. No other is added meanwhile, because the
        // map is locked.
        if Arc::strong_count(&self.lock) == 2 {
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
        let principal: Arc<str> = "p".into();
        let lock = |tenant, id| locks.lock(order(tenant, id), &principal, soon());
        let first = lock("a", Uuid::nil()).await.unwrap();
        let other = lock("a", Uuid::max()).await.unwrap();
        // A caller cannot delay the updates of another tenant.
        let tenant = lock("b", Uuid::nil()).await.unwrap();
        let start = Instant::now();
        let rejected = lock("a", Uuid::nil()).await.err();
        assert_eq!(rejected, Some(StoreError::LockTimeout));
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        let (again, ()) = tokio::join!(lock("a", Uuid::nil()), async { drop(first) });
        assert!(again.is_ok());
        drop((again, other, tenant));
        assert!(locks.0.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_update_waits_for_one_update_of_another_principal_at_most() {
        let locks = OrderLocks::default();
        let later = Instant::now() + Duration::from_secs(60);
        let key = order("a", Uuid::nil());
        let update = |principal: &'static str| {
            let (locks, key) = (locks.clone(), key.clone());
            tokio::spawn(async move {
                let lock = locks.lock(key, &principal.into(), later).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(lock);
            })
        };
        let flood: Vec<_> = (0..100).map(|_| update("flood")).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let start = Instant::now();
        update("other").await.unwrap();
        assert!(
            start.elapsed() < Duration::from_millis(40),
            "{:?}",
            start.elapsed()
        );
        for update in flood {
            update.await.unwrap();
        }
        assert!(locks.0.lock().is_empty());
    }
}
