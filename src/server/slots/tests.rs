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
    let slots = Slots::new(2, None);
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
