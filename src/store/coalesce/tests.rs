use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::*;
use crate::domain::Caller;
use crate::store::admission::{Admission, RequestKind};
use crate::telemetry::Metrics;

mod blocked_keys;
mod failed_batches;
mod several_principals;
mod tenants;

/// Doubles numbers. Waits for the gate before each batch, and records the size of each.
struct Doubling {
    gate: Arc<Semaphore>,
    batches: Arc<std::sync::Mutex<Vec<usize>>>,
    begun: Arc<AtomicUsize>,
    /// The items of all batches.
    tried: Arc<std::sync::Mutex<Vec<u32>>>,
    /// Closed when the locks are free.
    free: Arc<Semaphore>,
    tenant: Tenant,
    other: Tenant,
}

/// An item that fails.
const BAD: u32 = 113;
/// An item that causes a panic.
const PANICS: u32 = 114;
/// An item without a response.
const LEFT_OUT: u32 = 115;
/// An item that finds the database down.
const DOWN: u32 = 116;
/// An item that waits for the locks, and has none with a name.
const WAITS: u32 = 400;
/// An item that another transaction locks until the lock is free. So are the larger numbers, each by a lock of its own.
const LOCKED: u32 = 1_000;
/// An item with a lock that is free. The larger numbers below [`LOCKED`] are the same, and of another tenant from
/// [`OTHER_TENANT`] on.
const UNLOCKED: u32 = 500;
const OTHER_TENANT: u32 = 700;

/// A locked item of the other tenant.
const LOCKED_OTHER: u32 = 10_000;
/// An item with a free lock that fails.
const BAD_WITH_LOCK: u32 = 600;

fn tenant_of(item: u32) -> Tenant {
    if (OTHER_TENANT..LOCKED).contains(&item) || item == LOCKED_OTHER {
        Tenant::parse("other").unwrap()
    } else {
        Tenant::default()
    }
}

impl Batch for Doubling {
    type Item = u32;
    type Response = u32;
    const SERVE_ABANDONED: bool = false;
    const MIXES_TENANTS: bool = true;

    fn tenant_of<'a>(&'a self, item: &'a u32) -> &'a Tenant {
        if tenant_of(*item) == self.tenant {
            &self.tenant
        } else {
            &self.other
        }
    }

    fn lock_of(item: &u32) -> Option<LockName> {
        (*item >= UNLOCKED).then(|| {
            (
                tenant_of(*item),
                LockedValue::Key(item.to_string().into_bytes()),
            )
        })
    }

    async fn serve(&self, items: Arc<[u32]>, wait: LockWait) -> Result<Vec<u32>, StoreError> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.batches.lock().unwrap().push(items.len());
        self.tried.lock().unwrap().extend(items.iter());
        assert!(!items.contains(&PANICS), "planted");
        let waits = |item: &u32| *item >= LOCKED || *item == WAITS;
        if items.iter().any(waits) && !self.free.is_closed() {
            let wait = match wait {
                LockWait::Short => Duration::from_millis(100),
                LockWait::Moment => Duration::from_millis(10),
                LockWait::Long => Duration::MAX,
            };
            if tokio::time::timeout(wait, self.free.acquire())
                .await
                .is_err()
            {
                return Err(StoreError::LockTimeout);
            }
        }
        if items.contains(&BAD) || items.contains(&BAD_WITH_LOCK) {
            return Err(StoreError::internal("bad"));
        }
        if items.contains(&DOWN) {
            return Err(StoreError::unavailable("down"));
        }
        let responses = items.iter().map(|item| item * 2);
        Ok(responses
            .filter(|response| *response != LEFT_OUT * 2)
            .collect())
    }
}

struct Harness {
    queue: Arc<Coalescer<Doubling>>,
    admission: Admission,
    gate: Arc<Semaphore>,
    batches: Arc<std::sync::Mutex<Vec<usize>>>,
    begun: Arc<AtomicUsize>,
    tried: Arc<std::sync::Mutex<Vec<u32>>>,
    free: Arc<Semaphore>,
}

