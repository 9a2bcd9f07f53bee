//! The memory budget for responses that are not sent yet, for the whole process.
//!
//! A client that requests a large page and does not read it keeps the page in memory. All clients together may
//! keep `RESPONSE_BUFFER_BYTES`. Above that, further large responses are rejected.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::telemetry::Metrics;

/// Responses of at most this many bytes need no permit, so probes and single small orders are sent even when slow
/// readers hold the whole budget. A connection has one response at a time, so `MAX_CONNECTIONS` bounds these.
pub(crate) const SMALL: usize = 8 * 1024;

/// The budget of bytes of responses that wait to be sent. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ResponseBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl ResponseBudget {
    /// Creates a budget of `limit` bytes.
    pub(crate) fn new(limit: usize, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            limit,
            used: AtomicUsize::new(0),
            metrics,
        }))
    }

    /// Acquires a permit for this many bytes, or returns `None` if they are not free. A response larger than the
    /// whole budget gets a permit when no other response holds one, because it could never be sent otherwise.
    pub(crate) fn acquire(&self, bytes: usize) -> Option<Permit> {
        let permit = self.charge(bytes);
        let others = self.0.used.load(Relaxed).saturating_sub(bytes);
        (others == 0 || others.saturating_add(bytes) <= self.0.limit).then_some(permit)
    }

    /// Returns a permit for bytes that are already in memory, even if they exceed the budget.
    pub(crate) fn charge(&self, bytes: usize) -> Permit {
        self.0.used.fetch_add(bytes, Relaxed);
        self.0.metrics.response_buffer.add(signed(bytes));
        Permit {
            budget: self.clone(),
            bytes,
        }
    }

    /// Whether a stream has to wait before it produces its next part.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.0.used.load(Relaxed) >= self.0.limit
    }
}

/// Bytes of the budget, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    budget: ResponseBudget,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let shared = &self.budget.0;
        shared.used.fetch_sub(self.bytes, Relaxed);
        shared.metrics.response_buffer.sub(signed(self.bytes));
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acquired_bytes_are_not_free_until_the_permit_is_dropped() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let budget = ResponseBudget::new(100, Arc::clone(&metrics));
        let first = budget.acquire(60).unwrap();
        assert!(
            budget.acquire(41).is_none(),
            "and a failed attempt holds nothing"
        );
        let second = budget.acquire(40).unwrap();
        assert!(budget.is_exhausted() && budget.acquire(1).is_none());
        assert_eq!(metrics.response_buffer.get(), 100);
        drop((first, second));
        assert!(!budget.is_exhausted());
        let alone = budget.acquire(1_000).unwrap();
        assert!(budget.acquire(1).is_none());
        drop(alone);
        assert_eq!(metrics.response_buffer.get(), 0);
    }
}
