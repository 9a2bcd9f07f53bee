//! Whether this process may write.
//!
//! A stopped process cannot notice that it was stopped. Therefore the fence does not store whether this process is
//! the leader, but until when it may write, on two clocks, and reads both before each write. The monotonic clock
//! continues while a process is stopped, but not while the machine is suspended. The wall clock continues in both
//! cases, but may be set back. Leadership ends when either clock is past its limit.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// Allows writes until leadership ends.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Mutex<Option<Held>>>);

#[derive(Clone, Copy, Debug)]
struct Held {
    since: Moment,
    span: Duration,
}

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    /// Returns the current time on both clocks.
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// Whether less than `span` has elapsed on both clocks. A wall clock that was set back proves nothing, so the
    /// time then counts as elapsed.
    fn is_within(&self, span: Duration) -> bool {
        self.monotonic.elapsed() < span && self.wall.elapsed().is_ok_and(|passed| passed < span)
    }
}

impl Fence {
    /// Allows writes for `span` after `since`. That is the time before the request for the Lease was sent, because
    /// the server may have granted the Lease at any time between request and response.
    pub fn allow(&self, since: Moment, span: Duration) {
        *self.0.lock() = Some(Held { since, span });
    }

    /// Stops allowing writes.
    pub fn revoke(&self) {
        *self.0.lock() = None;
    }

    /// Whether writes are allowed now.
    pub fn allows_writes(&self) -> bool {
        self.0
            .lock()
            .is_some_and(|held| held.since.is_within(held.span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(monotonic: u64, wall: u64) -> Moment {
        Moment {
            monotonic: Instant::now()
                .checked_sub(Duration::from_secs(monotonic))
                .unwrap(),
            wall: SystemTime::now() - Duration::from_secs(wall),
        }
    }

    #[test]
    fn either_clock_ends_leadership() {
        let span = Duration::from_secs(10);
        let fence = Fence::default();
        assert!(!fence.allows_writes());
        fence.allow(ago(0, 0), span);
        assert!(fence.allows_writes());
        fence.allow(ago(11, 0), span);
        assert!(!fence.allows_writes(), "stopped");
        fence.allow(ago(0, 11), span);
        assert!(!fence.allows_writes(), "suspended");
        let set_back = Moment {
            wall: SystemTime::now() + Duration::from_secs(60),
            ..Moment::now()
        };
        fence.allow(set_back, span);
        assert!(!fence.allows_writes(), "the wall clock was set back");
        fence.allow(ago(0, 0), span);
        fence.revoke();
        assert!(!fence.allows_writes());
    }
}
