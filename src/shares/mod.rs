//! Fair shares: how much of a bounded resource one principal may hold.
//!
//! A principal holds at most `capacity / (n + 1)` permits, where n counts the principals that held a permit or were
//! rejected within the last second. The `+ 1` is for the next principal: without it, one principal alone could hold
//! everything, and the next one would be rejected until requests end.
//!
//! Two kinds of resource have shares. [`FairShares`] rejects at once (requests in the store, bytes of responses,
//! streams). [`FairSemaphore`] lets callers wait, and serves their principals in turn. [`RateLimits`] bounds the
//! requests of each principal by time instead of by number.

mod rate;
mod semaphore;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::Notify;

use crate::concurrency::{AtomicU64, AtomicUsize, Instant, RwLock};

pub(crate) use rate::RateLimits;
pub(crate) use semaphore::{FairPermit, FairSemaphore};

/// How long a principal counts after it last held a permit or was rejected, in milliseconds.
const ACTIVE: u64 = 1_000;
/// How often principals that no longer count are removed, in milliseconds. A principal may therefore count for this
/// much longer, which makes the shares smaller, never larger.
const SWEEP: u64 = 100;
/// The maximum number of principals that are told apart. More principals than this, each with a valid credential,
/// would have to send requests within one second. Those without an entry share one. So a caller with many identities
/// cannot evict another principal, and memory is bounded.
const MAX_HOLDERS: usize = 16_384;

/// The shares of one resource. Cheap to clone.
///
/// Each principal has one entry while it counts. Acquiring looks it up under a read lock, which only the first permit
/// of a principal and the removal of old entries take for writing. Releasing takes no lock.
#[derive(Clone, Debug)]
pub(crate) struct FairShares(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    capacity: usize,
    used: AtomicUsize,
    /// Notified when the last permit is released.
    unused: Notify,
    started: Instant,
    /// When old entries were last removed, in milliseconds since `started`.
    swept: AtomicU64,
    /// The number of principals that count.
    active: AtomicUsize,
    holders: RwLock<HashMap<Arc<str>, Arc<Holder>>>,
    /// The principals beyond [`MAX_HOLDERS`].
    others: Arc<Holder>,
}

/// What one principal holds.
#[derive(Debug, Default)]
struct Holder {
    held: AtomicUsize,
    /// When it last acquired a permit, was rejected, or released its last permit, in milliseconds since `started`.
    last: AtomicU64,
}

/// Permits that one principal holds; released on drop.
#[derive(Debug)]
pub(crate) struct Share {
    inner: Arc<Inner>,
    holder: Arc<Holder>,
    amount: usize,
}

/// Why permits are not available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// The principal would hold more than its share.
    Share,
    /// All principals together would hold too much.
    Capacity,
}

/// A request for permits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// How many.
    pub(crate) amount: usize,
    /// The part of a whole from which the request is rejected: while more than this part of the capacity is in use,
    /// by whomever, a principal that holds at least this part of its own share gets no more.
    ///
    /// The capacity alone would not do. One principal may hold half of it, and a few requests of others then exceed
    /// the part, so that a flood of one principal would reject the first request of another.
    pub(crate) part: fn(usize) -> usize,
    /// How many permits the same piece of work holds already. A principal that holds nothing else gets its permits
    /// although they exceed its share, because otherwise large work could never be done.
    pub(crate) held_already: usize,
    /// The part of a whole up to which the request gets its permits although they exceed the whole: while the
    /// principal holds at most this part of its share, and all principals at most this part of the capacity.
    ///
    /// Otherwise, work with many permits would be rejected for as long as its principal has any other work in
    /// progress, or, with a capacity that is smaller than the work, as long as anybody has.
    pub(crate) exceeds_up_to: fn(usize) -> usize,
}

impl Wanted {
    /// `amount` permits, if there are as many.
    pub(crate) fn of(amount: usize) -> Self {
        Self {
            amount,
            part: |whole| whole,
            held_already: 0,
            exceeds_up_to: |_| 0,
        }
    }
}

