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
async fn an_idle_connection_closes_for_a_new_one_and_beyond_that_a_few_get_in() {
    let slots = Slots::new(2, OVERFLOW, None);
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let (first, second) = (slots.take().unwrap(), slots.take().unwrap());
    first.idle(Instant::now(), &waker);
    // It is too fresh, so the third is beyond the limit.
    let third = slots.take().unwrap();
    assert!(third.is_overflow() && !first.is_evicted());
    tokio::time::advance(Duration::from_secs(1)).await;
    let fourth = slots.take().unwrap();
    assert!(!fourth.is_overflow() && first.is_evicted() && !second.is_evicted());
    assert_eq!(woken.0.load(Relaxed), 1);
    drop(first);
    let more: Vec<_> = std::iter::from_fn(|| slots.take()).take(1_000).collect();
    assert_eq!(more.len(), OVERFLOW - 1);
    assert!(more.iter().all(Slot::is_overflow));
    drop((more, third));
    assert!(slots.take().unwrap().is_overflow(), "two are served");
    drop(fourth);
    assert!(!slots.take().unwrap().is_overflow());
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_a_silent_connection_closes_for_a_new_one() {
    let slots = Slots::new(1, 4, None);
    let waker = Waker::noop();
    let served = slots.take().unwrap();
    let beyond: Vec<_> = (0..4).map(|_| slots.take().unwrap()).collect();
    assert!(slots.take().is_none());
    for slot in &beyond {
        slot.idle(Instant::now(), waker);
    }
    beyond[0].busy();
    tokio::time::advance(Duration::from_millis(49)).await;
    assert!(slots.take().is_none(), "they may still send something");
    tokio::time::advance(Duration::from_millis(20)).await;
    let more: Vec<_> = std::iter::from_fn(|| slots.take()).take(100).collect();
    assert_eq!(more.len(), 3);
    assert!(more.iter().all(Slot::is_overflow));
    assert!(!beyond[0].is_evicted() && beyond[1..].iter().all(Slot::is_evicted));
    assert!(!served.is_evicted());
}
