//! Serves many requests with one statement.
//!
//! A worker takes the requests that wait at that moment, up to a limit, and serves them together. It adds
//! no delay: a single request is served at once, and batches form only while the database is busy. A
//! request is taken before its statement begins, so a response is never older than its request.
//!
//! While the database is quick, one worker at a time serves batches: a few large batches cost the database
//! less than many small ones. When a batch takes longer than [`OVERLAP_AFTER`], the next worker serves the
//! requests that wait, so that one slow statement does not delay all of them. While several principals send
//! requests, batches are smaller, and each principal has a part of them (`fair`).

mod fair;
mod lanes;
mod split;
mod suspects;

use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::{Mutex, mpsc, oneshot};

use super::StoreError;
use super::admission::Permit;
use super::error::StoreFault;
use super::stages::{Spent, measured};
use crate::concurrency::{Handle, Instant, timeout};
use crate::domain::Tenant;
use fair::Queue;
use lanes::Lanes;
use split::serve_batch;

/// How long a batch may take until the next one begins in parallel. This is several times the duration of a batch
/// of about a hundred requests on a healthy database, and too short for a client to notice. A full batch takes
/// about as long. Two batches at once then keep the database busy while the responses of one are sent.
const OVERLAP_AFTER: Duration = Duration::from_millis(20);

/// How long a batch may wait for a lock that another transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockWait {
    /// Only briefly, because other items wait in the same batch. Then the batch fails with
    /// [`StoreError::LockTimeout`].
    Short,
    /// Hardly at all, because the lock is probably held. Then the batch fails with [`StoreError::LockTimeout`].
    Moment,
    /// As long as a statement may take.
    Long,
}

/// How requests of one kind are served together.
pub(super) trait Batch: Send + Sync + 'static {
    /// One request.
    type Item: Clone + Send + Sync + 'static;
    /// Its response.
    type Response: Send + 'static;

    /// Serves all items. Returns one response for each item, in the same order.
    fn serve(
        &self,
        items: Arc<[Self::Item]>,
        wait: LockWait,
    ) -> impl Future<Output = Result<Vec<Self::Response>, StoreError>> + Send;

    /// Whether an item is served after its client is gone.
    const SERVE_ABANDONED: bool;

    /// Whether items of several tenants are served together. Otherwise each tenant has a batch of its own, and
    /// the batches are served at the same time.
    ///
    /// This is the only place that decides it. On plain PostgreSQL and on SQLite, a statement may serve several
    /// tenants. On a database that is distributed by tenant, it would involve several nodes.
    const MIXES_TENANTS: bool;

    /// Whose data the item reads or writes.
    fn tenant_of<'a>(&'a self, item: &'a Self::Item) -> &'a Tenant;

    /// The name of the lock that the item takes. Items with the same name wait for the same lock.
    fn lock_of(_item: &Self::Item) -> Option<LockName> {
        None
    }
}

/// The name of a lock of the database: the tenant and a value. Tenants never wait for each other.
pub(super) type LockName = (Tenant, LockedValue);

/// A unique value. A transaction that inserts it locks it until its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum LockedValue {
    /// The hash of an idempotency key.
    Key(Vec<u8>),
    /// The external id of an order.
    ExternalId(String),
}

/// How many workers serve a queue, and how many requests each takes at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    pub(super) workers: usize,
    pub(super) limit: usize,
}

struct Waiting<B: Batch> {
    item: B::Item,
    responder: Responder<B>,
    /// When the request was admitted.
    since: Instant,
    /// The deadline of the client.
    deadline: Instant,
    /// The time of the attempts to serve it.
    spent: Spent,
}

/// A queue of requests of one kind and the workers that serve it.
pub(super) struct Coalescer<B: Batch> {
    sender: mpsc::UnboundedSender<Waiting<B>>,
}

impl<B: Batch> Coalescer<B> {
    /// Creates a queue whose workers run on `runtime` until the queue is dropped.
    pub(super) fn new(batch: B, limits: QueueLimits, runtime: &Handle) -> Self {
        // The channel is unbounded. Admission, which every item has passed, limits the number of items in it.
        let (sender, receiver) = mpsc::unbounded_channel();
        let queue = Arc::new(Mutex::new(Queue::new(receiver)));
        let batch = Arc::new(batch);
        let lanes = Arc::new(Lanes::new(Arc::clone(&batch)));
        for _ in 0..limits.workers {
            let (batch, lanes) = (Arc::clone(&batch), Arc::clone(&lanes));
            runtime.spawn(run_worker(batch, lanes, Arc::clone(&queue), limits.limit));
        }
        Self { sender }
    }

