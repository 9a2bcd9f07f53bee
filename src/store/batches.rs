//! The requests that are served in batches, on both databases: create, get, and the first page of the list.

use std::sync::Arc;

use super::StoreError;
use super::backend::Backend;
use super::coalesce::{Batch, LockName, LockWait, LockedValue};
use super::create::{CreateOutcome, NewRow};
use super::document::Document;
use super::feed_signal::FeedSignal;
use super::list::{ListQuery, Page, PageForm};
use super::order_key::OrderKey;
use super::page_budget::{PageBudget, WithPermit};
use crate::domain::Tenant;
use crate::telemetry::Metrics;

/// Creates orders, counts them, and wakes the readers of events, whether or not a client still waits.
pub(super) struct CreateBatch {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) feed_signal: FeedSignal,
}

impl Batch for CreateBatch {
    type Item = Arc<NewRow>;
    /// The outcome, or an error if it is not known although those of other rows are.
    type Response = Result<CreateOutcome, StoreError>;

    /// The order was accepted, so it is created even if its client is gone.
    const SERVE_ABANDONED: bool = true;

    const MIXES_TENANTS: bool = true;

    fn tenant_of<'a>(&'a self, row: &'a Arc<NewRow>) -> &'a Tenant {
        &row.caller.tenant
    }

    /// A row with an external id waits in the lane of the external id, also when its key is locked. Requests that
    /// compete for an external id have different keys, so lanes by key would not keep the next of them out of the
    /// batches. Retries of one request have the same external id.
    fn lock_of(row: &Arc<NewRow>) -> Option<LockName> {
        let value = match (row.external_id(), row.key()) {
            (Some(external_id), _) => LockedValue::ExternalId(external_id.to_owned()),
            (None, Some(key)) => LockedValue::Key(key.to_vec()),
            (None, None) => return None,
        };
        Some((row.caller.tenant.clone(), value))
    }

    async fn serve(
        &self,
        rows: Arc<[Arc<NewRow>]>,
        wait: LockWait,
    ) -> Result<Vec<Self::Response>, StoreError> {
        let outcomes = self.backend.create(rows, wait).await?;
        let mut any_new = false;
        for outcome in &outcomes {
            match outcome {
                Ok(CreateOutcome::New(_)) => {
                    self.metrics.orders_created.inc();
                    any_new = true;
                }
                Ok(CreateOutcome::Replay(_)) => self.metrics.orders_replayed.inc(),
                Ok(CreateOutcome::KeyReused | CreateOutcome::ExternalIdTaken { .. }) | Err(_) => {}
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
    type Item = OrderKey;
    type Response = Option<Document>;
    const SERVE_ABANDONED: bool = false;
    const MIXES_TENANTS: bool = true;

    fn tenant_of<'a>(&'a self, key: &'a OrderKey) -> &'a Tenant {
        &key.tenant
    }

    async fn serve(
        &self,
        requests: Arc<[OrderKey]>,
        _: LockWait,
    ) -> Result<Vec<Option<Document>>, StoreError> {
        let keys = sorted(&requests);
        let mut found = vec![None; keys.len()];
        for (at, order) in self.0.get(Arc::clone(&keys)).await? {
            if let Some(slot) = found.get_mut(at) {
                *slot = Some(Document::try_from(&order)?);
            }
        }
        let of_key = |key| found.get(keys.binary_search(key).ok()?)?.clone();
        Ok(requests.iter().map(of_key).collect())
    }
}

/// The keys, sorted, each once.
fn sorted(keys: &Arc<[OrderKey]>) -> Arc<[OrderKey]> {
    if keys.len() == 1 {
        return Arc::clone(keys);
    }
    let mut sorted = keys.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.into()
}

/// Gets the first page of a tenant's list, once for all requests that wait at the same time.
///
/// The requests share the bytes of the page. A page keeps its permit until the last request has taken it.
/// Otherwise pages would accumulate when statements end faster than workers take their results. The pages of
/// other tenants wait for the permit, in the order in which they were requested.
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
    type Item = Tenant;
    type Response = WithPermit<Page>;
    const SERVE_ABANDONED: bool = false;
    /// A page is for one tenant, and a batch with the pages of several would hold all of them in memory.
    const MIXES_TENANTS: bool = false;

    fn tenant_of<'a>(&'a self, tenant: &'a Tenant) -> &'a Tenant {
        tenant
    }

    async fn serve(
        &self,
        requests: Arc<[Tenant]>,
        _: LockWait,
    ) -> Result<Vec<WithPermit<Page>>, StoreError> {
        let Some(tenant) = requests.first() else {
            return Ok(Vec::new());
        };
        let (query, form) = (ListQuery::FIRST_PAGE, PageForm::Array);
        let read = self.backend.list(tenant.clone(), query, form);
        let page = self.budget.read(read).await?;
        Ok(vec![page; requests.len()])
    }
}
