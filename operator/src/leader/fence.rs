//! Whether this process may write.
//!
//! A process that was stopped does not know it. So nobody remembers "I am the leader": what is
//! remembered is until when, on two clocks, and both are read before each write. The monotonic clock
//! runs on while a process is stopped, but not while a machine sleeps; the wall clock does, but may be
//! set back. Leadership has ended when either says so.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

/// Says whether this process may write.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Mutex<Option<Held>>>);

#[derive(Clone, Copy, Debug)]
struct Held {
    since: Moment,
    span: Duration,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// Whether less than this has passed, on both clocks. A wall clock that was set back tells
    /// nothing, and counts as having passed.
    fn is_within(&self, span: Duration) -> bool {
        self.monotonic.elapsed() < span && self.wall.elapsed().is_ok_and(|passed| passed < span)
    }
}

impl Fence {
    /// Lets writes through for this long since a moment: the one before the lease was asked for, since
    /// nobody knows how long the answer took.
    pub fn allow(&self, since: Moment, span: Duration) {
        *self.0.lock() = Some(Held { since, span });
    }

    /// Lets none through.
    pub fn revoke(&self) {
        *self.0.lock() = None;
    }

    /// Whether writes are let through now.
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
    fn either_clock_ends_it() {
        let span = Duration::from_secs(10);
        let fence = Fence::default();
        assert!(!fence.allows_writes());
        fence.allow(ago(0, 0), span);
        assert!(fence.allows_writes());
        fence.allow(ago(11, 0), span);
        assert!(!fence.allows_writes(), "stopped");
        fence.allow(ago(0, 11), span);
        assert!(!fence.allows_writes(), "asleep");
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
