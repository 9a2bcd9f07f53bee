//! Limits the rate of each principal, or of each address.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::milliseconds;
use crate::concurrency::{AtomicU64, Instant, RwLock};

/// The maximum number of keys that are told apart. Keys beyond it share one limiter, so a caller with many identities
/// or addresses cannot evict another one, and memory is bounded. An entry takes about 200 bytes.
const MAX_ENTRIES: usize = 16_384;
/// How often entries that are no longer needed are removed, in milliseconds. Only a new key removes them.
const SWEEP: u64 = 1_000;

/// One limiter for each key: a burst of requests, and then a number of requests per second. Cheap to clone.
///
/// The algorithm is GCRA, so a request costs one atomic update and no timer.
#[derive(Clone, Debug)]
pub(crate) struct RateLimits<K>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    quota: Quota,
    clock: Elapsed,
    /// When entries were last removed, in milliseconds.
    swept: AtomicU64,
    entries: RwLock<HashMap<K, Entry>>,
    /// For keys beyond [`MAX_ENTRIES`].
    others: Entry,
}

#[derive(Debug)]
struct Entry {
    limiter: RateLimiter<NotKeyed, InMemoryState, Elapsed, StateInformationMiddleware>,
    /// When it was last used, in milliseconds.
    used: AtomicU64,
}

/// The time since the limits were created.
#[derive(Clone, Debug)]
struct Elapsed(Instant);

impl Clock for Elapsed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl<K: Clone + Eq + Hash> RateLimits<K> {
    /// Permits each key `burst` requests at once and `rate` requests per second.
    pub(crate) fn new(burst: NonZeroU32, rate: NonZeroU32) -> Self {
        let quota = Quota::per_second(rate).allow_burst(burst);
        let clock = Elapsed(Instant::now());
        Self(Arc::new(Inner {
            quota,
            swept: AtomicU64::new(0),
            entries: RwLock::default(),
            others: Entry::new(quota, &clock),
            clock,
        }))
    }

    /// Counts a request. Returns how many more requests would be permitted at this moment, or `None` if this one
    /// exceeds the rate. Such a request does not count.
    pub(crate) fn check(&self, key: &K) -> Option<u32> {
        let inner = &*self.0;
        if let Some(entry) = inner.entries.read().get(key) {
            return entry.check(&inner.clock);
        }
        let now = milliseconds(inner.clock.now());
        let mut entries = inner.entries.write();
        if now >= inner.swept.load(Relaxed).saturating_add(SWEEP) {
            inner.swept.store(now, Relaxed);
            // After this time without a request, a limiter permits the whole burst again, like a new one.
            let full = milliseconds(inner.quota.burst_size_replenished_in()).saturating_add(1);
            entries.retain(|_, entry| now < entry.used.load(Relaxed).saturating_add(full));
        }
        if entries.len() < MAX_ENTRIES || entries.contains_key(key) {
            let entry = entries.entry(key.clone());
            let entry = entry.or_insert_with(|| Entry::new(inner.quota, &inner.clock));
            return entry.check(&inner.clock);
        }
        drop(entries);
        inner.others.check(&inner.clock)
    }
}

impl Entry {
    fn new(quota: Quota, clock: &Elapsed) -> Self {
        Self {
            limiter: RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware(),
            used: AtomicU64::new(0),
        }
    }

    fn check(&self, clock: &Elapsed) -> Option<u32> {
        self.used.store(milliseconds(clock.now()), Relaxed);
        let state = self.limiter.check().ok()?;
        Some(state.remaining_burst_capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(burst: u32, rate: u32) -> RateLimits<u32> {
        let positive = |number| NonZeroU32::new(number).unwrap();
        RateLimits::new(positive(burst), positive(rate))
    }

    async fn advance(milliseconds: u64) {
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_permitted_and_then_the_rate() {
        let limits = limits(3, 2);
        for remaining in [2, 1, 0] {
            assert_eq!(limits.check(&1), Some(remaining));
        }
        assert_eq!(limits.check(&1), None);
        assert_eq!(limits.check(&2), Some(2), "another key has its own limiter");
        advance(499).await;
        assert!(limits.check(&1).is_none());
        advance(1).await;
        assert_eq!(limits.check(&1), Some(0));
        assert!(limits.check(&1).is_none());
        advance(1_500).await;
        for remaining in [2, 1, 0] {
            assert_eq!(limits.check(&1), Some(remaining));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_over_time() {
        let limits = limits(5, 20);
        let mut permitted = 0;
        for _ in 0..10_000 {
            permitted += usize::from(limits.check(&1).is_some());
            advance(1).await;
        }
        assert_eq!(permitted, 5 + 10 * 20 - 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_key_is_removed_once_its_limiter_is_like_a_new_one() {
        let limits = limits(10, 5);
        for key in 0..1_000 {
            while limits.check(&key).is_some() {}
        }
        advance(1_999).await;
        assert!(limits.check(&1_000).is_some());
        assert_eq!(limits.0.entries.read().len(), 1_001);
        advance(1_000).await;
        assert!(limits.check(&1_001).is_some());
        assert_eq!(limits.0.entries.read().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn many_keys_evict_no_key_and_take_bounded_memory() {
        let limits = limits(2, 1);
        while limits.check(&0).is_some() {}
        let most = u32::try_from(MAX_ENTRIES).unwrap();
        let strangers = (1..10 * most).filter(|key| limits.check(key).is_some());
        // Those beyond the limit share one burst of two.
        assert_eq!(strangers.count(), MAX_ENTRIES - 1 + 2);
        assert_eq!(limits.0.entries.read().len(), MAX_ENTRIES);
        assert!(limits.check(&0).is_none(), "its limiter is the same");
    }
}