impl FairShares {
    /// Creates the shares of `capacity` permits.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            capacity,
            used: AtomicUsize::new(0),
            unused: Notify::new(),
            started: Instant::now(),
            swept: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            holders: RwLock::default(),
            others: Arc::default(),
        }))
    }

    /// The number of permits.
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// The number of permits that are in use.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Relaxed)
    }

    /// Acquires permits for a principal, without waiting.
    ///
    /// A principal without a permit may acquire more than its share, and more than the capacity if no permit is in use
    /// at all: such a request could never be served otherwise.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub(crate) fn acquire(
        &self,
        principal: &Arc<str>,
        wanted: Wanted,
    ) -> Result<Share, Unavailable> {
        self.with_holder(principal, |holder, active| {
            let share = self.0.capacity / (active + 1);
            let Wanted {
                amount,
                part,
                held_already,
                exceeds_up_to,
            } = wanted;
            let least = held_already.max(exceeds_up_to(share));
            let least_in_use = exceeds_up_to(self.0.capacity);
            let held = holder.held.load(Relaxed);
            let most_in_use = if held == 0 || held < part(share) {
                self.0.capacity
            } else {
                part(self.0.capacity)
            };
            take(&holder.held, amount, |held| {
                held <= least || held.saturating_add(amount) <= share
            })
            .map_err(|()| Unavailable::Share)?;
            take(&self.0.used, amount, |used| {
                used <= least_in_use
                    || used <= most_in_use && used.saturating_add(amount) <= self.0.capacity
            })
            .map_err(|()| {
                holder.held.fetch_sub(amount, Relaxed);
                Unavailable::Capacity
            })?;
            Ok(self.share(holder, amount))
        })
    }

    /// Counts permits that a principal uses already, even if they exceed its share or the capacity.
    pub(crate) fn charge(&self, principal: &Arc<str>, amount: usize) -> Share {
        self.with_holder(principal, |holder, _| {
            holder.held.fetch_add(amount, Relaxed);
            self.0.used.fetch_add(amount, Relaxed);
            self.share(holder, amount)
        })
    }

    /// Whether permits are left for a principal. A principal that asks without holding any does not count.
    ///
    /// # Errors
    /// [`Unavailable`] if it has used up its share, or all principals together the capacity.
    pub(crate) fn check(&self, principal: &Arc<str>) -> Result<(), Unavailable> {
        let inner = &*self.0;
        if self.used() >= inner.capacity {
            return Err(Unavailable::Capacity);
        }
        inner.sweep(inner.now());
        let holders = inner.holders.read();
        let others = (holders.len() >= MAX_HOLDERS).then_some(&inner.others);
        let held = holders
            .get(principal)
            .or(others)
            .map_or(0, |holder| holder.held.load(Relaxed));
        if held > 0 && held >= inner.capacity / (inner.active.load(Relaxed) + 1) {
            return Err(Unavailable::Share);
        }
        Ok(())
    }

    /// Waits until no permit is in use. Only one task may wait.
    pub(crate) async fn unused(&self) {
        while self.used() > 0 {
            self.0.unused.notified().await;
        }
    }

    fn share(&self, holder: &Arc<Holder>, amount: usize) -> Share {
        Share {
            inner: Arc::clone(&self.0),
            holder: Arc::clone(holder),
            amount,
        }
    }

    /// Calls `work` with the entry of a principal and the number of principals that count, among which it is. The
    /// entry is not removed meanwhile.
    fn with_holder<T>(
        &self,
        principal: &Arc<str>,
        work: impl FnOnce(&Arc<Holder>, usize) -> T,
    ) -> T {
        let inner = &*self.0;
        let now = inner.now();
        inner.sweep(now);
        let holders = inner.holders.read();
        if let Some(holder) = holders.get(principal) {
            holder.last.store(now, Relaxed);
            return work(holder, inner.active.load(Relaxed));
        }
        drop(holders);
        let mut holders = inner.holders.write();
        let holder = if holders.len() < MAX_HOLDERS || holders.contains_key(principal) {
            Arc::clone(holders.entry(Arc::clone(principal)).or_default())
        } else {
            Arc::clone(&inner.others)
        };
        holder.last.store(now, Relaxed);
        inner.count(&holders, now);
        work(&holder, inner.active.load(Relaxed))
    }
}

impl Inner {
    /// Milliseconds since these shares were created.
    fn now(&self) -> u64 {
        milliseconds(self.started.elapsed())
    }

    /// Removes the entries of principals that no longer count.
    fn sweep(&self, now: u64) {
        let swept = self.swept.load(Relaxed);
        if now < swept.saturating_add(SWEEP)
            || self
                .swept
                .compare_exchange(swept, now, Relaxed, Relaxed)
                .is_err()
        {
            return;
        }
        let mut holders = self.holders.write();
        holders.retain(|_, holder| holder.counts(now));
        self.count(&holders, now);
    }

    fn count(&self, holders: &HashMap<Arc<str>, Arc<Holder>>, now: u64) {
        let others = usize::from(self.others.counts(now) && holders.len() >= MAX_HOLDERS);
        self.active.store(holders.len() + others, Relaxed);
    }
}

impl Holder {
    fn counts(&self, now: u64) -> bool {
        self.held.load(Relaxed) > 0 || now < self.last.load(Relaxed).saturating_add(ACTIVE)
    }
}

fn milliseconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1_000)
        .saturating_add(u64::from(time.subsec_millis()))
}

/// Adds `amount` to a counter if `allowed` accepts its value.
fn take(counter: &AtomicUsize, amount: usize, allowed: impl Fn(usize) -> bool) -> Result<(), ()> {
    let add = |value: usize| allowed(value).then(|| value.saturating_add(amount));
    counter
        .fetch_update(Relaxed, Relaxed, add)
        .map(drop)
        .map_err(drop)
}

impl Share {
    /// The number of permits.
    pub(crate) fn amount(&self) -> usize {
        self.amount
    }

    /// Separates this many of the permits, at most all of them, so that they can be released by themselves.
    pub(crate) fn split(&mut self, amount: usize) -> Self {
        let amount = amount.min(self.amount);
        self.amount -= amount;
        Self {
            inner: Arc::clone(&self.inner),
            holder: Arc::clone(&self.holder),
            amount,
        }
    }

    /// A number that the shares of one principal have in common, and those of different principals do not, while they
    /// exist.
    pub(crate) fn principal(&self) -> usize {
        Arc::as_ptr(&self.holder).addr()
    }

    /// The number of principals that count.
    pub(crate) fn active_principals(&self) -> usize {
        self.inner.active.load(Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.holder.held.fetch_sub(self.amount, Relaxed) == self.amount {
            self.holder.last.store(self.inner.now(), Relaxed);
        }
        if self.inner.used.fetch_sub(self.amount, Relaxed) == self.amount {
            self.inner.unused.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
