//! Serves a batch with one statement. If the statement fails because of an item, the batch is split in halves, so
//! that one bad item does not fail the others. If it fails because of a lock, other tasks serve the items that have
//! one (`suspects`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::lanes::Lanes;
use super::{Batch, LockWait, Waiting, respond, serve_checked};
use crate::concurrency::{AtomicUsize, Mutex};
use crate::store::StoreError;

/// The maximum number of failed statements of a batch, so that a fault that affects every item, such as a broken
/// schema, is not repeated for each item.
const MAX_FAILED_STATEMENTS: usize = 64;
/// How many more statements may fail for each that succeeds.
const MORE_PER_SUCCESS: usize = 4;

/// Serves the items of a batch and sends their responses.
pub(super) async fn serve_batch<B: Batch>(
    batch: &B,
    lanes: &Arc<Lanes<B>>,
    items: Vec<Waiting<B>>,
) {
    if let Some(first) = items.first() {
        first.responder.permit.record_batch(items.len());
    }
    SplitBatch::new(batch, lanes).serve(items).await;
}

/// Serves the items of a part whose statement has failed with this error.
pub(super) async fn split_failed<B: Batch>(
    batch: &B,
    lanes: &Arc<Lanes<B>>,
    part: Vec<Waiting<B>>,
    error: StoreError,
) {
    let split = SplitBatch::new(batch, lanes);
    split.take_statement();
    split.recover(part, error).await;
}

/// Serves items with one statement and sends their responses. If it fails, returns the items and the error.
pub(super) async fn serve_part<B: Batch>(
    batch: &B,
    mut part: Vec<Waiting<B>>,
    wait: LockWait,
) -> Result<(), (Vec<Waiting<B>>, StoreError)> {
    let items: Arc<[B::Item]> = part.iter().map(|waiting| waiting.item.clone()).collect();
    let (served, spent) = serve_checked(batch, items, wait).await;
    for waiting in &mut part {
        waiting.spent = waiting.spent.and(spent);
    }
    match served {
        Ok(responses) => {
            respond(part, responses.into_iter().map(Ok));
            Ok(())
        }
        Err(error) => Err((part, error)),
    }
}

struct SplitBatch<'a, B: Batch> {
    batch: &'a B,
    lanes: &'a Arc<Lanes<B>>,
    /// The number of failed statements that are still allowed.
    statements: AtomicUsize,
    /// An error of the database itself, which applies to every item.
    outage: Mutex<Option<StoreError>>,
}

impl<'a, B: Batch> SplitBatch<'a, B> {
    fn new(batch: &'a B, lanes: &'a Arc<Lanes<B>>) -> Self {
        Self {
            batch,
            lanes,
            statements: AtomicUsize::new(MAX_FAILED_STATEMENTS),
            outage: Mutex::new(None),
        }
    }

    async fn serve(&self, part: Vec<Waiting<B>>) {
        self.take_statement();
        match serve_part(self.batch, part, LockWait::Short).await {
            Ok(()) => {
                self.statements
                    .fetch_add(MORE_PER_SUCCESS, Ordering::Relaxed);
            }
            Err((part, error)) => self.recover(part, error).await,
        }
    }

    async fn recover(&self, mut part: Vec<Waiting<B>>, error: StoreError) {
        let one = part.len() == 1;
        match error {
            StoreError::LockTimeout if one => self.lanes.add(part),
            StoreError::LockTimeout => {
                let locking = part.extract_if(.., |waiting| B::lock_of(&waiting.item).is_some());
                let locking: Vec<_> = locking.collect();
                if locking.is_empty() {
                    return self.lanes.add(part);
                }
                self.lanes.isolate(locking);
                if !part.is_empty() {
                    self.serve_rest(part, StoreError::LockTimeout).await;
                }
            }
            StoreError::Internal(_) | StoreError::BatchTooLarge if !one => {
                let right = part.split_off(part.len() / 2);
                self.serve_rest(part, error.clone()).await;
                self.serve_rest(right, error).await;
            }
            StoreError::Internal(_) | StoreError::BatchTooLarge => fail(part, &error),
            // An error of the database, not of an item, applies to all items.
            outage => {
                fail(part, &outage);
                *self.outage.lock() = Some(outage);
            }
        }
    }

    /// Serves one half of a failed batch, unless the database is down or too many statements have failed.
    fn serve_rest(&self, part: Vec<Waiting<B>>, error: StoreError) -> BoxFuture<'_, ()> {
        let outage = self.outage.lock().clone();
        if let Some(outage) = outage {
            fail(part, &outage);
        } else if self.statements.load(Ordering::Relaxed) > 0 {
            return self.serve(part).boxed();
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
    respond(part, std::iter::repeat_with(|| Err(error.clone())));
}
