//! Serves a batch whole; if that fails on what is in it, in halves, so that one bad item cannot fail its
//! neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join};
use parking_lot::Mutex;

use super::lanes::Lanes;
use super::{Batch, LockWait, Reply, Waiting, guarded};
use crate::store::StoreError;

/// The most statements that a batch is tried with in vain: a fault that every item has, such as a broken
/// schema, is not tried on each.
const STATEMENTS: usize = 64;
/// How many more there may be for each that succeeds.
const MORE: usize = 4;

/// Serves what was taken from the queue and replies to each.
pub(super) async fn serve_in_parts<B: Batch>(
    batch: &B,
    lanes: &Arc<Lanes<B>>,
    taken: impl Iterator<Item = Waiting<B>>,
) {
    let parts = Parts {
        batch,
        lanes,
        statements: AtomicUsize::new(STATEMENTS),
        outage: Mutex::new(None),
    };
    parts.serve(taken.collect()).await;
}

struct Parts<'a, B: Batch> {
    batch: &'a B,
    lanes: &'a Arc<Lanes<B>>,
    /// Statements left.
    statements: AtomicUsize,
    /// An error that is about the database and so true for every item.
    outage: Mutex<Option<StoreError>>,
}

impl<B: Batch> Parts<'_, B> {
    async fn serve(&self, part: Vec<Waiting<B>>) {
        let items: Arc<[B::Item]> = part.iter().map(|waiting| waiting.item.clone()).collect();
        self.take_statement();
        match guarded(self.batch, items, LockWait::Short).await {
            Ok(answers) => {
                self.statements.fetch_add(MORE, Ordering::Relaxed);
                for (waiting, answer) in part.into_iter().zip(answers) {
                    waiting.reply.send(Ok(answer));
                }
            }
            Err(error) => self.recover(part, error).await,
        }
    }

    async fn recover(&self, mut part: Vec<Waiting<B>>, error: StoreError) {
        let one = part.len() == 1;
        match error {
            StoreError::LockTimeout if one => self.lanes.enter(part),
            StoreError::LockTimeout => {
                let right = part.split_off(part.len() / 2);
                // Together: the half without the blocked item does not wait for the other.
                let left = self.serve_rest(part, StoreError::LockTimeout);
                join(left, self.serve_rest(right, StoreError::LockTimeout)).await;
            }
            StoreError::Internal(_) | StoreError::BatchTooLarge if !one => {
                let right = part.split_off(part.len() / 2);
                self.serve_rest(part, error.clone()).await;
                self.serve_rest(right, error).await;
            }
            StoreError::Internal(_) | StoreError::BatchTooLarge => fail(part, &error),
            // What says something about the database and not about the items is true for all of them.
            outage => {
                fail(part, &outage);
                *self.outage.lock() = Some(outage);
            }
        }
    }

    /// Serves a part of what failed together, unless that is hopeless by now.
    fn serve_rest(&self, part: Vec<Waiting<B>>, error: StoreError) -> BoxFuture<'_, ()> {
        let outage = self.outage.lock().clone();
        if let Some(outage) = outage {
            fail(part, &outage);
        } else if self.statements.load(Ordering::Relaxed) > 0 {
            return self.serve(part).boxed();
        } else if error == StoreError::LockTimeout {
            self.lanes.enter(part);
        } else {
            fail(part, &error);
        }
        std::future::ready(()).boxed()
    }

    fn take_statement(&self) {
        let less = |left: usize| Some(left.saturating_sub(1));
        let _ = self
            .statements
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

pub(super) fn fail<B: Batch>(part: Vec<Waiting<B>>, error: &StoreError) {
    for Waiting { reply, .. } in part {
        Reply::send(reply, Err(error.clone()));
    }
}
