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

/// How long a batch may take until the next one begins beside it. Several times what a batch takes on
/// a healthy database, and short beside what a client notices.
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
    reply: oneshot::Sender<Result<B::Answer, StoreError>>,
    ticket: Ticket,
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
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            item,
            reply,
            ticket,
        };
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
            taken.retain(|waiting| !waiting.reply.is_closed());
        }
        if taken.is_empty() {
            continue;
        }
        let (items, replies) = split(taken.drain(..));
        let mut serving = pin!(together(&*batch, items));
        let answers = match timeout(PATIENCE, &mut serving).await {
            Ok(answers) => answers,
            Err(_) => {
                drop(turn);
                serving.await
            }
        };
        for ((reply, ticket), answer) in replies.into_iter().zip(answers) {
            // The place is free before the client can come back for another.
            drop(ticket);
            let _ = reply.send(answer);
        }
    }
}

type Reply<B> = (
    oneshot::Sender<Result<<B as Batch>::Answer, StoreError>>,
    Ticket,
);

fn split<B: Batch>(taken: impl Iterator<Item = Waiting<B>>) -> (Arc<[B::Item]>, Vec<Reply<B>>) {
    let (mut items, mut replies) = (Vec::new(), Vec::new());
    for waiting in taken {
        items.push(waiting.item);
        replies.push((waiting.reply, waiting.ticket));
    }
    if let Some((_, ticket)) = replies.first() {
        ticket.batch_of(items.len());
    }
    (items.into(), replies)
}

/// Serves the items in one statement; if that fails on what is in them, each alone, so that one
/// bad row cannot fail its neighbours.
async fn together<B: Batch>(
    batch: &B,
    items: Arc<[B::Item]>,
) -> Vec<Result<B::Answer, StoreError>> {
    let error = match guarded(batch, Arc::clone(&items)).await {
        Ok(answers) => return answers.into_iter().map(Ok).collect(),
        Err(error) => error,
    };
    if items.len() == 1 || !matches!(error, StoreError::Internal(_)) {
        return items.iter().map(|_| Err(error.clone())).collect();
    }
    let mut answers = Vec::with_capacity(items.len());
    for item in items.iter() {
        let alone = guarded(batch, Arc::from([item.clone()])).await;
        answers.push(alone.and_then(|answers| {
            let missing = || StoreError::Internal("a batch left an item out".to_owned());
            answers.into_iter().next().ok_or_else(missing)
        }));
    }
    answers
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
        Err(StoreError::Internal("a batch left an item out".to_owned()))
    }
}

#[cfg(test)]
mod tests;
