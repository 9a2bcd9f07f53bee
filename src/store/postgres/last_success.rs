//! The time of the last successful statement, as evidence for the readiness check.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The time of the last successful statement.
#[derive(Debug)]
pub(in crate::store) struct LastSuccess {
    start: Instant,
    /// In milliseconds since `start`; 0 if there was none.
    last: AtomicU64,
}

impl LastSuccess {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        }
    }

    /// Records that a statement has succeeded now.
    pub(super) fn record(&self) {
        self.last
            .store(self.since_start(Instant::now()), Ordering::Relaxed);
    }

    /// Whether a statement has succeeded after `time`.
    pub(in crate::store) fn is_after(&self, time: Instant) -> bool {
        self.last.load(Ordering::Relaxed) > self.since_start(time)
    }

    fn since_start(&self, at: Instant) -> u64 {
        let elapsed = at.saturating_duration_since(self.start);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}
