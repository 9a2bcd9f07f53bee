//! When statements succeeded: evidence for the readiness check.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The time of the last statement that succeeded, in milliseconds since the store was opened.
#[derive(Debug)]
pub(in crate::store) struct Served {
    start: Instant,
    last: AtomicU64,
}

impl Served {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// A statement has succeeded.
    pub(super) fn note(&self) {
        self.last
            .store(self.since_start(Instant::now()), Ordering::Relaxed);
    }

    /// Whether one has since then.
    pub(in crate::store) fn since(&self, then: Instant) -> bool {
        self.last.load(Ordering::Relaxed) > self.since_start(then)
    }

    fn since_start(&self, at: Instant) -> u64 {
        let elapsed = at.saturating_duration_since(self.start);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}