impl Harness {
    fn new(limits: QueueLimits, capacity: usize) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let (batches, begun, tried) = (Arc::default(), Arc::default(), Arc::default());
        let free = Arc::new(Semaphore::new(0));
        let batch = Doubling {
            gate: Arc::clone(&gate),
            batches: Arc::clone(&batches),
            begun: Arc::clone(&begun),
            tried: Arc::clone(&tried),
            free: Arc::clone(&free),
            tenant: Tenant::default(),
            other: tenant_of(OTHER_TENANT),
        };
        let metrics = Metrics::new().unwrap();
        Self {
            queue: Arc::new(Coalescer::new(batch, limits, &Handle::current())),
            // One caller may use half of the capacity.
            admission: Admission::new(2 * capacity, metrics.queue("test")),
            gate,
            batches,
            begun,
            tried,
            free,
        }
    }

    fn submit(&self, item: u32) -> tokio::task::JoinHandle<Result<u32, StoreError>> {
        self.submit_until(item, Instant::now() + Duration::from_secs(60))
    }

    fn submit_until(
        &self,
        item: u32,
        deadline: Instant,
    ) -> tokio::task::JoinHandle<Result<u32, StoreError>> {
        self.submit_as("", item, deadline)
    }

    fn submit_as(
        &self,
        principal: &str,
        item: u32,
        deadline: Instant,
    ) -> tokio::task::JoinHandle<Result<u32, StoreError>> {
        let (queue, admission) = (Arc::clone(&self.queue), self.admission.clone());
        let caller = Caller {
            id: principal.into(),
            ..Caller::anonymous()
        };
        tokio::spawn(async move {
            let permit = admission.acquire(&caller, RequestKind::Write, 0)?;
            queue.submit(permit, item, Instant::now(), deadline).await
        })
    }

    /// Lets all tasks run until this many batches have begun.
    async fn begun(&self, batches: usize) {
        while self.begun.load(Ordering::SeqCst) < batches {
            tokio::task::yield_now().await;
        }
        settle().await;
    }

    fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }

    /// How many batches had this item.
    fn tried(&self, item: u32) -> usize {
        let tried = self.tried.lock().unwrap();
        tried.iter().filter(|tried| **tried == item).count()
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
async fn a_single_request_is_served_at_once_and_a_batch_forms_meanwhile() {
    let harness = Harness::new(ONE, 100);
    let first = harness.submit(0);
    harness.begun(1).await;
    let waiting: Vec<_> = (1..=25).map(|i| harness.submit(i)).collect();
    settle().await;
    harness.gate.add_permits(100);
    assert_eq!(first.await.unwrap(), Ok(0));
    for (i, response) in (1..=25).zip(waiting) {
        assert_eq!(response.await.unwrap(), Ok(i * 2));
    }
    assert_eq!(harness.batches(), [1, 10, 10, 5]);
}

#[tokio::test]
async fn a_request_after_a_batch_began_is_not_part_of_it() {
    let harness = Harness::new(ONE, 100);
    let early = harness.submit(1);
    harness.begun(1).await;
    let late = harness.submit(2);
    settle().await;
    harness.gate.add_permits(1);
    assert_eq!(early.await.unwrap(), Ok(2));
    settle().await;
    assert!(!late.is_finished(), "it waits for a batch of its own");
    harness.gate.add_permits(1);
    assert_eq!(late.await.unwrap(), Ok(4));
    assert_eq!(harness.batches(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_batch_delays_the_next_only_briefly() {
    let two = QueueLimits { workers: 2, ..ONE };
    let harness = Harness::new(two, 100);
    let slow = harness.submit(1);
    harness.begun(1).await;
    let next = harness.submit(2);
    tokio::time::sleep(OVERLAP_AFTER - Duration::from_millis(1)).await;
    assert_eq!(
        harness.begun.load(Ordering::SeqCst),
        1,
        "one worker serves at first"
    );
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(harness.begun.load(Ordering::SeqCst), 2);
    harness.gate.add_permits(2);
    assert_eq!(slow.await.unwrap(), Ok(2));
    assert_eq!(next.await.unwrap(), Ok(4));
    assert_eq!(harness.batches(), [1, 1]);
}

#[tokio::test]
async fn an_abandoned_request_is_not_served_and_releases_its_permit() {
    let harness = Harness::new(ONE, 3);
    let first = harness.submit(0);
    harness.begun(1).await;
    let (gone, stays) = (harness.submit(1), harness.submit(2));
    settle().await;
    assert_eq!(
        harness.submit(3).await.unwrap(),
        Err(StoreError::ShareExceeded)
    );
    gone.abort();
    settle().await;
    harness.gate.add_permits(2);
    assert_eq!(first.await.unwrap(), Ok(0));
    assert_eq!(stays.await.unwrap(), Ok(4));
    assert_eq!(
        harness.batches(),
        [1, 1],
        "the abandoned request was not served"
    );
    assert!(
        harness.admission.close(Duration::from_secs(1)).await,
        "all permits are released"
    );
    assert!(matches!(
        harness.submit(5).await.unwrap(),
        Err(StoreError::Unavailable(_))
    ));
}

#[tokio::test]
async fn closing_waits_for_accepted_requests_until_its_timeout() {
    let harness = Harness::new(ONE, 3);
    let stuck = harness.submit(0);
    harness.begun(1).await;
    assert!(!harness.admission.close(Duration::from_millis(20)).await);
    harness.gate.add_permits(1);
    assert_eq!(stuck.await.unwrap(), Ok(0));
}
