use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::*;
use crate::store::admission::Admission;
use crate::telemetry::Metrics;

/// Doubles numbers. Waits for the gate before each batch, and writes down how large it was.
struct Doubling {
    gate: Arc<Semaphore>,
    batches: Arc<std::sync::Mutex<Vec<usize>>>,
    begun: Arc<AtomicUsize>,
    /// Closed when locked items may be served.
    free: Arc<Semaphore>,
}

const BAD: u32 = 113;
const WORSE: u32 = 114;
const SHORT: u32 = 115;
const DOWN: u32 = 116;
/// Locked by another transaction until the lock is free; so are the numbers after it.
const LOCKED: u32 = 1_000;

impl Batch for Doubling {
    type Item = u32;
    type Answer = u32;
    const SERVE_ABANDONED: bool = false;

    fn lock_of(item: &u32) -> Option<&str> {
        match *item {
            LOCKED => Some("a lock"),
            item if item > LOCKED => Some("another lock"),
            _ => None,
        }
    }

    async fn serve(&self, items: Arc<[u32]>, wait: LockWait) -> Result<Vec<u32>, StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.batches.lock().unwrap().push(items.len());
        assert!(!items.contains(&WORSE), "planted");
        if items.iter().any(|item| *item >= LOCKED) && !self.free.is_closed() {
            if wait == LockWait::Short {
                return Err(StoreError::LockTimeout);
            }
            let _ = self.free.acquire().await;
        }
        if items.contains(&BAD) {
            return Err(StoreError::Internal("bad".to_owned()));
        }
        if items.contains(&DOWN) {
            return Err(StoreError::Unavailable("down".to_owned()));
        }
        let answers = items.iter().map(|item| item * 2);
        Ok(answers.filter(|answer| *answer != SHORT * 2).collect())
    }
}

struct Bench {
    queue: Arc<Coalescer<Doubling>>,
    admission: Admission,
    gate: Arc<Semaphore>,
    batches: Arc<std::sync::Mutex<Vec<usize>>>,
    begun: Arc<AtomicUsize>,
    free: Arc<Semaphore>,
}

impl Bench {
    fn new(shape: QueueLimits, capacity: usize) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let (batches, begun) = (Arc::default(), Arc::default());
        let free = Arc::new(Semaphore::new(0));
        let batch = Doubling {
            gate: Arc::clone(&gate),
            batches: Arc::clone(&batches),
            begun: Arc::clone(&begun),
            free: Arc::clone(&free),
        };
        let metrics = Metrics::new().unwrap();
        Self {
            queue: Arc::new(Coalescer::new(batch, shape, &Handle::current())),
            admission: Admission::new(capacity, metrics.queue("test")),
            gate,
            batches,
            begun,
            free,
        }
    }

    fn ask(&self, item: u32) -> tokio::task::JoinHandle<Result<u32, StoreError>> {
        self.ask_until(item, Instant::now() + Duration::from_secs(60))
    }

    fn ask_until(
        &self,
        item: u32,
        deadline: Instant,
    ) -> tokio::task::JoinHandle<Result<u32, StoreError>> {
        let (queue, admission) = (Arc::clone(&self.queue), self.admission.clone());
        tokio::spawn(async move { queue.ask(admission.enter(0)?, item, deadline).await })
    }

    /// Lets everybody run who can, until this many batches have begun.
    async fn begun(&self, batches: usize) {
        while self.begun.load(Ordering::SeqCst) < batches {
            tokio::task::yield_now().await;
        }
        settle().await;
    }

    fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

const ONE: QueueLimits = QueueLimits {
    workers: 1,
    limit: 10,
};

#[tokio::test]
async fn a_lone_request_is_served_at_once_and_batches_form_while_it_is() {
    let bench = Bench::new(ONE, 100);
    let first = bench.ask(0);
    bench.begun(1).await;
    let waiting: Vec<_> = (1..=25).map(|i| bench.ask(i)).collect();
    settle().await;
    bench.gate.add_permits(100);
    assert_eq!(first.await.unwrap(), Ok(0));
    for (i, answer) in (1..=25).zip(waiting) {
        assert_eq!(answer.await.unwrap(), Ok(i * 2));
    }
    assert_eq!(bench.batches(), [1, 10, 10, 5]);
}

