//! A semaphore that serves principals in turn.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::concurrency::Mutex;

/// Permits for which callers wait. Clones share them.
///
/// Tokio's semaphore serves callers in the order of their calls, so a principal that sends many requests at once
/// would delay the requests of all others until they are served. Here at most one caller of each principal waits for
/// the semaphore, and the others wait for that caller. So a caller waits for at most one request of each other
/// principal.
#[derive(Clone, Debug)]
pub(crate) struct FairSemaphore {
    permits: Arc<Semaphore>,
    /// The principals of which a caller waits.
    entries: Arc<Mutex<HashMap<Arc<str>, Entry>>>,
}

/// A principal of which callers wait.
#[derive(Debug)]
struct Entry {
    /// The permit to wait for the permits of all principals.
    semaphore: Arc<Semaphore>,
    /// How many callers wait. Not the references to `semaphore`: a caller drops its own after the lock is released, so
    /// two callers that leave at the same time would each find that of the other.
    callers: usize,
}

/// Permits of a [`FairSemaphore`]; released on drop.
#[derive(Debug)]
pub(crate) struct FairPermit {
    _permits: OwnedSemaphorePermit,
}

impl FairSemaphore {
    /// Creates a semaphore with this many permits.
    pub(crate) fn new(permits: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
            entries: Arc::default(),
        }
    }

    /// Waits for permits. A caller that is dropped acquires none. Returns `None` only if the semaphore is closed,
    /// which never happens.
    pub(crate) async fn acquire(&self, principal: &Arc<str>, amount: u32) -> Option<FairPermit> {
        // The permits that are released go to those who wait, so this takes none from them.
        if let Ok(permits) = Arc::clone(&self.permits).try_acquire_many_owned(amount) {
            return Some(FairPermit { _permits: permits });
        }
        let waiting = self.waiting(principal);
        let _entry = waiting.entry.acquire().await.ok()?;
        let permits = Arc::clone(&self.permits).acquire_many_owned(amount).await;
        Some(FairPermit {
            _permits: permits.ok()?,
        })
    }

    /// Waits for permits like [`Self::acquire`], and until `is_ready` is true with the permits in hand. `ready` waits
    /// until it may be true.
    ///
    /// Only the first caller of a principal waits to be ready, and the others wait for that caller. So callers that
    /// share what they wait for get it in the order of their calls, and none overtakes another. No permit is held
    /// meanwhile.
    pub(crate) async fn acquire_when<R: Future<Output = ()>>(
        &self,
        principal: &Arc<str>,
        amount: u32,
        is_ready: impl Fn() -> bool,
        ready: impl Fn() -> R,
    ) -> Option<FairPermit> {
        let waiting = self.waiting(principal);
        let _entry = waiting.entry.acquire().await.ok()?;
        loop {
            ready().await;
            let permits = Arc::clone(&self.permits).acquire_many_owned(amount).await;
            let permits = permits.ok()?;
            if is_ready() {
                return Some(FairPermit { _permits: permits });
            }
        }
    }

    /// The number of principals of which a caller waits.
    #[allow(dead_code, reason = "for crates/interleavings, which has no cfg(test)")]
    pub(crate) fn waiting_principals(&self) -> usize {
        self.entries.lock().len()
    }

    /// The number of permits that are not in use.
    #[allow(dead_code, reason = "for tests, also for those without cfg(test)")]
    pub(crate) fn available(&self) -> usize {
        self.permits.available_permits()
    }

    fn waiting<'a>(&'a self, principal: &'a Arc<str>) -> Waiting<'a> {
        let mut entries = self.entries.lock();
        let entry = entries
            .entry(Arc::clone(principal))
            .or_insert_with(|| Entry {
                semaphore: Arc::new(Semaphore::new(1)),
                callers: 0,
            });
        entry.callers += 1;
        Waiting {
            semaphore: self,
            principal,
            entry: Arc::clone(&entry.semaphore),
        }
    }
}

/// A caller that waits. With the last one of a principal, its entry is removed.
struct Waiting<'a> {
    semaphore: &'a FairSemaphore,
    principal: &'a Arc<str>,
    entry: Arc<Semaphore>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut entries = self.semaphore.entries.lock();
        if let Some(entry) = entries.get_mut(self.principal) {
            entry.callers -= 1;
            if entry.callers == 0 {
                entries.remove(self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn principals_are_served_in_turn() {
        let semaphore = FairSemaphore::new(2);
        let (flood, other): (Arc<str>, Arc<str>) = ("flood".into(), "other".into());
        let first = semaphore.acquire(&flood, 2).await.unwrap();
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        let start = |name: &Arc<str>| {
            let (semaphore, sender, name) = (semaphore.clone(), sender.clone(), Arc::clone(name));
            tokio::spawn(async move {
                let permit = semaphore.acquire(&name, 2).await.unwrap();
                sender.send(name).unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
                drop(permit);
            })
        };
        let mut tasks: Vec<_> = (0..100).map(|_| start(&flood)).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        tasks.push(start(&other));
        tokio::time::sleep(Duration::from_millis(1)).await;
        tasks.push(start(&other));
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| order.try_recv().ok()).collect();
        let of_other: Vec<_> = (0..order.len()).filter(|at| order[*at] == other).collect();
        assert_eq!(of_other, [1, 3], "after one of the flood each");
        assert!(semaphore.entries.lock().is_empty());
        assert_eq!(semaphore.available(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_wait_to_be_ready_keep_their_order_and_hold_no_permit() {
        let semaphore = FairSemaphore::new(1);
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let free = Arc::new(AtomicUsize::new(0));
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        let start = |number: u64| {
            let (semaphore, a, free) = (semaphore.clone(), Arc::clone(&a), Arc::clone(&free));
            let sender = sender.clone();
            tokio::spawn(async move {
                let is_ready = || free.load(Relaxed) > 0;
                let ready = || async {
                    while !is_ready() {
                        // Later callers check more often.
                        tokio::time::sleep(Duration::from_millis(50 / (1 + number))).await;
                    }
                };
                let permit = semaphore.acquire_when(&a, 1, is_ready, ready).await;
                free.fetch_sub(1, Relaxed);
                drop(permit.unwrap());
                sender.send(number).unwrap();
            })
        };
        let mut tasks = Vec::new();
        for number in 0..5 {
            tasks.push(start(number));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(semaphore.acquire(&b, 1).await.is_some());
        for _ in 0..5 {
            free.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for task in tasks {
            task.await.unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| order.try_recv().ok()).collect();
        assert_eq!(order, [0, 1, 2, 3, 4]);
        // With the permit in use, what was free when the caller was ready may be used up when it has the permit.
        free.store(1, Relaxed);
        let held = semaphore.acquire(&b, 1).await.unwrap();
        let task = start(5);
        tokio::time::sleep(Duration::from_millis(1)).await;
        free.store(0, Relaxed);
        drop(held);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!task.is_finished());
        assert_eq!(semaphore.available(), 1);
        free.store(1, Relaxed);
        task.await.unwrap();
        assert!(semaphore.entries.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_is_dropped_leaves_nothing() {
        let semaphore = FairSemaphore::new(1);
        let principal: Arc<str> = "a".into();
        let held = semaphore.acquire(&principal, 1).await.unwrap();
        for _ in 0..3 {
            let waiting = semaphore.acquire(&principal, 1);
            let waited = tokio::time::timeout(Duration::from_millis(1), waiting).await;
            assert!(waited.is_err());
        }
        assert!(semaphore.entries.lock().is_empty());
        drop(held);
        assert!(semaphore.acquire(&principal, 1).await.is_some());
    }
}
