//! The locks of orders that are updated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Plain, Ordering::Relaxed};

use shuttle::future::block_on;
use uuid::Uuid;

use super::order_key::OrderKey;
use super::order_locks::OrderLocks;
use crate::concurrency::{Instant, spawn};
use crate::domain::Tenant;
use crate::explore;

/// One update of an order runs at a time, also if others give up; and with the last one, the entry of the order is
/// removed.
pub fn one_update_of_an_order_runs_at_a_time_and_leaves_no_entry() {
    explore(|| {
        let locks = OrderLocks::default();
        let running = Arc::new(Plain::new(0));
        let tasks: Vec<_> = (0..4)
            .map(|number| {
                let (locks, running) = (locks.clone(), Arc::clone(&running));
                spawn(async move {
                    let order = OrderKey::new(&Tenant::default(), Uuid::nil());
                    let principal: Arc<str> = format!("p{}", number % 2).into();
                    let deadline = if number == 3 {
                        Instant::now()
                    } else {
                        Instant::never()
                    };
                    let Ok(lock) = locks.lock(order, &principal, deadline).await else {
                        assert_eq!(number, 3);
                        return;
                    };
                    assert_eq!(running.fetch_add(1, Relaxed), 0, "two updates at once");
                    shuttle::future::yield_now().await;
                    running.fetch_sub(1, Relaxed);
                    drop(lock);
                })
            })
            .collect();
        for task in tasks {
            block_on(task).unwrap();
        }
        assert_eq!(locks.len(), 0, "an entry is left");
    });
}

/// An update that is dropped while it waits leaves no entry.
pub fn an_update_that_is_dropped_leaves_no_entry() {
    explore(|| {
        let locks = OrderLocks::default();
        let order = OrderKey::new(&Tenant::default(), Uuid::nil());
        let principal: Arc<str> = "p".into();
        let held = block_on(locks.lock(order.clone(), &principal, Instant::never())).ok();
        let dropped = spawn({
            let locks = locks.clone();
            async move {
                let _ = locks.lock(order, &principal, Instant::never()).await;
            }
        });
        shuttle::thread::yield_now();
        dropped.abort();
        drop(held);
        let _ = block_on(dropped);
        assert_eq!(locks.len(), 0, "an entry is left");
    });
}
