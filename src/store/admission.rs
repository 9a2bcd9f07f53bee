//! The one bound on how many requests may be in the store, and with it on memory when the database
//! is slow.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::StoreError;
use crate::domain::Order;
use crate::telemetry::QueueMetrics;

/// How many bytes of metadata one place holds; with its JSON and the copy for the database, a request
/// takes some three times that. Who brings more takes more places, so that the capacity bounds memory
/// whatever clients send.
const BYTES_PER_PERMIT: usize = 2048;

/// A door to the store with the metrics of one queue; all doors share the places inside.
#[derive(Clone)]
pub(super) struct Admission {
    places: Arc<Semaphore>,
    capacity: u32,
    metrics: QueueMetrics,
}

impl Admission {
    /// The first door, with `capacity` places inside.
    pub(super) fn new(capacity: usize, metrics: QueueMetrics) -> Self {
        let most = Semaphore::MAX_PERMITS.min(1 << 30);
        let capacity = u32::try_from(capacity.min(most)).unwrap_or(u32::MAX >> 2);
        Self {
            places: Arc::new(Semaphore::new(usize::try_from(capacity).unwrap_or(most))),
            capacity,
            metrics,
        }
    }

    /// Another door to the same places.
    pub(super) fn beside(&self, metrics: QueueMetrics) -> Self {
        Self {
            metrics,
            ..self.clone()
        }
    }

    /// Room for a request that brings this many bytes, or `Overloaded` at once.
    pub(super) fn enter(&self, bytes: usize) -> Result<Ticket, StoreError> {
        let wanted = u32::try_from(bytes / BYTES_PER_PERMIT).unwrap_or(u32::MAX);
        // Who wants more than there is gets in when nobody else is there.
        let places = wanted.saturating_add(1).min(self.capacity);
        match Arc::clone(&self.places).try_acquire_many_owned(places) {
            Ok(places) => {
                self.metrics.depth.inc();
                Ok(Ticket {
                    metrics: self.metrics.clone(),
                    _places: places,
                })
            }
            Err(TryAcquireError::NoPermits) => {
                self.metrics.rejected.inc();
                Err(StoreError::Overloaded)
            }
            Err(TryAcquireError::Closed) => {
                Err(StoreError::Unavailable("the store is closed".to_owned()))
            }
        }
    }

    /// Room for what was read of an order, beside the place of the request; or `Overloaded`.
    pub(super) fn charge(&self, order: &Order) -> Result<Charge, StoreError> {
        let places = u32::try_from(order.metadata.bytes() / BYTES_PER_PERMIT).unwrap_or(u32::MAX);
        // The request itself holds at least one place.
        let places = places.min(self.capacity - 1);
        match Arc::clone(&self.places).try_acquire_many_owned(places) {
            Ok(places) => Ok(Charge { _places: places }),
            Err(TryAcquireError::NoPermits) => {
                self.metrics.rejected.inc();
                Err(StoreError::Overloaded)
            }
            Err(TryAcquireError::Closed) => {
                Err(StoreError::Unavailable("the store is closed".to_owned()))
            }
        }
    }

    /// Waits at most `timeout` until everybody is out, then lets nobody in any more. False when
    /// somebody was still inside.
    pub(super) async fn close(&self, timeout: Duration) -> bool {
        let all = self.places.acquire_many(self.capacity);
        let empty: Result<Result<_, AcquireError>, _> = tokio::time::timeout(timeout, all).await;
        self.places.close();
        matches!(empty, Ok(Ok(_)))
    }
}

/// Room in the store for what a request has read; given back on drop.
pub(super) struct Charge {
    _places: OwnedSemaphorePermit,
}

/// Room in the store; given back on drop.
pub(super) struct Ticket {
    metrics: QueueMetrics,
    _places: OwnedSemaphorePermit,
}

impl Ticket {
    /// Records that a batch of this many is served.
    pub(super) fn batch_of(&self, items: usize) {
        let items = u32::try_from(items).unwrap_or(u32::MAX);
        self.metrics.batch_size.observe(f64::from(items));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.metrics.depth.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[tokio::test]
    async fn who_brings_much_takes_more_places() {
        let door = Admission::new(4, Metrics::new().unwrap().queue("test"));
        let large = door.enter(2 * BYTES_PER_PERMIT).unwrap();
        let small = door.enter(BYTES_PER_PERMIT - 1).unwrap();
        assert_eq!(door.enter(0).err(), Some(StoreError::Overloaded));
        drop(large);
        assert_eq!(
            door.enter(3 * BYTES_PER_PERMIT).err(),
            Some(StoreError::Overloaded)
        );
        drop(small);
        let larger_than_all = door.enter(100 * BYTES_PER_PERMIT).unwrap();
        assert_eq!(door.enter(0).err(), Some(StoreError::Overloaded));
        drop(larger_than_all);
        assert!(door.close(Duration::ZERO).await);
    }
}
