//! How long to wait after a failure: twice as long each time, up to five minutes, per object, and
//! never all objects at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::reconcile::error::ErrorClass;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const FIRST_RETRY_AFTER_CONFLICT: Duration = Duration::from_millis(200);
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Failures in a row, by the identity of the object.
#[derive(Debug, Default)]
pub struct Backoff(Mutex<HashMap<String, Failures>>);

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// Since when there were errors and nothing else.
    since: Option<Instant>,
}

impl Backoff {
    /// Counts a failure and says how long to wait.
    pub fn failed(&self, uid: &str, class: ErrorClass) -> Duration {
        let mut all = self.0.lock();
        let failures = all.entry(uid.to_owned()).or_default();
        failures.since.get_or_insert_with(Instant::now);
        failures.wait(match class {
            ErrorClass::Conflict => FIRST_RETRY_AFTER_CONFLICT,
            ErrorClass::Transient | ErrorClass::Permanent | ErrorClass::Fenced => FIRST_RETRY,
        })
    }

    /// The same for something that is missing: nothing failed, but it is asked for less and less often.
    pub fn waits(&self, uid: &str) -> Duration {
        let mut all = self.0.lock();
        let failures = all.entry(uid.to_owned()).or_default();
        failures.since = None;
        failures.wait(FIRST_RETRY)
    }

    /// For how long there have been errors and nothing else.
    pub fn failing_for(&self, uid: &str) -> Duration {
        let since = self.0.lock().get(uid).and_then(|failures| failures.since);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Forgets the failures of an object.
    pub fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

impl Failures {
    fn wait(&mut self, first: Duration) -> Duration {
        let wait = backoff(first, self.count);
        self.count = self.count.saturating_add(1);
        wait
    }
}

/// The first time, doubled so often, at most five minutes; and then up to half of it less.
pub fn backoff(first: Duration, doubled: u32) -> Duration {
    let whole = first.saturating_mul(1_u32 << doubled.min(16));
    jitter(whole.min(MAX_BACKOFF), 2)
}

/// A time between this one less its `share`th part and this one.
pub fn jitter(whole: Duration, share: u32) -> Duration {
    let part = whole / share.max(1);
    // A hash of nothing with fresh keys each time is random enough, and needs no crate.
    let millis = u64::try_from(part.as_millis()).unwrap_or(u64::MAX).max(1);
    let random = RandomState::new().hash_one(()) % millis;
    whole.saturating_sub(Duration::from_millis(random))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes_and_start_anew() {
        let backoff = Backoff::default();
        let mut whole = FIRST_RETRY;
        for _ in 0..12 {
            let wait = backoff.failed("a", ErrorClass::Transient);
            assert!(wait <= whole && wait >= whole / 2, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(MAX_BACKOFF);
        }
        assert_eq!(whole, MAX_BACKOFF);
        assert!(
            backoff.failed("b", ErrorClass::Transient) <= FIRST_RETRY,
            "per object"
        );
        backoff.forget("a");
        assert!(backoff.failed("a", ErrorClass::Conflict) <= FIRST_RETRY_AFTER_CONFLICT);
    }

    #[tokio::test(start_paused = true)]
    async fn only_errors_in_a_row_last() {
        let backoff = Backoff::default();
        let minute = Duration::from_secs(60);
        assert_eq!(backoff.failing_for("a"), Duration::ZERO);
        backoff.failed("a", ErrorClass::Transient);
        tokio::time::advance(minute).await;
        backoff.failed("a", ErrorClass::Conflict);
        assert_eq!(backoff.failing_for("a"), minute);
        // To wait for a secret for hours is no error of hours when then one comes.
        backoff.waits("a");
        tokio::time::advance(minute).await;
        assert_eq!(backoff.failing_for("a"), Duration::ZERO);
    }
}
