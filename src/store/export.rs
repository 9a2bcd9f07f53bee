//! Exports: all orders of a query, read page by page.
//!
//! An export has one page in memory. Its first page is admitted like a page of a list. The later ones are never
//! rejected, because a client would have to begin again for each rejection. They wait for one of a few permits
//! instead, by principal in turn, so exports of any number take a bounded part of the connections and of the page
//! budget from other requests.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;

use super::admission::{Permit, RequestKind};
use super::error::StoreFault;
use super::list::{ListQuery, PageForm};
use super::page_budget::{PagePermit, WithPermit};
use super::{Inner, MAX_PAGES, Store, StoreError};
use crate::domain::Caller;
use crate::shares::{FairPermit, FairSemaphore, Share};

/// The maximum number of pages that exports read at the same time: half of the page budget, so that a list does not
/// wait for exports alone. A small pool allows a third of its connections.
const MAX_READS: u32 = MAX_PAGES / 2;

/// Creates the permits to read pages of exports.
pub(super) fn reads(pool_max_size: usize) -> FairSemaphore {
    let most = usize::try_from(MAX_READS).unwrap_or(1);
    FairSemaphore::new((pool_max_size / 3).clamp(1, most))
}

/// Reads all orders of a query, page by page.
///
/// The pages are not one snapshot: an order has the state of the time at which its page is read.
pub struct OrderExport {
    store: Arc<Inner>,
    caller: Arc<Caller>,
    /// The query of the next page. `None` after the last page.
    next: Option<ListQuery>,
    /// The permit of the request, for the first page.
    opening: Option<Permit>,
    _open: Share,
}

/// A permit to read a page of an export.
pub struct ExportPermit {
    _permit: FairPermit,
}

/// A page of an export.
pub struct ExportPage {
    /// The orders as JSON, each with a line feed. Empty if no orders are left after the previous page.
    pub lines: Bytes,
    /// Must be kept until `lines` is a part of a response.
    pub permits: (ExportPermit, PagePermit),
}

impl Store {
    /// Begins an export of the orders of the caller's tenant.
    ///
    /// # Errors
    /// [`StoreError::ShareExceeded`] when the caller has its share of the streams or of the requests, and
    /// [`StoreError::Overloaded`] when `MAX_STREAMS` event streams and exports are open, or a list would be rejected.
    pub fn export(
        &self,
        caller: &Arc<Caller>,
        query: ListQuery,
    ) -> Result<OrderExport, StoreError> {
        let permit = self.0.queues.other.acquire(caller, RequestKind::List, 0)?;
        let open = self.0.streams.open(caller)?;
        self.0.metrics.order_exports.inc();
        Ok(OrderExport {
            store: Arc::clone(&self.0),
            caller: Arc::clone(caller),
            next: Some(query),
            opening: Some(permit),
            _open: open,
        })
    }
}

impl ExportPermit {
    fn new(permit: Option<FairPermit>) -> Result<Self, StoreError> {
        Ok(Self {
            _permit: permit.ok_or(StoreFault::Closed)?,
        })
    }
}

impl OrderExport {
    /// Whether the last page has been read.
    pub fn is_complete(&self) -> bool {
        self.next.is_none()
    }

    /// Waits for a permit to read the next page. Exports of one principal get permits in the order of their calls, and
    /// principals in turn.
    ///
    /// The caller must poll the future until it has the permit, or drop it: a permit that is assigned to a future that
    /// is not polled is lost to all others.
    ///
    /// # Errors
    /// Never in practice: [`StoreError::Unavailable`] if the semaphore is closed.
    pub async fn permit(&self) -> Result<ExportPermit, StoreError> {
        let permit = self.store.export_reads.acquire(&self.caller.id, 1);
        ExportPermit::new(permit.await)
    }

    /// Waits for a permit like [`Self::permit`], and until `is_ready` is true with the permit in hand. `ready` waits
    /// until it may be true. What exports of one principal wait for, they get in the order of their calls.
    ///
    /// # Errors
    /// Those of [`Self::permit`].
    pub async fn permit_when<R: Future<Output = ()>>(
        &self,
        is_ready: impl Fn() -> bool,
        ready: impl Fn() -> R,
    ) -> Result<ExportPermit, StoreError> {
        let (reads, principal) = (&self.store.export_reads, &self.caller.id);
        let permit = reads.acquire_when(principal, 1, is_ready, ready);
        ExportPermit::new(permit.await)
    }

    /// Reads the next page. Returns `None` after the last one. If the future is dropped, the export keeps its position,
    /// and the read keeps its permits to its end.
    ///
    /// # Errors
    /// [`StoreError`]; the export keeps its position.
    pub async fn read(&mut self, permit: ExportPermit) -> Result<Option<ExportPage>, StoreError> {
        let Some(query) = self.next.clone() else {
            return Ok(None);
        };
        let limit = query.limit;
        let opening = self.opening.take();
        let (inner, tenant) = (Arc::clone(&self.store), self.caller.tenant.clone());
        let read = async move {
            let page = inner.backend.list(tenant, query, PageForm::Lines).await;
            drop(opening);
            Ok((page?, permit))
        };
        let Inner {
            page_budget,
            runtime,
            ..
        } = &*self.store;
        let read = page_budget.read_on(runtime, &self.caller, limit, read.boxed());
        let WithPermit {
            page: (page, permit),
            permit: page_permit,
        } = read.await?;
        let query = self.next.take();
        self.next = query
            .zip(page.next)
            .map(|(query, last)| query.continued_after(last));
        Ok(Some(ExportPage {
            lines: page.json,
            permits: (permit, page_permit),
        }))
    }
}

impl Drop for OrderExport {
    fn drop(&mut self) {
        self.store.metrics.order_exports.dec();
    }
}
