//! The requests that are served in batches, on both databases: create, get, and the first page of the list.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::StoreError;
use super::backend::Backend;
use super::coalesce::{Batch, LockWait};
use super::create::{CreateOutcome, NewRow};
use super::document::Document;
use super::feed_signal::FeedSignal;
use super::list::{ListQuery, Page};
use super::page_budget::{PageBudget, WithPermit};
use crate::telemetry::Metrics;

/// Creates orders, counts them, and wakes the readers of events, whether or not a client still waits.
pub(super) struct CreateBatch {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) feed_signal: FeedSignal,
}

impl Batch for CreateBatch {
    type Item = Arc<NewRow>;
    type Response = CreateOutcome;

    /// The order was accepted, so it is created even if its client is gone.
    const SERVE_ABANDONED: bool = true;

    fn lock_of(row: &Arc<NewRow>) -> Option<&str> {
        row.key()
    }

    async fn serve(
        &self,
        rows: Arc<[Arc<NewRow>]>,
        wait: LockWait,
    ) -> Result<Vec<CreateOutcome>, StoreError> {
        let outcomes = self.backend.create(rows, wait).await?;
        let mut any_new = false;
        for outcome in &outcomes {
            match outcome {
                CreateOutcome::New(_) => {
                    self.metrics.orders_created.inc();
                    any_new = true;
                }
                CreateOutcome::Replay(_) => self.metrics.orders_replayed.inc(),
                CreateOutcome::KeyReused => {}
            }
        }
        if any_new {
            self.feed_signal.announce();
        }
        Ok(outcomes)
    }
}

/// Gets orders by id.
pub(super) struct GetBatch(pub(super) Arc<dyn Backend>);

impl Batch for GetBatch {
    type Item = Uuid;
    type Response = Option<Document>;
    const SERVE_ABANDONED: bool = false;

    async fn serve(
        &self,
        ids: Arc<[Uuid]>,
        _: LockWait,
    ) -> Result<Vec<Option<Document>>, StoreError> {
        let mut unique = ids.to_vec();
        unique.sort_unstable();
        unique.dedup();
        let orders = self.0.get(unique).await?;
        let found: HashMap<Uuid, Document> = orders
            .iter()
            .map(|order| Ok((order.id, Document::try_from(order)?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }
}

/// Gets the first page of the list, once for all requests that wait at the same time.
///
/// The requests share the bytes of the page. A page keeps its permit until the last request has taken it.
/// Otherwise pages would accumulate when statements end faster than workers take their results.
pub(super) struct FirstPageBatch {
    backend: Arc<dyn Backend>,
    budget: PageBudget,
}

impl FirstPageBatch {
    /// The maximum number of first pages in memory that the response budget does not count yet.
    const MAX_PAGES: u32 = 4;

    pub(super) fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            budget: PageBudget::new(Self::MAX_PAGES),
        }
    }
}

impl Batch for FirstPageBatch {
    type Item = ();
    type Response = WithPermit<Page>;
    const SERVE_ABANDONED: bool = false;

    async fn serve(
        &self,
        requests: Arc<[()]>,
        _: LockWait,
    ) -> Result<Vec<WithPermit<Page>>, StoreError> {
        let read = self.backend.list(ListQuery::FIRST_PAGE);
        let page = self.budget.read(read).await?;
        Ok(vec![page; requests.len()])
    }
}
