//! How long to wait after a failure: twice as long each time, up to five minutes, per object, and
//! never all objects at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use parking_lot::Mutex;

use super::error::Class;

const FIRST: Duration = Duration::from_secs(1);
const FIRST_AFTER_CONFLICT: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(300);

/// Failures in a row, by the identity of the object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<String, u32>>,
    random: RandomState,
}

impl Backoff {
    /// Counts a failure and says how long to wait.
    pub fn failed(&self, uid: &str, class: Class) -> Duration {
        let before = {
            let mut failures = self.failures.lock();
            let count = failures.entry(uid.to_owned()).or_default();
            let before = *count;
            *count = count.saturating_add(1);
            before
        };
        let first = match class {
            Class::Conflict => FIRST_AFTER_CONFLICT,
            Class::Transient | Class::Permanent | Class::Fenced => FIRST,
        };
        let whole = first.saturating_mul(1_u32 << before.min(16)).min(LONGEST);
        self.spread(whole, 2)
    }

    /// Forgets the failures of an object.
    pub fn forget(&self, uid: &str) {
        self.failures.lock().remove(uid);
    }

    /// A time between this one less its `share`th part and this one.
    pub fn spread(&self, whole: Duration, share: u32) -> Duration {
        let part = whole / share.max(1);
        // A hash of nothing with fresh keys each time is random enough, and needs no crate.
        let millis = u64::try_from(part.as_millis()).unwrap_or(u64::MAX).max(1);
        let random = self.random.hash_one(std::time::Instant::now()) % millis;
        whole.saturating_sub(Duration::from_millis(random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes_and_start_anew() {
        let backoff = Backoff::default();
        let mut whole = FIRST;
        for _ in 0..12 {
            let wait = backoff.failed("a", Class::Transient);
            assert!(wait <= whole && wait >= whole / 2, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(whole, LONGEST);
        assert!(backoff.failed("b", Class::Transient) <= FIRST, "per object");
        backoff.forget("a");
        assert!(backoff.failed("a", Class::Conflict) <= FIRST_AFTER_CONFLICT);
    }
}