    /// Submits one item, whose request has been admitted `now`, and returns the future of its response. The item is served
    /// even if the future is never polled ([`Batch::SERVE_ABANDONED`]). After `deadline`, the item no longer waits in a
    /// lane for its lock.
    pub(super) fn submit(
        &self,
        permit: Permit,
        item: B::Item,
        now: Instant,
        deadline: Instant,
    ) -> impl Future<Output = Result<B::Response, StoreError>> + use<B> {
        let (sender, response) = oneshot::channel();
        let waiting = Waiting {
            item,
            responder: Responder { sender, permit },
            since: now,
            deadline,
            spent: Spent::default(),
        };
        let sent = self.sender.send(waiting).is_ok();
        async move {
            if !sent {
                return Err(StoreFault::WorkerEnded.into());
            }
            response.await.map_err(|_| StoreFault::WorkerEnded)?
        }
    }
}

/// Serves batches until the queue is closed.
async fn run_worker<B: Batch>(
    batch: Arc<B>,
    lanes: Arc<Lanes<B>>,
    queue: Arc<Mutex<Queue<B>>>,
    limit: usize,
) {
    let mut taken = Vec::new();
    loop {
        // Only the worker that holds the queue may begin a batch.
        let mut queue = queue.lock().await;
        if !queue.take(&mut taken, limit).await {
            return;
        }
        if !B::SERVE_ABANDONED {
            taken.retain(|waiting| !waiting.responder.sender.is_closed());
        }
        lanes.divert(&mut taken);
        if taken.is_empty() {
            continue;
        }
        let mut serving = pin!(serve(&*batch, &lanes, std::mem::take(&mut taken)));
        if timeout(OVERLAP_AFTER, &mut serving).await.is_err() {
            drop(queue);
            serving.await;
        }
    }
}

/// Serves the items of one or of several tenants.
async fn serve<B: Batch>(batch: &B, lanes: &Arc<Lanes<B>>, taken: Vec<Waiting<B>>) {
    if B::MIXES_TENANTS {
        return serve_batch(batch, lanes, taken).await;
    }
    let mut tenants: HashMap<Tenant, Vec<Waiting<B>>> = HashMap::new();
    for waiting in taken {
        match tenants.get_mut(batch.tenant_of(&waiting.item)) {
            Some(same) => same.push(waiting),
            None => {
                let tenant = batch.tenant_of(&waiting.item).clone();
                tenants.insert(tenant, vec![waiting]);
            }
        }
    }
    let batches = tenants.into_values();
    let batches = batches.map(|waiting| serve_batch(batch, lanes, waiting));
    join_all(batches).await;
}

/// Sends the response of a request, which holds its permit until then.
struct Responder<B: Batch> {
    sender: oneshot::Sender<Result<B::Response, StoreError>>,
    permit: Permit,
}

impl<B: Batch> Responder<B> {
    fn send(self, response: Result<B::Response, StoreError>) {
        // Release the permit first, so that the next request of the same client can acquire it.
        drop(self.permit);
        let _ = self.sender.send(response);
    }
}

/// Sends the responses of requests, after it has recorded their times.
fn respond<B: Batch>(
    requests: Vec<Waiting<B>>,
    responses: impl IntoIterator<Item = Result<B::Response, StoreError>>,
) {
    if let Some(first) = requests.first() {
        let now = Instant::now();
        let times = requests
            .iter()
            .map(|waiting| waiting.spent.times(waiting.since, now));
        first.responder.permit.record_times(times);
    }
    for (waiting, response) in requests.into_iter().zip(responses) {
        waiting.responder.send(response);
    }
}

/// Serves a batch, and measures it. A panic or a wrong number of responses is an error.
async fn serve_checked<B: Batch>(
    batch: &B,
    items: Arc<[B::Item]>,
    wait: LockWait,
) -> (Result<Vec<B::Response>, StoreError>, Spent) {
    let requests = items.len();
    let serving = AssertUnwindSafe(batch.serve(items, wait)).catch_unwind();
    let (served, spent) = measured(serving).await;
    let served = served.unwrap_or_else(|_| Err(StoreFault::Panicked.into()));
    let checked = served.and_then(|responses| check_count(requests, responses));
    (checked, spent)
}

fn check_count<R>(requests: usize, responses: Vec<R>) -> Result<Vec<R>, StoreError> {
    if responses.len() == requests {
        return Ok(responses);
    }
    let responses = responses.len();
    Err(StoreFault::WrongCount {
        requests,
        responses,
    }
    .into())
}

#[cfg(test)]
mod tests;
