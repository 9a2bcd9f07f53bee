//! Many requests, one statement.
//!
//! A worker takes what waits at that moment, up to a limit, and serves it together. It waits for
//! nobody: a lone request is served at once, and batches form only while the database is busy. What
//! a worker takes was there before its statement begins, so a reader never gets an answer that is
//! older than its question.
//!
//! One worker is at work while the database is quick: few large batches cost it less than many
//! small ones. When a batch takes longer than [`PATIENCE`], the next worker goes on with what waits,
//! so that one slow statement does not hold up everybody.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::timeout;

use super::StoreError;
use super::admission::Ticket;

/// How long a batch may take until the next one begins beside it. Several times what a batch of some
/// hundred takes on a healthy database, and short beside what a client notices. A full one takes about
/// as long; then two at once keep the database busy while one of them is answered.
const PATIENCE: Duration = Duration::from_millis(20);

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
    ) -> impl Future<Output = Result<Vec<Self::Answer>, StoreError>> + Send;

    /// Whether an item is served although nobody waits for its answer any more.
    const SERVE_ABANDONED: bool;
}

/// How many may be at work and how much each takes at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) workers: usize,
    pub(super) limit: usize,
}

struct Waiting<B: Batch> {
    item: B::Item,
    reply: Reply<B>,
}

/// A queue of requests of one kind and the workers behind it.
pub(super) struct Coalescer<B: Batch> {
    sender: mpsc::UnboundedSender<Waiting<B>>,
}

impl<B: Batch> Coalescer<B> {
    /// A queue whose workers run on `runtime` until the last sender is gone.
    pub(super) fn new(batch: B, shape: Shape, runtime: &Handle) -> Self {
        // Unbounded as a channel; bounded by admission, which every item has passed.
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let batch = Arc::new(batch);
        for _ in 0..shape.workers {
            runtime.spawn(work(Arc::clone(&batch), Arc::clone(&receiver), shape.limit));
        }
        Self { sender }
    }

    /// The answer to one item, for who has a place in the store.
    pub(super) async fn ask(&self, ticket: Ticket, item: B::Item) -> Result<B::Answer, StoreError> {
        let (sender, answer) = oneshot::channel();
        let reply = Reply { sender, ticket };
        let waiting = Waiting { item, reply };
        let gone = || StoreError::Internal("the worker of a queue is gone".to_owned());
        self.sender.send(waiting).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn work<B: Batch>(
    batch: Arc<B>,
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
        if taken.is_empty() {
            continue;
        }
        let (items, replies) = split(taken.drain(..));
        let mut serving = pin!(answer(&*batch, items, replies));
        if timeout(PATIENCE, &mut serving).await.is_err() {
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

fn split<B: Batch>(taken: impl Iterator<Item = Waiting<B>>) -> (Arc<[B::Item]>, Vec<Reply<B>>) {
    let (mut items, mut replies) = (Vec::new(), Vec::new());
    for waiting in taken {
        items.push(waiting.item);
        replies.push(waiting.reply);
    }
    if let Some(first) = replies.first() {
        first.ticket.batch_of(items.len());
    }
    (items.into(), replies)
}

/// Serves the items in one statement; if that fails on what is in them, each alone, so that one
/// bad row cannot fail its neighbours.
async fn answer<B: Batch>(batch: &B, items: Arc<[B::Item]>, replies: Vec<Reply<B>>) {
    let error = match guarded(batch, Arc::clone(&items)).await {
        Ok(answers) => {
            for (reply, answer) in replies.into_iter().zip(answers) {
                reply.send(Ok(answer));
            }
            return;
        }
        Err(error) => error,
    };
    // What says something about the database and not about the items is true for all of them.
    let of_items = |error: &StoreError| matches!(error, StoreError::Internal(_));
    let mut failed = Some(error).filter(|error| items.len() == 1 || !of_items(error));
    for (reply, item) in replies.into_iter().zip(items.iter()) {
        let answer = match &failed {
            Some(error) => Err(error.clone()),
            None => alone(batch, item).await,
        };
        failed = answer.as_ref().err().filter(|e| !of_items(e)).cloned();
        reply.send(answer);
    }
}

async fn alone<B: Batch>(batch: &B, item: &B::Item) -> Result<B::Answer, StoreError> {
    let answers = guarded(batch, Arc::from([item.clone()])).await?;
    answers.into_iter().next().ok_or_else(left_out)
}

/// The batch's own answer, or an error when it panics or answers too few.
async fn guarded<B: Batch>(batch: &B, items: Arc<[B::Item]>) -> Result<Vec<B::Answer>, StoreError> {
    let expected = items.len();
    let answers = AssertUnwindSafe(batch.serve(items))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(StoreError::Internal("a batch panicked".to_owned())))?;
    if answers.len() == expected {
        Ok(answers)
    } else {
        Err(left_out())
    }
}

fn left_out() -> StoreError {
    StoreError::Internal("a batch left an item out".to_owned())
}

#[cfg(test)]
mod tests;
