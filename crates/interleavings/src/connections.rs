//! The slots of client connections.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Plain, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use shuttle::future::block_on;

use crate::client_slots::{Slot, Slots};
use crate::concurrency::{Instant, spawn};
use crate::explore;

/// Waits without a request until the connection has to close for a new one, as a connection does.
async fn idle_until_evicted(slot: &Slot) {
    let since = Instant::now();
    poll_fn(|context| {
        slot.mark_idle(since, context.waker());
        if slot.is_evicted() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// An idle connection that is evicted notices it: a lost wake-up would be a deadlock, which shuttle reports. At most one
/// connection more than the limit is open, while the evicted one closes, and afterwards there is a slot again.
pub fn an_evicted_connection_is_woken_and_slots_are_counted_right() {
    explore(|| {
        let slots = Slots::new(1, 2, None);
        let open = Arc::new(Plain::new(0));
        let first = slots.acquire().unwrap();
        open.fetch_add(1, Relaxed);
        let idle = spawn({
            let open = Arc::clone(&open);
            async move {
                idle_until_evicted(&first).await;
                open.fetch_sub(1, Relaxed);
                drop(first);
            }
        });
        let others: Vec<_> = (0..2)
            .map(|_| {
                let (slots, open) = (slots.clone(), Arc::clone(&open));
                spawn(async move {
                    loop {
                        if let Some(slot) = slots.acquire()
                            && !slot.is_overflow()
                        {
                            let now = open.fetch_add(1, Relaxed) + 1;
                            assert!(now <= 2, "{now} connections within a limit of one");
                            shuttle::future::yield_now().await;
                            open.fetch_sub(1, Relaxed);
                            return;
                        }
                        shuttle::future::yield_now().await;
                    }
                })
            })
            .collect();
        block_on(idle).unwrap();
        for other in others {
            block_on(other).unwrap();
        }
        let again = slots.acquire().unwrap();
        assert!(!again.is_overflow(), "a slot is lost");
    });
}

/// Of the connections that wait for a slot, each is counted until it ends, and those that are refused at once are not
/// counted. So when all have ended, another one may wait.
pub fn a_connection_may_wait_after_others_were_refused() {
    explore(|| {
        // For one connection, for which one may wait.
        let slots = Slots::new(0, 1, None);
        let held = slots.acquire().unwrap();
        let others: Vec<_> = (0..3)
            .map(|_| {
                let slots = slots.clone();
                spawn(async move { assert!(slots.acquire_soon().await.is_none()) })
            })
            .collect();
        for other in others {
            block_on(other).unwrap();
        }
        let start = Instant::now();
        assert!(block_on(slots.acquire_soon()).is_none());
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(200), "only {waited:?}");
        drop(held);
    });
}
