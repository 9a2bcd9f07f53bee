//! Limits the number of requests in the store, and so the memory that they use while the database is slow.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::error::StoreFault;
use super::{StoreError, UpdateOrder};
use crate::concurrency::{AtomicBool, timeout};
use crate::domain::{Caller, Order};
use crate::shares::{FairShares, Share, Unavailable, Wanted};
use crate::telemetry::{QueueMetrics, StoreTimes};

/// The bytes of metadata that one permit covers. With its JSON and the copy for the database, a request takes
/// about three times as much memory. A request with more metadata takes more permits, so that the capacity bounds
/// memory whatever clients send.
const BYTES_PER_PERMIT: usize = 2048;

/// The kinds of requests, in the order in which they are rejected as the store fills up. A write that is rejected may
/// be an order that is lost to the shop; a list can be requested again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// Lists and feeds.
    List,
    /// An order by its id.
    Get,
    /// Creates and updates.
    Write,
}

impl RequestKind {
    /// The part of the capacity, and of the share of the caller, from which a request of this kind is rejected.
    fn part(self) -> fn(usize) -> usize {
        match self {
            Self::List => |whole| whole / 2,
            Self::Get => |whole| whole - whole / 4,
            Self::Write => |whole| whole,
        }
    }
}

/// Admits requests to the store and records the metrics of one queue. All queues share the permits.
#[derive(Clone)]
pub(super) struct Admission {
    shares: FairShares,
    closed: Arc<AtomicBool>,
    metrics: Arc<QueueMetrics>,
}

impl Admission {
    /// Creates an admission with `capacity` permits.
    pub(super) fn new(capacity: usize, metrics: QueueMetrics) -> Self {
        Self {
            shares: FairShares::new(capacity),
            closed: Arc::default(),
            metrics: Arc::new(metrics),
        }
    }

    /// Returns an admission that shares the permits and records the metrics of another queue.
    pub(super) fn with_metrics(&self, metrics: QueueMetrics) -> Self {
        Self {
            metrics: Arc::new(metrics),
            ..self.clone()
        }
    }

    /// Acquires the permits for a request with this many bytes of metadata, without waiting. Returns `ShareExceeded`
    /// if the caller would hold too many, and `Overloaded` if all callers together would.
    ///
    /// A list is rejected if more than half of the capacity is in use, and the caller holds at least half of its own
    /// share. The same applies to gets with three quarters. So a flood is rejected early, and a caller with few
    /// requests is admitted until the capacity is used up (see [`Wanted::part`]).
    pub(super) fn acquire(
        &self,
        caller: &Caller,
        kind: RequestKind,
        bytes: usize,
    ) -> Result<Permit, StoreError> {
        // A request above the total capacity is admitted only when the store is empty.
        let wanted = Wanted {
            part: kind.part(),
            ..Wanted::of(permits(bytes))
        };
        let share = self.try_acquire(caller, wanted)?;
        self.metrics.depth.inc();
        Ok(Permit {
            metrics: Arc::clone(&self.metrics),
            share,
        })
    }

    /// Acquires the permits for several writes, without waiting: one permit for each, where `bytes` are the bytes of
    /// metadata of each, and as many as `rejected` for the problems of others in the same request. The errors are those
    /// of [`Self::acquire`], and then no permit is held.
    ///
    /// The writes are admitted while the caller holds at most half of its share, and all callers at most half of the
    /// capacity, even if they exceed what is left of them. So a caller with other requests in progress, and a service
    /// with a small capacity, can do them, too.
    pub(super) fn acquire_each(
        &self,
        caller: &Caller,
        bytes: impl Iterator<Item = usize> + Clone,
        rejected: usize,
    ) -> Result<(Vec<Permit>, Share), StoreError> {
        let writes: usize = bytes.clone().map(permits).sum();
        let wanted = Wanted {
            exceeds_up_to: |whole| whole / 2,
            ..Wanted::of(writes.saturating_add(rejected))
        };
        let mut share = self.try_acquire(caller, wanted)?;
        let each = bytes.map(|bytes| {
            self.metrics.depth.inc();
            Permit {
                metrics: Arc::clone(&self.metrics),
                share: share.split(permits(bytes)),
            }
        });
        Ok((each.collect(), share))
    }

