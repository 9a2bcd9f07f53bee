//! A semaphore that serves principals in turn.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits for which callers wait. Clones share them.
///
/// Tokio's semaphore serves callers in the order of their calls, so a principal that sends many requests at once
/// would delay the requests of all others until they are served. Here at most one caller of each principal waits for
/// the semaphore, and the others wait for that caller. So a caller waits for at most one request of each other
/// principal.
#[derive(Clone, Debug)]
pub(crate) struct FairSemaphore {
    permits: Arc<Semaphore>,
    /// For each principal of which a caller waits, the permit to wait for `permits`.
    entries: Arc<Mutex<HashMap<Arc<str>, Arc<Semaphore>>>>,
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
        let waiting = Waiting {
            semaphore: self,
            principal,
            entry: self.entry(principal),
        };
        let _entry = waiting.entry.acquire().await.ok()?;
        let permits = Arc::clone(&self.permits).acquire_many_owned(amount).await;
        Some(FairPermit {
            _permits: permits.ok()?,
        })
    }

    /// The number of permits that are not in use.
    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.permits.available_permits()
    }

    fn entry(&self, principal: &Arc<str>) -> Arc<Semaphore> {
        let mut entries = self.entries.lock();
        let entry = entries
            .entry(Arc::clone(principal))
            .or_insert_with(|| Arc::new(Semaphore::new(1)));
        Arc::clone(entry)
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
        // This one and the one in the map. No other is added meanwhile, because the map is locked.
        if Arc::strong_count(&self.entry) == 2 {
            entries.remove(self.principal);
        }
    }
}

#[cfg(test)]
mod tests {
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