#[tokio::test]
async fn who_asks_after_a_batch_began_is_not_in_it() {
    let bench = Bench::new(ONE, 100);
    let early = bench.ask(1);
    bench.begun(1).await;
    let late = bench.ask(2);
    settle().await;
    bench.gate.add_permits(1);
    assert_eq!(early.await.unwrap(), Ok(2));
    settle().await;
    assert!(!late.is_finished(), "it waits for a batch of its own");
    bench.gate.add_permits(1);
    assert_eq!(late.await.unwrap(), Ok(4));
    assert_eq!(bench.batches(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_batch_holds_the_next_up_for_a_moment_only() {
    let two = QueueLimits { workers: 2, ..ONE };
    let bench = Bench::new(two, 100);
    let slow = bench.ask(1);
    bench.begun(1).await;
    let next = bench.ask(2);
    tokio::time::sleep(OVERLAP_AFTER - Duration::from_millis(1)).await;
    assert_eq!(
        bench.begun.load(Ordering::SeqCst),
        1,
        "one at work is enough"
    );
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(bench.begun.load(Ordering::SeqCst), 2);
    bench.gate.add_permits(2);
    assert_eq!(slow.await.unwrap(), Ok(2));
    assert_eq!(next.await.unwrap(), Ok(4));
    assert_eq!(bench.batches(), [1, 1]);
}

#[tokio::test]
async fn a_bad_item_fails_alone() {
    let bench = Bench::new(ONE, 100);
    bench.gate.add_permits(100);
    let asked: Vec<_> = [1, BAD, 3].map(|i| bench.ask(i)).into_iter().collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap());
    }
    assert_eq!(
        answers,
        [Ok(2), Err(StoreError::Internal("bad".to_owned())), Ok(6)]
    );
    assert_eq!(bench.batches(), [3, 1, 2, 1, 1]);
}

#[tokio::test]
async fn who_is_served_alone_does_not_wait_for_the_others() {
    let bench = Bench::new(ONE, 100);
    let [one, bad, last] = [1, BAD, 3].map(|i| bench.ask(i));
    // The batch, and the first of it alone.
    bench.gate.add_permits(2);
    assert_eq!(one.await.unwrap(), Ok(2));
    assert!(!bad.is_finished() && !last.is_finished());
}

#[tokio::test]
async fn a_database_that_goes_down_among_lone_retries_is_not_asked_for_each() {
    let bench = Bench::new(ONE, 100);
    bench.gate.add_permits(100);
    let asked = [1, BAD, DOWN, 3, 4].map(|i| bench.ask(i));
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap().map_err(|error| error.kind()));
    }
    assert_eq!(
        answers,
        [
            Ok(2),
            Err("internal"),
            Err("unavailable"),
            Err("unavailable"),
            Err("unavailable")
        ]
    );
    assert_eq!(bench.batches(), [5, 2, 1, 1, 3]);
}

#[tokio::test]
async fn a_database_that_is_down_is_asked_once_for_the_whole_batch() {
    let bench = Bench::new(ONE, 100);
    let first = bench.ask(0);
    bench.begun(1).await;
    let asked: Vec<_> = [1, DOWN, 3].map(|i| bench.ask(i)).into_iter().collect();
    settle().await;
    bench.gate.add_permits(2);
    assert_eq!(first.await.unwrap(), Ok(0));
    for answer in asked {
        assert_eq!(
            answer.await.unwrap(),
            Err(StoreError::Unavailable("down".to_owned()))
        );
    }
    assert_eq!(bench.batches(), [1, 3]);
}

#[tokio::test]
async fn a_panic_answers_everybody_and_the_worker_lives() {
    let bench = Bench::new(ONE, 100);
    bench.gate.add_permits(100);
    let asked: Vec<_> = [1, WORSE, 3].map(|i| bench.ask(i)).into_iter().collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap().is_ok());
    }
    assert_eq!(answers, [true, false, true]);
    assert_eq!(bench.ask(4).await.unwrap(), Ok(8));
    assert_eq!(bench.batches(), [3, 1, 2, 1, 1, 1]);
}

#[tokio::test]
async fn an_answer_too_few_is_an_error_and_not_a_mix_up() {
    let bench = Bench::new(ONE, 100);
    bench.gate.add_permits(100);
    let asked: Vec<_> = [1, SHORT, 3].map(|i| bench.ask(i)).into_iter().collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap().ok());
    }
    assert_eq!(answers, [Some(2), None, Some(6)]);
    assert_eq!(bench.batches(), [3, 1, 2, 1, 1]);
}

