//! Many requests, one statement.
//!
//! A worker takes what waits at that moment, up to a limit, and serves it together. It waits for
//! nobody: a lone request is served at once, and batches form only while the database is busy. What
//! a worker takes was there before its statement begins, so a reader never gets an answer that is
//! older than its question.
//!
//! One worker is at work while the database is quick: few large batches cost it less than many
//! small ones. When a batch takes longer than [`OVERLAP_AFTER`], the next worker goes on with what waits,
//! so that one slow statement does not hold up everybody.

mod lanes;
mod split;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::StoreError;
use super::admission::Ticket;
use lanes::Lanes;
use split::serve_in_parts;

/// How long a batch may take until the next one begins beside it. Several times what a batch of some
/// hundred takes on a healthy database, and short beside what a client notices. A full one takes about
/// as long; then two at once keep the database busy while one of them is answered.
const OVERLAP_AFTER: Duration = Duration::from_millis(20);

/// How long a batch may wait for a lock that another transaction holds on what one of its items needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockWait {
    /// Briefly, as others are in the batch; past it [`StoreError::LockTimeout`].
    Short,
    /// As long as a statement may take.
    Long,
}

/// How one kind of request is served together.
pub(super) trait Batch: Send + Sync + 'static {
    /// One request.
    type Item: Clone + Send + Sync + 'static;
    /// Its answer.
    type Answer: Send + 'static;

    /// Answers all items, in their order.
    fn serve(
        &self,
        items: Arc<[Self::Item]>,
        wait: LockWait,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, StoreError>> + Send;

    /// Whether an item is served although nobody waits for its answer any more.
    const SERVE_ABANDONED: bool;

    /// What the item locks: items with the same value wait for the same lock.
    fn lock_of(_item: &Self::Item) -> Option<&str> {
        None
    }
}

/// How many may be at work and how much each takes at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueLimits {
    pub(super) workers: usize,
    pub(super) limit: usize,
}

struct Waiting<B: Batch> {
    item: B::Item,
    reply: Reply<B>,
    /// When its client gives up.
    deadline: Instant,
}

/// A queue of requests of one kind and the workers behind it.
pub(super) struct Coalescer<B: Batch> {
    sender: mpsc::UnboundedSender<Waiting<B>>,
}

impl<B: Batch> Coalescer<B> {
    /// A queue whose workers run on `runtime` until the last sender is gone.
    pub(super) fn new(batch: B, shape: QueueLimits, runtime: &Handle) -> Self {
        // Unbounded as a channel; bounded by admission, which every item has passed.
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let batch = Arc::new(batch);
        let lanes = Arc::new(Lanes::new(Arc::clone(&batch)));
        for _ in 0..shape.workers {
            let (batch, lanes) = (Arc::clone(&batch), Arc::clone(&lanes));
            runtime.spawn(work(batch, lanes, Arc::clone(&receiver), shape.limit));
        }
        Self { sender }
    }

    /// The answer to one item, for who has a place in the store. Past `deadline` it no longer waits for a
    /// lock that other items do not need.
    pub(super) async fn ask(
        &self,
        ticket: Ticket,
        item: B::Item,
        deadline: Instant,
    ) -> Result<B::Answer, StoreError> {
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting {
            item,
            reply: Reply { sender, ticket },
            deadline,
        };
        let gone = || StoreError::Internal("the worker of a queue is gone".to_owned());
        self.sender.send(waiting).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn work<B: Batch>(
    batch: Arc<B>,
    lanes: Arc<Lanes<B>>,
    receiver: Arc<Mutex<mpsc::UnboundedReceiver<Waiting<B>>>>,
    limit: usize,
) {
    let mut taken = Vec::new();
    loop {
        // Who holds the receiver has the turn.
        let mut turn = receiver.lock().await;
        if turn.recv_many(&mut taken, limit).await == 0 {
            return;
        }
        if !B::SERVE_ABANDONED {
            taken.retain(|waiting| !waiting.reply.sender.is_closed());
        }
        lanes.take_blocked(&mut taken);
        let Some(first) = taken.first() else {
            continue;
        };
        first.reply.ticket.batch_of(taken.len());
        let mut serving = pin!(serve_in_parts(&*batch, &lanes, taken.drain(..)));
        if timeout(OVERLAP_AFTER, &mut serving).await.is_err() {
            drop(turn);
            serving.await;
        }
    }
}

/// Where an answer goes, and the place that its request takes until then.
struct Reply<B: Batch> {
    sender: oneshot::Sender<Result<B::Answer, StoreError>>,
    ticket: Ticket,
}

impl<B: Batch> Reply<B> {
    fn send(self, answer: Result<B::Answer, StoreError>) {
        // The place is free before the client can come back for another.
        drop(self.ticket);
        let _ = self.sender.send(answer);
    }
}

/// The batch's own answer, or an error when it panics or answers too few.
async fn guarded<B: Batch>(
    batch: &B,
    items: Arc<[B::Item]>,
    wait: LockWait,
) -> Result<Vec<B::Answer>, StoreError> {
    let expected = items.len();
    let answers = AssertUnwindSafe(batch.serve(items, wait))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(StoreError::Internal("a batch panicked".to_owned())))?;
    if answers.len() == expected {
        Ok(answers)
    } else {
        Err(StoreError::Internal("a batch left an item out".to_owned()))
    }
}

#[cfg(test)]
mod tests;
