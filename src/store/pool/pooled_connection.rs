//! The maximum lifetime of a connection.
//!
//! deadpool records when a connection was created, but has no maximum lifetime, and no jitter to prevent
//! connections that were opened together from being replaced together.

use std::time::{Duration, Instant};

use super::{ConnectionPermits, Poolable};

/// A connection with the times that decide about its reuse.
pub(super) struct PooledConnection<T> {
    /// Boxed, because deadpool moves the connection several times for each use.
    pub(super) inner: Box<T>,
    pub(super) opened: Instant,
    /// When the server last responded in a liveness check, or when the connection was opened.
    pub(super) last_response: Instant,
    pub(super) expires: Instant,
}

impl<T: Poolable> PooledConnection<T> {
    /// Wraps a connection that was just opened.
    pub(super) fn new(inner: T, max_lifetime: Duration) -> Self {
        let now = Instant::now();
        Self {
            inner: Box::new(inner),
            opened: now,
            last_response: now,
            expires: now + with_jitter(max_lifetime),
        }
    }

    pub(super) fn close(self, permits: ConnectionPermits) {
        self.inner.close(Some(permits));
    }
}

/// Up to a tenth less than `lifetime`.
fn with_jitter(lifetime: Duration) -> Duration {
    lifetime - jitter(lifetime / 10)
}

/// A random duration below `most`, to spread events that would otherwise coincide.
pub(in crate::store) fn jitter(most: Duration) -> Duration {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    let hundredths = u32::try_from(random % 100).unwrap_or_default();
    most * hundredths / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_shortens_a_lifetime_by_at_most_a_tenth() {
        let lifetime = Duration::from_secs(1800);
        let seen: std::collections::HashSet<_> = (0..200).map(|_| with_jitter(lifetime)).collect();
        assert!(seen.len() > 10);
        assert!(
            seen.iter()
                .all(|j| *j <= lifetime && *j >= lifetime * 9 / 10)
        );
    }
}