#[tokio::test]
async fn who_is_gone_is_passed_over_and_gives_its_place_back() {
    let bench = Bench::new(ONE, 3);
    let first = bench.ask(0);
    bench.begun(1).await;
    let (gone, stays) = (bench.ask(1), bench.ask(2));
    settle().await;
    assert_eq!(bench.ask(3).await.unwrap(), Err(StoreError::Overloaded));
    gone.abort();
    settle().await;
    bench.gate.add_permits(2);
    assert_eq!(first.await.unwrap(), Ok(0));
    assert_eq!(stays.await.unwrap(), Ok(4));
    assert_eq!(
        bench.batches(),
        [1, 1],
        "nobody worked for the one that is gone"
    );
    assert!(
        bench.admission.close(Duration::from_secs(1)).await,
        "all places are free"
    );
    assert!(matches!(
        bench.ask(5).await.unwrap(),
        Err(StoreError::Unavailable(_))
    ));
}

#[tokio::test]
async fn closing_waits_for_those_inside_but_not_for_ever() {
    let bench = Bench::new(ONE, 3);
    let stuck = bench.ask(0);
    bench.begun(1).await;
    assert!(!bench.admission.close(Duration::from_millis(20)).await);
    bench.gate.add_permits(1);
    assert_eq!(stuck.await.unwrap(), Ok(0));
}

#[tokio::test]
async fn a_locked_item_waits_in_a_lane_and_its_neighbours_do_not() {
    let bench = Bench::new(ONE, 100);
    bench.gate.add_permits(1_000);
    let locked = [LOCKED, LOCKED].map(|item| bench.ask(item));
    let neighbours: Vec<_> = (1..=6).map(|i| bench.ask(i)).collect();
    for (i, answer) in (1..=6).zip(neighbours) {
        assert_eq!(answer.await.unwrap(), Ok(i * 2));
    }
    let before = bench.batches().len();
    // The lock is known to be held: later items with it go to the lane at once.
    let late = bench.ask(LOCKED);
    assert_eq!(bench.ask(7).await.unwrap(), Ok(14));
    assert_eq!(
        bench.batches().get(before..),
        Some(&[1][..]),
        "one statement, for the neighbour"
    );
    assert!(locked.iter().all(|answer| !answer.is_finished()));
    bench.free.close();
    for answer in locked.into_iter().chain([late]) {
        assert_eq!(answer.await.unwrap(), Ok(2 * LOCKED));
    }
    assert!(
        bench.admission.close(Duration::from_secs(1)).await,
        "all places are free"
    );
}

#[tokio::test]
async fn what_waits_for_a_lane_past_its_deadline_is_not_served() {
    let bench = Bench::new(ONE, 100);
    bench.gate.add_permits(1_000);
    let first = bench.ask(LOCKED);
    settle().await;
    let late = bench.ask_until(LOCKED, Instant::now());
    settle().await;
    bench.free.close();
    assert_eq!(first.await.unwrap(), Ok(2 * LOCKED));
    assert_eq!(late.await.unwrap(), Err(StoreError::LockTimeout));
}

#[tokio::test]
async fn a_fault_that_all_items_have_is_not_tried_on_each() {
    let large = QueueLimits {
        workers: 1,
        limit: 1_024,
    };
    let bench = Bench::new(large, 2_000);
    let first = bench.ask(0);
    bench.begun(1).await;
    let asked: Vec<_> = (0..1_024).map(|_| bench.ask(BAD)).collect();
    settle().await;
    bench.gate.add_permits(2_000);
    assert_eq!(first.await.unwrap(), Ok(0));
    for answer in asked {
        assert_eq!(answer.await.unwrap().unwrap_err().kind(), "internal");
    }
    assert_eq!(bench.batches().len(), 1 + 64);
}

#[tokio::test]
async fn three_bad_items_among_a_thousand_fail_alone() {
    let large = QueueLimits {
        workers: 1,
        limit: 1_024,
    };
    let bench = Bench::new(large, 2_000);
    let first = bench.ask(0);
    bench.begun(1).await;
    let items = (0..1_024).map(|i| if [5, 500, 1_000].contains(&i) { BAD } else { 1 });
    let asked: Vec<_> = items.map(|item| bench.ask(item)).collect();
    settle().await;
    bench.gate.add_permits(2_000);
    assert_eq!(first.await.unwrap(), Ok(0));
    let mut failed = Vec::new();
    for (i, answer) in asked.into_iter().enumerate() {
        if answer.await.unwrap().is_err() {
            failed.push(i);
        }
    }
    assert_eq!(failed, [5, 500, 1_000]);
}
