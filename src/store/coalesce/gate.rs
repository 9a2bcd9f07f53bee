//! Where a worker rests until the next batch may begin.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::pace::Rest;

/// With so many waiting when a batch is done, the queue is behind, and nobody rests.
const BEHIND: usize = 12;

/// Who asks while a worker rests looks whether that is over: while there is something to wait for,
/// many come, and so no timer of microseconds is needed. Tokio has none.
pub(super) struct Gate {
    asked: AtomicUsize,
    taken: AtomicUsize,
    /// Zero while no worker rests.
    wanted: AtomicUsize,
    /// Nanoseconds since `start`.
    until: AtomicU64,
    start: Instant,
    over: Notify,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self {
            asked: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            wanted: AtomicUsize::new(0),
            until: AtomicU64::new(0),
            start: Instant::now(),
            over: Notify::new(),
        }
    }

    /// One more waits, and can be taken.
    pub(super) fn asked(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let wanted = self.wanted.load(Ordering::SeqCst);
        if wanted > 0 && self.is_over(wanted) {
            self.over.notify_one();
        }
    }

    /// So many wait no longer.
    pub(super) fn took(&self, many: usize) {
        self.taken.fetch_add(many, Ordering::SeqCst);
    }

    /// Waits until the rest is over. For one worker at a time.
    pub(super) async fn rest(&self, rest: Rest) {
        if self.waiting() >= BEHIND {
            return;
        }
        self.until.store(self.nanos(rest.until), Ordering::SeqCst);
        self.wanted.store(rest.wanted, Ordering::SeqCst);
        while !self.is_over(rest.wanted) {
            // Rings up to a millisecond late. It is for when nobody comes any more.
            let _ = timeout_at(rest.until, self.over.notified()).await;
        }
        self.wanted.store(0, Ordering::SeqCst);
    }

    fn is_over(&self, wanted: usize) -> bool {
        self.waiting() >= wanted || self.nanos(Instant::now()) >= self.until.load(Ordering::SeqCst)
    }

    fn waiting(&self) -> usize {
        let asked = self.asked.load(Ordering::SeqCst);
        // Who is taken before being counted makes it fewer than none for a moment.
        asked.saturating_sub(self.taken.load(Ordering::SeqCst))
    }

    fn nanos(&self, moment: Instant) -> u64 {
        let since = moment.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    /// How long a rest lasts in which this many ask at once.
    async fn rested(before: usize, meanwhile: usize) -> Duration {
        let (gate, begun) = (Arc::new(Gate::new()), Instant::now());
        for _ in 0..before {
            gate.asked();
        }
        let until = begun + Duration::from_millis(1);
        let resting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.rest(Rest { wanted: 16, until }).await }
        });
        tokio::task::yield_now().await;
        for _ in 0..meanwhile {
            gate.asked();
        }
        resting.await.unwrap();
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_is_over_when_all_are_there_or_its_time_is() {
        assert_eq!(rested(4, 12).await, Duration::ZERO);
        assert_eq!(rested(BEHIND, 0).await, Duration::ZERO);
        for few in [0, 11] {
            let alone = rested(4, few).await;
            assert!(alone >= Duration::from_millis(1), "{alone:?}");
            assert!(alone <= Duration::from_millis(3), "{alone:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_when_its_time_is_over_ends_a_rest_before_the_timer_does() {
        let gate = Arc::new(Gate::new());
        let until = Instant::now() + Duration::from_micros(300);
        let resting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.rest(Rest { wanted: 9, until }).await }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_micros(299)).await;
        gate.asked();
        tokio::task::yield_now().await;
        assert!(!resting.is_finished());
        tokio::time::advance(Duration::from_micros(1)).await;
        tokio::task::yield_now().await;
        assert!(!resting.is_finished(), "the timer is not that exact");
        gate.asked();
        resting.await.unwrap();
        assert!(Instant::now() == until);
    }
}
