//! Fair shares and the fair semaphore.

use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Plain, Ordering::Relaxed};
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::thread;

use crate::concurrency::{Instant, sleep, spawn, timeout};
use crate::explore;
use crate::shares::{FairSemaphore, FairShares, RateLimits, Wanted};

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
        for number in [0, 1, 7] {
            // Only a principal that holds nothing may have more than its share.
            let all = shares.acquire(&principal(number), Wanted::of(3));
            assert!(all.is_ok(), "a permit is lost");
        }
    });
}

/// A task that waits until nothing is used ends. If the notification were lost, shuttle would report a deadlock.
pub fn the_last_release_is_noticed() {
    explore(|| {
        let shares = FairShares::new(4);
        // Nobody waits for the release of this one, so its notification is kept, and must not end the wait below.
        drop(shares.acquire(&principal(0), Wanted::of(1)));
        let held: Vec<_> = (0..2)
            .map(|number| shares.acquire(&principal(number), Wanted::of(1)).unwrap())
            .collect();
        let waits = spawn({
            let shares = shares.clone();
            async move {
                shares.unused().await;
                assert_eq!(shares.used(), 0, "the wait has ended too early");
            }
        });
        for share in held {
            thread::spawn(move || drop(share));
        }
        block_on(waits).unwrap();
        assert_eq!(shares.used(), 0);
    });
}

/// Principals come and go while others are removed: the entry of one that holds a permit stays, also if two threads
/// create it at the same time, and the number of principals is that of the entries, also after some have left.
pub fn principals_that_are_removed_are_counted_right() {
    explore(|| {
        let shares = FairShares::new(100);
        let stays = principal(7);
        let held = shares.acquire(&stays, Wanted::of(1)).unwrap();
        let threads: Vec<_> = (0..3)
            .map(|number| {
                let shares = shares.clone();
                thread::spawn(move || {
                    for _ in 0..2 {
                        let name = principal(number % 2);
                        let one = shares.acquire(&name, Wanted::of(1)).unwrap();
                        let two = shares.acquire(&name, Wanted::of(1)).unwrap();
                        assert_eq!(one.principal(), two.principal(), "two entries");
                        assert!((2..=3).contains(&one.active_principals()));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        block_on(sleep(Duration::from_secs(2)));
        let again = shares.acquire(&stays, Wanted::of(1)).unwrap();
        assert_eq!(again.active_principals(), 1, "those that have left count");
        drop((held, again));
        assert_eq!(shares.used(), 0);
    });
}

/// The entry of a principal is removed with its last caller, whatever the order in which callers leave, also if some give
/// up. Until then it stays: with a second entry, two callers of the principal would wait beside those of others.
pub fn a_fair_semaphore_keeps_no_entry_of_a_principal_that_has_left() {
    explore(|| {
        let semaphore = FairSemaphore::new(1);
        let tasks: Vec<_> = (0..6)
            .map(|number| {
                let semaphore = semaphore.clone();
                spawn(async move {
                    let name = principal(number % 2);
                    let acquiring = async {
                        let mut acquiring = pin!(semaphore.acquire(&name, 1));
                        let permit = poll_fn(|context| {
                            let polled = acquiring.as_mut().poll(context);
                            let has_entry = polled.is_ready() || semaphore.waiting_principals() > 0;
                            assert!(has_entry, "a caller waits without an entry");
                            polled
                        });
                        permit.await.unwrap()
                    };
                    let patience = Duration::from_secs(if number < 4 { 7_200 } else { 0 });
                    let permit = timeout(patience, acquiring).await;
                    assert!(permit.is_ok() || number >= 4);
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

/// The first requests of a principal share one limiter, also if they arrive at the same time.
pub fn the_first_requests_of_a_principal_share_one_burst() {
    explore(|| {
        let one = NonZeroU32::MIN;
        let start = Instant::now();
        let limits = RateLimits::new(one, one);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let limits = limits.clone();
                thread::spawn(move || u64::from(limits.check(&principal(0)).is_some()))
            })
            .collect();
        let permitted: u64 = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        let seconds = start.elapsed().as_secs();
        assert!(permitted <= 1 + seconds, "{permitted} within {seconds} s");
    });
}
