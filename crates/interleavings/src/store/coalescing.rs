//! The queues of the coalescer: hand-over between workers, lanes of blocked keys, responses, and their end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool as Plain, AtomicUsize as Count, Ordering::Relaxed};
use std::time::Duration;

use order_service::telemetry::Metrics;
use shuttle::future::block_on;
use shuttle::rand::{Rng as _, thread_rng};

use crate::concurrency::{Handle, Instant, spawn};
use crate::domain::{Caller, Tenant};
use crate::explore;
use crate::store::StoreError;
use crate::store::admission::{Admission, RequestKind};
use crate::store::coalesce::{Batch, Coalescer, LockName, LockWait, LockedValue, QueueLimits};

/// Doubles numbers. While the locks are held, a batch with a large number fails.
struct Doubling {
    tenant: Tenant,
    locked: Arc<Plain>,
    served: Arc<Count>,
}

/// Numbers from here on need a lock: each its own, or none that has a name.
const LOCKED: u32 = 10;
const UNNAMED: u32 = 20;

impl Batch for Doubling {
    type Item = u32;
    type Response = u32;
    const SERVE_ABANDONED: bool = true;
    const MIXES_TENANTS: bool = true;

    fn tenant_of<'a>(&'a self, _item: &'a u32) -> &'a Tenant {
        &self.tenant
    }

    fn lock_of(item: &u32) -> Option<LockName> {
        let value = LockedValue::ExternalId(item.to_string());
        (LOCKED..UNNAMED)
            .contains(item)
            .then(|| (Tenant::default(), value))
    }

    async fn serve(&self, items: Arc<[u32]>, wait: LockWait) -> Result<Vec<u32>, StoreError> {
        shuttle::future::yield_now().await;
        if items.iter().any(|item| *item >= LOCKED) {
            let mut tries = 0;
            while self.locked.load(Relaxed) {
                tries += 1;
                if wait != LockWait::Long && tries > 2 {
                    return Err(StoreError::LockTimeout);
                }
                shuttle::future::yield_now().await;
            }
        }
        self.served.fetch_add(items.len(), Relaxed);
        Ok(items.iter().map(|item| item * 2).collect())
    }
}

struct Harness {
    queue: Coalescer<Doubling>,
    admission: Admission,
    locked: Arc<Plain>,
    served: Arc<Count>,
}

fn harness(metrics: &Metrics) -> Harness {
    let (locked, served) = (Arc::new(Plain::new(true)), Arc::default());
    let batch = Doubling {
        tenant: Tenant::default(),
        locked: Arc::clone(&locked),
        served: Arc::clone(&served),
    };
    let limits = QueueLimits {
        workers: 2,
        limit: 3,
    };
    Harness {
        queue: Coalescer::new(batch, limits, &Handle),
        admission: Admission::new(64, metrics.queue("test")),
        locked,
        served,
    }
}

impl Harness {
    /// Submits an item without a deadline.
    fn submit(&self, item: u32) -> impl Future<Output = Result<u32, StoreError>> + use<> {
        let permit = self
            .admission
            .acquire(&Caller::anonymous(), RequestKind::Write, 0);
        self.queue
            .submit(permit.unwrap(), item, Instant::now(), Instant::never())
    }
}

fn metrics() -> Metrics {
    Metrics::new().unwrap()
}

/// Each item gets its own response, also if its lock is held and released at any moment. An item that is forgotten in a
/// queue or a lane would be a deadlock, which shuttle reports.
pub fn every_item_gets_its_response_once() {
    let metrics = metrics();
    explore(move || {
        let harness = harness(&metrics);
        let mut tasks = Vec::new();
        for item in [
            1,
            LOCKED,
            LOCKED,
            LOCKED + 1,
            2,
            UNNAMED,
            LOCKED,
            LOCKED,
            LOCKED,
        ] {
            let response = harness.submit(item);
            tasks.push(spawn(async move {
                assert_eq!(response.await, Ok(item * 2));
            }));
            // Some arrive while a lane that exists for them is about to end.
            if thread_rng().gen_bool(0.5) {
                for _ in 0..thread_rng().gen_range(0..40) {
                    shuttle::thread::yield_now();
                }
            }
        }
        spawn({
            let locked = Arc::clone(&harness.locked);
            async move {
                for _ in 0..thread_rng().gen_range(0..40) {
                    shuttle::future::yield_now().await;
                }
                locked.store(false, Relaxed);
            }
        });
        let items = tasks.len();
        for task in tasks {
            block_on(task).unwrap();
        }
        assert_eq!(harness.served.load(Relaxed), items);
        let closed = harness.admission.close(Duration::from_secs(7_200));
        assert!(block_on(closed), "a permit is lost");
    });
}

/// The items that wait when the queue is dropped are served, and then the workers end.
pub fn items_of_a_dropped_queue_are_served() {
    let metrics = metrics();
    explore(move || {
        let harness = harness(&metrics);
        harness.locked.store(false, Relaxed);
        for item in [1, LOCKED, 2] {
            // Without a client.
            drop(harness.submit(item));
        }
        drop(harness.queue);
        let closed = harness.admission.close(Duration::from_secs(7_200));
        assert!(block_on(closed));
        assert_eq!(harness.served.load(Relaxed), 3);
    });
}

/// A client that has its response may send its next request at once: the permit is released before.
pub fn the_permit_of_a_request_is_released_before_its_response() {
    let metrics = metrics();
    explore(move || {
        let harness = harness(&metrics);
        harness.locked.store(false, Relaxed);
        let response = harness.submit(1);
        assert_eq!(block_on(response), Ok(2));
        let empty = block_on(harness.admission.close(Duration::ZERO));
        assert!(empty, "the request still holds its permit");
    });
}
