use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use super::*;

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_closes_for_a_new_one_and_overflow_connections_are_limited() {
    let slots = Slots::new(2, OVERFLOW, None);
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let (first, second) = (slots.acquire().unwrap(), slots.acquire().unwrap());
    first.mark_idle(Instant::now(), &waker);
    // It has not been idle for long enough, so the third is an overflow connection.
    let third = slots.acquire().unwrap();
    assert!(third.is_overflow() && !first.is_evicted());
    tokio::time::advance(Duration::from_secs(1)).await;
    let fourth = slots.acquire().unwrap();
    assert!(!fourth.is_overflow() && first.is_evicted() && !second.is_evicted());
    assert_eq!(woken.0.load(Relaxed), 1);
    drop(first);
    let more: Vec<_> = std::iter::from_fn(|| slots.acquire()).take(1_000).collect();
    assert_eq!(more.len(), OVERFLOW - 1);
    assert!(more.iter().all(Slot::is_overflow));
    drop((more, third));
    assert!(
        slots.acquire().unwrap().is_overflow(),
        "two are within the limit"
    );
    drop(fourth);
    assert!(!slots.acquire().unwrap().is_overflow());
}

#[tokio::test(start_paused = true)]
async fn an_idle_overflow_connection_closes_for_a_new_one() {
    let slots = Slots::new(1, 4, None);
    let waker = Waker::noop();
    let served = slots.acquire().unwrap();
    let beyond: Vec<_> = (0..4).map(|_| slots.acquire().unwrap()).collect();
    assert!(slots.acquire().is_none());
    for slot in &beyond {
        slot.mark_idle(Instant::now(), waker);
    }
    beyond[0].mark_busy();
    tokio::time::advance(Duration::from_millis(49)).await;
    assert!(slots.acquire().is_none(), "they may still send something");
    tokio::time::advance(Duration::from_millis(20)).await;
    let more: Vec<_> = std::iter::from_fn(|| slots.acquire()).take(100).collect();
    assert_eq!(more.len(), 3);
    assert!(more.iter().all(Slot::is_overflow));
    assert!(!beyond[0].is_evicted() && beyond[1..].iter().all(Slot::is_evicted));
    assert!(!served.is_evicted());
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_waits_for_a_slot_that_becomes_free_soon() {
    let slots = Slots::new(0, 1, None);
    let first = slots.acquire().unwrap();
    let waiting = tokio::spawn({
        let slots = slots.clone();
        async move { slots.acquire_soon().await.is_some() }
    });
    tokio::time::sleep(MAX_WAIT / 2).await;
    assert!(!waiting.is_finished());
    drop(first);
    assert!(waiting.await.unwrap());
    let _first = slots.acquire().unwrap();
    let start = Instant::now();
    // One may wait, and the second is closed at once.
    let (one, two) = tokio::join!(slots.acquire_soon(), async {
        let slot = slots.acquire_soon().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        slot
    });
    assert!(one.is_none() && two.is_none());
    assert!(start.elapsed() >= MAX_WAIT && start.elapsed() < 2 * MAX_WAIT);
}

#[tokio::test(start_paused = true)]
async fn more_may_wait_while_slots_become_free_often() {
    let slots = Slots::new(0, 2, None);
    for _ in 0..5 * 2 {
        drop(slots.acquire().unwrap());
    }
    let _held = [slots.acquire().unwrap(), slots.acquire().unwrap()];
    let wait = async || {
        let start = Instant::now();
        assert!(slots.acquire_soon().await.is_none());
        start.elapsed() >= MAX_WAIT
    };
    // One, and a fifth of the slots that were acquired in the last moments.
    assert_eq!(
        tokio::join!(wait(), wait(), wait(), wait()),
        (true, true, true, false)
    );
    assert_eq!(tokio::join!(wait(), wait()), (true, false));
}
