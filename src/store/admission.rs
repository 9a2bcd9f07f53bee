//! Limits the number of requests in the store, and so the memory that they use while the database is slow.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::StoreError;
use super::error::StoreFault;
use crate::domain::Order;
use crate::telemetry::QueueMetrics;

/// The bytes of metadata that one permit covers. With its JSON and the copy for the database, a request takes
/// about three times as much memory. A request with more metadata takes more permits, so that the capacity bounds
/// memory whatever clients send.
const BYTES_PER_PERMIT: usize = 2048;

/// Admits requests to the store and records the metrics of one queue. All queues share the permits.
#[derive(Clone)]
pub(super) struct Admission {
    permits: Arc<Semaphore>,
    capacity: u32,
    metrics: QueueMetrics,
}

impl Admission {
    /// Creates an admission with `capacity` permits.
    pub(super) fn new(capacity: usize, metrics: QueueMetrics) -> Self {
        let most = Semaphore::MAX_PERMITS.min(1 << 30);
        let capacity = u32::try_from(capacity.min(most)).unwrap_or(u32::MAX >> 2);
        Self {
            permits: Arc::new(Semaphore::new(usize::try_from(capacity).unwrap_or(most))),
            capacity,
            metrics,
        }
    }

    /// Returns an admission that shares the permits and records the metrics of another queue.
    pub(super) fn with_metrics(&self, metrics: QueueMetrics) -> Self {
        Self {
            metrics,
            ..self.clone()
        }
    }

    /// Acquires the permits for a request with this many bytes of metadata. Returns `Overloaded` without waiting
    /// if they are not available.
    pub(super) fn acquire(&self, bytes: usize) -> Result<Permit, StoreError> {
        let count = u32::try_from(bytes / BYTES_PER_PERMIT).unwrap_or(u32::MAX);
        // A request above the total capacity is admitted only when the store is empty.
        let permits = self.try_acquire(count.saturating_add(1).min(self.capacity))?;
        self.metrics.depth.inc();
        Ok(Permit {
            metrics: self.metrics.clone(),
            _permits: permits,
        })
    }

    /// Acquires the permits for an order that a request has read, in addition to those of the request itself.
    /// Returns `Overloaded` without waiting if they are not available.
    pub(super) fn acquire_for_order(&self, order: &Order) -> Result<OrderPermit, StoreError> {
        let count = u32::try_from(order.metadata.bytes() / BYTES_PER_PERMIT).unwrap_or(u32::MAX);
        // The request itself holds at least one permit.
        let permits = self.try_acquire(count.min(self.capacity - 1))?;
        Ok(OrderPermit { _permits: permits })
    }

    fn try_acquire(&self, count: u32) -> Result<OwnedSemaphorePermit, StoreError> {
        Arc::clone(&self.permits)
            .try_acquire_many_owned(count)
            .map_err(|error| match error {
                TryAcquireError::NoPermits => {
                    self.metrics.rejected.inc();
                    StoreError::Overloaded
                }
                TryAcquireError::Closed => StoreFault::Closed.into(),
            })
    }

    /// Waits at most `timeout` until every permit is released, then rejects further requests. Returns false if
    /// permits were still in use.
    pub(super) async fn close(&self, timeout: Duration) -> bool {
        let all = self.permits.acquire_many(self.capacity);
        let empty: Result<Result<_, AcquireError>, _> = tokio::time::timeout(timeout, all).await;
        self.permits.close();
        matches!(empty, Ok(Ok(_)))
    }
}

/// The permits for an order that a request has read; released on drop.
pub(super) struct OrderPermit {
    _permits: OwnedSemaphorePermit,
}

/// The permits of a request; released on drop.
pub(super) struct Permit {
    metrics: QueueMetrics,
    _permits: OwnedSemaphorePermit,
}

impl Permit {
    /// Records that a batch of this size is served.
    pub(super) fn record_batch(&self, items: usize) {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        self.metrics.batch_size.observe(f64::from(items));
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
    use crate::telemetry::Metrics;

    #[tokio::test]
    async fn large_requests_take_more_permits() {
        let admission = Admission::new(4, Metrics::new().unwrap().queue("test"));
        let large = admission.acquire(2 * BYTES_PER_PERMIT).unwrap();
        let small = admission.acquire(BYTES_PER_PERMIT - 1).unwrap();
        assert_eq!(admission.acquire(0).err(), Some(StoreError::Overloaded));
        drop(large);
        assert_eq!(
            admission.acquire(3 * BYTES_PER_PERMIT).err(),
            Some(StoreError::Overloaded)
        );
        drop(small);
        let larger_than_all = admission.acquire(100 * BYTES_PER_PERMIT).unwrap();
        assert_eq!(admission.acquire(0).err(), Some(StoreError::Overloaded));
        drop(larger_than_all);
        assert!(admission.close(Duration::ZERO).await);
    }
}