    /// Acquires the permits for an order that an update has read, in addition to those of the update itself, without
    /// waiting. The errors are those of [`Self::acquire`].
    pub(super) fn acquire_for_order(
        &self,
        command: &UpdateOrder,
        order: &Order,
    ) -> Result<OrderPermit, StoreError> {
        let held_already = permits(command.bytes());
        let amount = order.metadata.bytes() / BYTES_PER_PERMIT;
        let wanted = Wanted {
            // An order of any size can be updated when the store is otherwise empty.
            amount: amount.min(self.shares.capacity().saturating_sub(held_already)),
            held_already,
            ..Wanted::of(0)
        };
        let share = self.try_acquire(&command.caller, wanted)?;
        Ok(OrderPermit { _share: share })
    }

    fn try_acquire(&self, caller: &Caller, wanted: Wanted) -> Result<Share, StoreError> {
        let share = self.shares.acquire(&caller.id, wanted);
        // After the permits are acquired: so closing either finds them, or is found here.
        fence(Ordering::SeqCst);
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreFault::Closed.into());
        }
        share.map_err(|error| match error {
            Unavailable::Share => StoreError::ShareExceeded,
            Unavailable::Capacity => {
                self.metrics.rejected.inc();
                StoreError::Overloaded
            }
        })
    }

    /// Waits at most `within` until every permit is released, then rejects further requests. Returns false if
    /// permits were still in use.
    pub(super) async fn close(&self, within: Duration) -> bool {
        let empty = timeout(within, async {
            self.shares.unused().await;
            self.reject_all();
            // Of requests that were admitted in between.
            self.shares.unused().await;
        });
        let empty = empty.await;
        self.reject_all();
        empty.is_ok()
    }

    fn reject_all(&self) {
        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// The number of permits of a request with this many bytes of metadata.
fn permits(bytes: usize) -> usize {
    (bytes / BYTES_PER_PERMIT).saturating_add(1)
}

/// The permits for an order that a request has read; released on drop.
pub(super) struct OrderPermit {
    _share: Share,
}

/// The permits of a request; released on drop.
pub(super) struct Permit {
    metrics: Arc<QueueMetrics>,
    share: Share,
}

impl Permit {
    /// Records that a batch of this size is served.
    pub(super) fn record_batch(&self, items: usize) {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        self.metrics.batch_size.observe(f64::from(items));
    }

    /// Records the times of requests of the same queue that have their outcomes.
    pub(super) fn record_times(&self, requests: impl ExactSizeIterator<Item = StoreTimes>) {
        self.metrics.stages.observe(requests);
    }

    /// The share of the caller.
    pub(super) fn share(&self) -> &Share {
        &self.share
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.metrics.depth.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AuthType;
    use crate::telemetry::Metrics;

    fn admission(capacity: usize) -> Admission {
        Admission::new(capacity, Metrics::new().unwrap().queue("test"))
    }

    fn caller(id: &str) -> Caller {
        Caller {
            id: id.into(),
            auth_type: AuthType::ApiKey,
            ..Caller::anonymous()
        }
    }

    #[tokio::test]
    async fn large_requests_take_more_permits() {
        let admission = admission(8);
        let caller = caller("a");
        let acquire = |bytes| admission.acquire(&caller, RequestKind::Write, bytes);
        let large = acquire(2 * BYTES_PER_PERMIT).unwrap();
        let small = acquire(BYTES_PER_PERMIT - 1).unwrap();
        assert_eq!(acquire(0).err(), Some(StoreError::ShareExceeded));
        drop(large);
        assert_eq!(
            acquire(3 * BYTES_PER_PERMIT).err(),
            Some(StoreError::ShareExceeded)
        );
        drop(small);
        let larger_than_all = acquire(100 * BYTES_PER_PERMIT).unwrap();
        assert_eq!(acquire(0).err(), Some(StoreError::ShareExceeded));
        let other = self::caller("b");
        let rejected = admission.acquire(&other, RequestKind::Write, 0);
        assert_eq!(rejected.err(), Some(StoreError::Overloaded));
        drop(larger_than_all);
        assert!(admission.close(Duration::ZERO).await);
        assert!(matches!(acquire(0), Err(StoreError::Unavailable(_))));
    }

    #[tokio::test]
    async fn several_writes_hold_the_permits_of_each_until_it_is_done() {
        let metrics = Metrics::new().unwrap().queue("test");
        let depth = metrics.depth.clone();
        let admission = Admission::new(20, metrics);
        let acquire_each = |bytes: &[usize]| {
            let acquired = admission.acquire_each(&caller("a"), bytes.iter().copied(), 0);
            acquired.map(|(permits, _)| permits)
        };
        let mut writes = acquire_each(&[0, 2 * BYTES_PER_PERMIT, 0]).unwrap();
        let amounts: Vec<_> = writes.iter().map(|write| write.share().amount()).collect();
        assert_eq!((amounts, depth.get()), (vec![1, 3, 1], 3));
        // Half of the share of 10 is held.
        let large = acquire_each(&[0; 100]).unwrap();
        assert_eq!((large.len(), depth.get()), (100, 103));
        drop(large);
        writes.remove(1);
        assert_eq!((admission.shares.used(), depth.get()), (2, 2));
        writes.extend(acquire_each(&[0; 8]).unwrap());
        let rejected = acquire_each(&[0]).err();
        assert_eq!(rejected, Some(StoreError::ShareExceeded));
        assert_eq!((admission.shares.used(), depth.get()), (10, 10));
        drop(writes);
        assert_eq!((admission.shares.used(), depth.get()), (0, 0));
        let (writes, rejected) = admission
            .acquire_each(&caller("a"), [0].into_iter(), 5)
            .unwrap();
        assert_eq!((admission.shares.used(), depth.get()), (6, 1));
        drop(writes);
        assert_eq!((admission.shares.used(), depth.get()), (5, 0));
        drop(rejected);
        assert_eq!(admission.shares.used(), 0);
    }

    #[tokio::test]
    async fn closing_waits_for_the_last_permit() {
        let admission = admission(8);
        let permit = admission.acquire(&caller("a"), RequestKind::Get, 0);
        let permit = permit.unwrap();
        let closing = tokio::spawn({
            let admission = admission.clone();
            async move { admission.close(Duration::from_secs(60)).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(!closing.is_finished());
        drop(permit);
        assert!(closing.await.unwrap());
    }

    #[test]
    fn a_principal_that_uses_its_share_has_lists_rejected_above_half_of_the_capacity_and_gets_above_three_quarters()
     {
        let admission = admission(120);
        let acquire = |id, kind| admission.acquire(&caller(id), kind, 0);
        let admits = |id, kind| acquire(id, kind).is_ok();
        let hold = |id, amount| -> Vec<_> {
            let acquired = (0..amount).map(|_| acquire(id, RequestKind::Write).unwrap());
            acquired.collect()
        };
        let flood = hold("flood", 60);
        let rejected = acquire("flood", RequestKind::List).err();
        assert_eq!(rejected, Some(StoreError::ShareExceeded));
        // With two principals, each has a share of 40.
        let mut held = Vec::new();
        for used in 60..100 {
            let own = held.len();
            assert_eq!(
                admits("other", RequestKind::List),
                used <= 60 || own < 20,
                "{used}"
            );
            assert_eq!(
                admits("other", RequestKind::Get),
                used <= 90 || own < 30,
                "{used}"
            );
            assert!(admits("other", RequestKind::Write), "{used}");
            held.extend(hold("other", 1));
        }
        // With three, each has a share of 30. One that holds less than half of it is admitted.
        let mut lists: Vec<_> = (0..15)
            .map(|_| acquire("quiet", RequestKind::List).unwrap())
            .collect();
        let rejected = acquire("quiet", RequestKind::List).err();
        assert_eq!(rejected, Some(StoreError::Overloaded));
        lists.extend((15..20).map(|_| acquire("quiet", RequestKind::Get).unwrap()));
        // The capacity is used up.
        for kind in [RequestKind::List, RequestKind::Get, RequestKind::Write] {
            assert_eq!(acquire("new", kind).err(), Some(StoreError::Overloaded));
        }
        drop((flood, held));
        assert!(admits("quiet", RequestKind::List));
    }
}
