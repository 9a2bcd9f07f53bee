//! Lanes: queues for items that wait for a lock of another transaction, separate from the batches.
//!
//! A key that another transaction is inserting blocks the statement that contains it, and with it all other
//! items of the batch. Once a key is known to be blocked, items with this key are served in a lane of their
//! own until the lock is free. The lanes of several tenants are served in turn (`suspects` finds the blocked keys).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::split::{fail, serve_part, split_failed};
use super::suspects::Groups;
use super::{Batch, LockName, LockWait, Waiting};
use crate::concurrency::{AtomicUsize, Instant, Mutex, sleep, spawn};
use crate::shares::FairSemaphore;
use crate::store::StoreError;

/// How many lanes are served at once, and how many groups of suspects. So at most two connections wait for locks.
const AT_ONCE: usize = 1;
/// How long a lane whose lock is still held pauses, so that other lanes get the connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a lane stays open after its lock was found held, so that clients that retry use it.
const LINGER: Duration = Duration::from_secs(1);

/// The items of each lane by the name of their lock; `None` for items whose lock has no name.
type Queues<B> = HashMap<Option<LockName>, Vec<Waiting<B>>>;

pub(super) struct Lanes<B: Batch> {
    pub(super) batch: Arc<B>,
    queues: Mutex<Queues<B>>,
    /// The length of `queues`, which can be read without the lock. It is almost always zero.
    open: AtomicUsize,
    permits: FairSemaphore,
    /// Items of failed batches, one of which may be blocked.
    pub(super) suspects: Mutex<Groups<B>>,
    pub(super) suspect_permits: FairSemaphore,
}

impl<B: Batch> Lanes<B> {
    pub(super) fn new(batch: Arc<B>) -> Self {
        Self {
            batch,
            queues: Mutex::default(),
            open: AtomicUsize::new(0),
            permits: FairSemaphore::new(AT_ONCE),
            suspects: Mutex::default(),
            suspect_permits: FairSemaphore::new(AT_ONCE),
        }
    }

    /// Moves items whose lock is known to be held from `taken` into their lanes.
    pub(super) fn divert(&self, taken: &mut Vec<Waiting<B>>) {
        if self.open.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut queues = self.queues.lock();
        let blocked = taken.extract_if(.., |waiting| {
            let lock = B::lock_of(&waiting.item);
            lock.is_some() && queues.contains_key(&lock)
        });
        let blocked: Vec<_> = blocked.collect();
        for waiting in blocked {
            let lane = B::lock_of(&waiting.item);
            queues.entry(lane).or_default().push(waiting);
        }
    }

    /// Adds items whose lock is held to their lanes, and starts to serve new lanes. Must be called on the runtime.
    pub(super) fn add(self: &Arc<Self>, part: Vec<Waiting<B>>) {
        let mut queues = self.queues.lock();
        for waiting in part {
            let lane = B::lock_of(&waiting.item);
            if let Some(queue) = queues.get_mut(&lane) {
                queue.push(waiting);
            } else {
                queues.insert(lane.clone(), vec![waiting]);
                spawn(Arc::clone(self).serve(lane));
            }
        }
        self.open.store(queues.len(), Ordering::Release);
    }

    /// Serves one lane until it is empty.
    async fn serve(self: Arc<Self>, lane: Option<LockName>) {
        // Lanes of the same tenant are served in the order in which they ask.
        let tenant: Option<Arc<str>> = lane.as_ref().map(|(tenant, _)| tenant.as_str().into());
        let mut held = false;
        if lane.is_some() {
            // The lock was held just now.
            sleep(PAUSE).await;
        }
        loop {
            let mut next = self.take(&lane);
            if next.is_empty() && held {
                sleep(LINGER).await;
                held = false;
                next = self.take(&lane);
            }
            if next.is_empty() {
                let mut queues = self.queues.lock();
                // An item may have been added since.
                if queues.get(&lane).is_none_or(Vec::is_empty) {
                    queues.remove(&lane);
                    self.open.store(queues.len(), Ordering::Release);
                    return;
                }
                continue;
            }
            // There is only one lane without a name. It waits for long, so it must not delay the others.
            let permit = match &tenant {
                Some(tenant) => self.permits.acquire(tenant, 1).await,
                None => None,
            };
            let blocked = self.serve_items(next, lane.is_some()).await;
            drop(permit);
            // If no item was tried, nothing new is known about the lock.
            held = blocked.as_ref().map_or(held, |blocked| !blocked.is_empty());
            if let Some(blocked) = blocked
                && held
            {
                self.put_back(&lane, blocked);
                sleep(PAUSE).await;
            }
        }
    }

    /// Puts items back at the front of their lane, before those that were added since.
    fn put_back(&self, lane: &Option<LockName>, mut blocked: Vec<Waiting<B>>) {
        let mut queues = self.queues.lock();
        let queue = queues.entry(lane.clone()).or_default();
        blocked.append(queue);
        *queue = blocked;
    }

    /// Takes all items of a lane.
    fn take(&self, lane: &Option<LockName>) -> Vec<Waiting<B>> {
        let mut queues = self.queues.lock();
        queues.get_mut(lane).map(std::mem::take).unwrap_or_default()
    }

    /// Serves items, and returns them if their lock is still held. Items past their deadline fail instead. They
    /// have only waited in a lane, so the database has none of their data. Returns `None` if all items are past
    /// their deadline.
    ///
    /// A lock with a name is tried briefly and often, so that all lanes make progress. Items whose lock has no
    /// name wait as long as a statement may take. If a statement fails for another reason, its items are split, so that
    /// only the bad one fails.
    async fn serve_items(
        self: &Arc<Self>,
        mut part: Vec<Waiting<B>>,
        named: bool,
    ) -> Option<Vec<Waiting<B>>> {
        let now = Instant::now();
        let late: Vec<_> = part
            .extract_if(.., |waiting| waiting.deadline <= now)
            .collect();
        fail(late, &StoreError::LockTimeout);
        if part.is_empty() {
            return None;
        }
        let wait = if named {
            LockWait::Moment
        } else {
            LockWait::Long
        };
        match serve_part(&*self.batch, part, wait).await {
            Ok(()) => {}
            Err((part, StoreError::LockTimeout)) if named => return Some(part),
            Err((part, error @ StoreError::LockTimeout)) => fail(part, &error),
            Err((part, error)) => split_failed(&*self.batch, self, part, error).await,
        }
        Some(Vec::new())
    }
}
