//! The permit of one rollout.

use std::time::Duration;

use tokio::time::Instant;

use super::Cause;

/// A permit counts for this long. A migration that retries for longer, because its database is unreachable, continues
/// but does not block the others.
pub(super) const COUNTED_FOR: Duration = Duration::from_secs(1800);

#[derive(Debug)]
pub(super) struct Permit {
    pub(super) cause: Cause,
    since: Instant,
}

impl Permit {
    pub(super) fn new(cause: Cause) -> Self {
        let since = Instant::now();
        Self { cause, since }
    }

    /// Whether the permit counts toward the limits.
    pub(super) fn counts(&self) -> bool {
        self.since.elapsed() < COUNTED_FOR
    }
}
