//! Fair shares and the fair semaphore.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Plain, Ordering::Relaxed};

use shuttle::future::block_on;
use shuttle::thread;

use crate::concurrency::spawn;
use crate::explore;
use crate::shares::{FairSemaphore, FairShares, Wanted};

fn principal(number: usize) -> Arc<str> {
    format!("p{number}").into()
}

/// What is held never exceeds the capacity, and everything is released.
pub fn shares_never_exceed_the_capacity() {
    explore(|| {
        let shares = FairShares::new(3);
        let held = Arc::new(Plain::new(0));
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let (shares, held) = (shares.clone(), Arc::clone(&held));
                thread::spawn(move || {
                    for amount in 1..3 {
                        let wanted = Wanted::of(amount);
                        let Ok(share) = shares.acquire(&principal(number % 2), wanted) else {
                            continue;
                        };
                        let now = held.fetch_add(amount, Relaxed) + amount;
                        assert!(now <= 3, "{now} of 3 permits are held");
                        thread::yield_now();
                        held.fetch_sub(amount, Relaxed);
                        drop(share);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(shares.used(), 0);
        let all = shares.acquire(&principal(7), Wanted::of(3));
        assert!(all.is_ok(), "a permit is lost");
    });
}

/// A task that waits until nothing is used ends. If the notification were lost, shuttle would report a deadlock.
pub fn the_last_release_is_noticed() {
    explore(|| {
        let shares = FairShares::new(4);
        let held: Vec<_> = (0..2)
            .map(|number| shares.acquire(&principal(number), Wanted::of(1)).unwrap())
            .collect();
        let waits = spawn({
            let shares = shares.clone();
            async move { shares.unused().await }
        });
        for share in held {
            thread::spawn(move || drop(share));
        }
        block_on(waits).unwrap();
        assert_eq!(shares.used(), 0);
    });
}

/// Principals come and go while others are removed: the entry of one that holds a permit stays, and the number of
/// principals is that of the entries.
pub fn principals_that_are_removed_are_counted_right() {
    explore(|| {
        let shares = FairShares::new(100);
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let shares = shares.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        let name = principal(number);
                        let one = shares.acquire(&name, Wanted::of(1)).unwrap();
                        let two = shares.acquire(&name, Wanted::of(1)).unwrap();
                        assert_eq!(one.principal(), two.principal(), "two entries");
                        assert!((1..=3).contains(&one.active_principals()));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(shares.used(), 0);
    });
}

/// The entry of a principal is removed with its last caller, whatever the order in which callers leave.
pub fn a_fair_semaphore_keeps_no_entry_of_a_principal_that_has_left() {
    explore(|| {
        let semaphore = FairSemaphore::new(1);
        let tasks: Vec<_> = (0..4)
            .map(|number| {
                let semaphore = semaphore.clone();
                spawn(async move {
                    let name = principal(number % 2);
                    let permit = semaphore.acquire(&name, 1).await.unwrap();
                    shuttle::future::yield_now().await;
                    drop(permit);
                })
            })
            .collect();
        for task in tasks {
            block_on(task).unwrap();
        }
        assert_eq!(semaphore.waiting_principals(), 0);
        assert_eq!(semaphore.available(), 1);
    });
}
