//! The delay before a retry. It doubles each time, up to five minutes. Jitter prevents many objects from being
//! retried at the same moment.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The delay before the first check whether something missing has appeared.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The maximum delay.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Consecutive failures and waits, by the UID of the object.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, Failures>>);

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// When the current series of consecutive errors began.
    since: Option<Instant>,
}

impl Backoff {
    /// Counts a failure and returns how long to wait. `first` is the wait after the first failure.
    pub(crate) fn failed(&self, uid: &str, first: Duration) -> Duration {
        let mut all = self.0.lock();
        let failures = all.entry(uid.to_owned()).or_default();
        failures.since.get_or_insert_with(Instant::now);
        failures.next_wait(first)
    }

    /// Counts a wait for something that is missing and returns how long to wait. A wait is not a failure, so it
    /// ends a series of errors.
    pub(crate) fn waiting(&self, uid: &str) -> Duration {
        let mut all = self.0.lock();
        let failures = all.entry(uid.to_owned()).or_default();
        failures.since = None;
        failures.next_wait(FIRST_WAIT)
    }

    /// Returns for how long every attempt has failed.
    pub(crate) fn failing_for(&self, uid: &str) -> Duration {
        let since = self.0.lock().get(uid).and_then(|failures| failures.since);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Removes the failures of an object.
    pub(crate) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

impl Failures {
    fn next_wait(&mut self, first: Duration) -> Duration {
        let wait = backoff(first, self.count);
        self.count = self.count.saturating_add(1);
        wait
    }
}

/// Returns `first`, doubled `doublings` times, at most [`MAX_BACKOFF`], minus up to half of it as jitter.
pub(crate) fn backoff(first: Duration, doublings: u32) -> Duration {
    let full = first.saturating_mul(1_u32 << doublings.min(16));
    jitter(full.min(MAX_BACKOFF), 2)
}

/// Returns a random duration between `full` minus its `fraction`th part and `full`.
pub(crate) fn jitter(full: Duration, fraction: u32) -> Duration {
    let part = full / fraction.max(1);
    // `RandomState` has new random keys each time, so the hash of `()` is random enough.
    let millis = u64::try_from(part.as_millis()).unwrap_or(u64::MAX).max(1);
    let random = RandomState::new().hash_one(()) % millis;
    full.saturating_sub(Duration::from_millis(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn waits_grow_to_five_minutes_and_restart_after_success() {
        let backoff = Backoff::default();
        let mut full = SECOND;
        for _ in 0..12 {
            let wait = backoff.failed("a", SECOND);
            assert!(wait <= full && wait >= full / 2, "{wait:?} of {full:?}");
            full = (full * 2).min(MAX_BACKOFF);
        }
        assert_eq!(full, MAX_BACKOFF);
        assert!(backoff.failed("b", SECOND) <= SECOND, "per object");
        backoff.forget("a");
        assert!(backoff.failed("a", SECOND / 5) <= SECOND / 5);
    }

    #[tokio::test(start_paused = true)]
    async fn only_consecutive_errors_count_as_lasting() {
        let backoff = Backoff::default();
        let minute = Duration::from_secs(60);
        assert_eq!(backoff.failing_for("a"), Duration::ZERO);
        backoff.failed("a", SECOND);
        tokio::time::advance(minute).await;
        backoff.failed("a", SECOND);
        assert_eq!(backoff.failing_for("a"), minute);
        // Hours of waiting for a secret are not hours of failure when an error follows.
        backoff.waiting("a");
        tokio::time::advance(minute).await;
        assert_eq!(backoff.failing_for("a"), Duration::ZERO);
    }
}
