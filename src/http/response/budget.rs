//! The memory of responses that are not sent yet, bounded for the whole process.
//!
//! A client that asks for a large page and does not read it keeps the page in memory. What all
//! clients together may keep is `RESPONSE_BUFFER_BYTES`; past it a further large response is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::telemetry::Metrics;

/// Responses up to so many bytes need no permit: probes and single small orders get through when
/// slow readers hold the whole budget. One connection has one response at a time, so
/// `MAX_CONNECTIONS` bounds these.
pub(crate) const SMALL: usize = 8 * 1024;

/// How many bytes of responses may wait to be sent.
#[derive(Clone, Debug)]
pub struct ResponseBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl ResponseBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Shared {
            limit,
            used: AtomicUsize::new(0),
            metrics,
        }))
    }

    /// A permit for so many bytes; `None` when they are not free. A response that is larger than
    /// the whole budget gets one when nobody else has any, or it could never be sent.
    pub(crate) fn take(&self, bytes: usize) -> Option<Permit> {
        let permit = self.charge(bytes);
        let others = self.0.used.load(Relaxed).saturating_sub(bytes);
        (others == 0 || others.saturating_add(bytes) <= self.0.limit).then_some(permit)
    }

    /// A permit for bytes that are in memory already.
    pub(crate) fn charge(&self, bytes: usize) -> Permit {
        self.0.used.fetch_add(bytes, Relaxed);
        self.0.metrics.response_buffer.add(signed(bytes));
        Permit {
            budget: self.clone(),
            bytes,
        }
    }

    /// Whether a stream has to wait before it makes its next part.
    pub(crate) fn is_spent(&self) -> bool {
        self.0.used.load(Relaxed) >= self.0.limit
    }
}

/// So many bytes of the budget, until it is dropped.
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
    fn what_is_taken_is_missing_until_it_is_given_back() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let budget = ResponseBudget::new(100, Arc::clone(&metrics));
        let first = budget.take(60).unwrap();
        assert!(budget.take(41).is_none(), "and a refusal keeps nothing");
        let second = budget.take(40).unwrap();
        assert!(budget.is_spent() && budget.take(1).is_none());
        assert_eq!(metrics.response_buffer.get(), 100);
        drop((first, second));
        assert!(!budget.is_spent());
        let alone = budget.take(1_000).unwrap();
        assert!(budget.take(1).is_none());
        drop(alone);
        assert_eq!(metrics.response_buffer.get(), 0);
    }
}
