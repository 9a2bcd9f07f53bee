//! Lanes for items that wait for a lock of another transaction, apart from the batches.
//!
//! A key that another transaction is inserting blocks the statement that contains it, and with it all its
//! neighbours. Once that is known, items with this key are served by themselves until the lock is free.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::split::fail;
use super::{Batch, LockWait, Waiting, guarded};
use crate::store::StoreError;

/// How many lanes are served at once: what they wait for takes at most this many connections from others.
const LANES_AT_ONCE: usize = 1;
/// How long a lane whose lock is still held pauses, so that others get the connection.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a lane stays after its lock was still held: clients that retry find it.
const LINGER: Duration = Duration::from_secs(1);

/// What waits in each lane, by what it locks; `None` for items that name no lock.
type Queues<B> = HashMap<Option<String>, Vec<Waiting<B>>>;

pub(super) struct Lanes<B: Batch> {
    batch: Arc<B>,
    queues: Mutex<Queues<B>>,
    /// The length of `queues`, for a look without the lock: there are hardly ever any.
    open: AtomicUsize,
    permits: Semaphore,
}

impl<B: Batch> Lanes<B> {
    pub(super) fn new(batch: Arc<B>) -> Self {
        Self {
            batch,
            queues: Mutex::default(),
            open: AtomicUsize::new(0),
            permits: Semaphore::new(LANES_AT_ONCE),
        }
    }

    /// Moves items whose lock is known to be held from `taken` into their lanes.
    pub(super) fn take_blocked(&self, taken: &mut Vec<Waiting<B>>) {
        if self.open.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut queues = self.queues.lock();
        let blocked = taken.extract_if(.., |waiting| {
            B::lock_of(&waiting.item)
                .is_some_and(|lock| queues.contains_key(&Some(lock.to_owned())))
        });
        let blocked: Vec<_> = blocked.collect();
        for waiting in blocked {
            let lane = B::lock_of(&waiting.item).map(str::to_owned);
            queues.entry(lane).or_default().push(waiting);
        }
    }

    /// Puts items that were found to wait for a lock into their lanes, and serves lanes that are new. Must
    /// be called on the runtime.
    pub(super) fn enter(self: &Arc<Self>, part: Vec<Waiting<B>>) {
        let mut queues = self.queues.lock();
        for waiting in part {
            let lane = B::lock_of(&waiting.item).map(str::to_owned);
            if let Some(queue) = queues.get_mut(&lane) {
                queue.push(waiting);
            } else {
                queues.insert(lane.clone(), vec![waiting]);
                tokio::spawn(Arc::clone(self).serve(lane));
            }
        }
        self.open.store(queues.len(), Ordering::Release);
    }

    /// Serves one lane until nothing waits in it.
    async fn serve(self: Arc<Self>, lane: Option<String>) {
        let mut held = false;
        loop {
            let mut next = self.next(&lane);
            if next.is_empty() && held {
                sleep(LINGER).await;
                held = false;
                next = self.next(&lane);
            }
            if next.is_empty() {
                let mut queues = self.queues.lock();
                // Something may have come since the look.
                if queues.get(&lane).is_none_or(Vec::is_empty) {
                    queues.remove(&lane);
                    self.open.store(queues.len(), Ordering::Release);
                    return;
                }
                continue;
            }
            let Ok(permit) = self.permits.acquire().await else {
                return;
            };
            let blocked = self.serve_together(next, lane.is_some()).await;
            drop(permit);
            // None were served: nothing new is known of the lock.
            held = blocked.as_ref().map_or(held, |blocked| !blocked.is_empty());
            if let Some(blocked) = blocked
                && held
            {
                self.put_back(&lane, blocked);
                sleep(PAUSE).await;
            }
        }
    }

    /// Puts items before those that have come since.
    fn put_back(&self, lane: &Option<String>, mut blocked: Vec<Waiting<B>>) {
        let mut queues = self.queues.lock();
        let queue = queues.entry(lane.clone()).or_default();
        blocked.append(queue);
        *queue = blocked;
    }

    /// All that waits in a lane now.
    fn next(&self, lane: &Option<String>) -> Vec<Waiting<B>> {
        let mut queues = self.queues.lock();
        queues.get_mut(lane).map(std::mem::take).unwrap_or_default()
    }

    /// Serves items, and returns them if their lock is still held. Items whose clients have given up are
    /// not served: they have waited for a lane, so nothing of them is in the database. None when that were
    /// all.
    ///
    /// A lock that has a name is tried briefly, again and again, so that many lanes get on together. What
    /// waits for a lock that nothing is known of waits as long as a statement may take.
    async fn serve_together(
        &self,
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
        let items = part.iter().map(|waiting| waiting.item.clone()).collect();
        let wait = if named {
            LockWait::Short
        } else {
            LockWait::Long
        };
        match guarded(&*self.batch, items, wait).await {
            Ok(answers) => {
                for (waiting, answer) in part.into_iter().zip(answers) {
                    waiting.reply.send(Ok(answer));
                }
            }
            Err(StoreError::LockTimeout) if named => return Some(part),
            Err(error) => fail(part, &error),
        }
        Some(Vec::new())
    }
}
