//! Serializes the updates of one order.
//!
//! An update reads, decides, and writes if the version is still the one that was read. Of many concurrent updates,
//! most would find another version, and would have to read and write again. The principals that update one order are
//! served in turn, so that many updates of one principal do not delay those of another.

use std::collections::HashMap;
use std::sync::Arc;

use super::StoreError;
use super::error::StoreFault;
use super::order_key::OrderKey;
use crate::concurrency::{Instant, Mutex, timeout_at};
use crate::shares::{FairPermit, FairSemaphore};

/// One lock for each order that this process is updating. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct OrderLocks(Arc<Mutex<HashMap<OrderKey, Entry>>>);

/// An order that is being updated.
struct Entry {
    /// With one permit.
    semaphore: FairSemaphore,
    /// How many updates hold the lock or wait for it.
    updates: usize,
}

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
        let (semaphore, mut held) = self.enter(order);
        let permit = timeout_at(deadline, semaphore.acquire(principal, 1)).await;
        let permit = permit.map_err(|_| StoreError::LockTimeout)?;
        held.permit = Some(permit.ok_or(StoreFault::Closed)?);
        Ok(held)
    }

    /// Counts an update of the order, until the lock, which it does not hold yet, is dropped.
    fn enter(&self, order: OrderKey) -> (FairSemaphore, OrderLock) {
        let mut locks = self.0.lock();
        let entry = locks.entry(order.clone()).or_insert_with(|| Entry {
            semaphore: FairSemaphore::new(1),
            updates: 0,
        });
        entry.updates += 1;
        let held = OrderLock {
            locks: self.clone(),
            order,
            permit: None,
        };
        (entry.semaphore.clone(), held)
    }

    /// The number of orders that are being updated.
    #[allow(dead_code, reason = "for crates/interleavings")]
    pub(super) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// The lock of one order; released on drop.
pub(super) struct OrderLock {
    locks: OrderLocks,
    order: OrderKey,
    permit: Option<FairPermit>,
}

impl Drop for OrderLock {
    fn drop(&mut self) {
        let mut locks = self.locks.0.lock();
        self.permit = None;
        if let Some(entry) = locks.get_mut(&self.order) {
            entry.updates -= 1;
            if entry.updates == 0 {
                locks.remove(&self.order);
            }
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
