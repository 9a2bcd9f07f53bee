//! Chooses the requests of the next batch while several principals send requests.
//!
//! A request waits for the batch that runs when it arrives, and for the one that contains it. The more requests these
//! have, the longer it waits. A principal that floods the service fills every batch. So while more than one principal
//! is active, batches are small, each principal has a part of them, and the rest of its requests waits for the next.

use std::collections::HashMap;

use tokio::sync::mpsc;

use super::{Batch, Waiting};

/// The size of a batch while several principals are active. With as many requests, the cost of a statement itself no
/// longer matters, and it takes a few milliseconds.
const BATCH: usize = 128;
/// The number of requests of each principal for which a batch may be larger.
const EACH: usize = 32;

/// The requests that wait for a batch.
pub(super) struct Queue<B: Batch> {
    receiver: mpsc::UnboundedReceiver<Waiting<B>>,
    /// Requests that were received but left for a later batch.
    backlog: Vec<Waiting<B>>,
}

impl<B: Batch> Queue<B> {
    pub(super) fn new(receiver: mpsc::UnboundedReceiver<Waiting<B>>) -> Self {
        Self {
            receiver,
            backlog: Vec::new(),
        }
    }

    /// Takes at most `limit` requests for the next batch, and waits until there is one. Returns false when the queue
    /// is closed.
    pub(super) async fn take(&mut self, taken: &mut Vec<Waiting<B>>, limit: usize) -> bool {
        if self.backlog.is_empty() {
            if self.receiver.recv_many(taken, limit).await == 0 {
                return false;
            }
            if taken.len() <= BATCH || !several_are_active(taken) {
                return true;
            }
            self.backlog.append(taken);
        }
        while let Ok(waiting) = self.receiver.try_recv() {
            self.backlog.push(waiting);
        }
        self.choose(taken, limit);
        true
    }

    /// Moves requests of the backlog to `taken`: the oldest ones of each principal.
    fn choose(&mut self, taken: &mut Vec<Waiting<B>>, limit: usize) {
        let mut room = limit;
        if !several_are_active(&self.backlog) {
            taken.extend(self.backlog.drain(..room.min(self.backlog.len())));
            return;
        }
        let mut counts: HashMap<usize, usize> = HashMap::new();
        for waiting in &self.backlog {
            counts.insert(principal(waiting), 0);
        }
        let principals = counts.len();
        let size = BATCH.max(principals.saturating_mul(EACH)).min(limit);
        let each = (size / principals.max(1)).max(1);
        taken.extend(self.backlog.extract_if(.., |waiting| {
            let count = counts.entry(principal(waiting)).or_default();
            let takes = room > 0 && *count < each;
            if takes {
                *count += 1;
                room -= 1;
            }
            takes
        }));
    }
}

fn principal<B: Batch>(waiting: &Waiting<B>) -> usize {
    waiting.responder.permit.share().principal()
}

fn several_are_active<B: Batch>(waiting: &[Waiting<B>]) -> bool {
    waiting
        .first()
        .is_some_and(|first| first.responder.permit.share().active_principals() > 1)
}
