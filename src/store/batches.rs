//! Reads that many share: by id, and the plain first page. The same on both databases.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;

use super::StoreError;
use super::coalesce::{Batch, LockWait};
use super::create::{Document, ListQuery, Page};
use super::page_budget::{Held, PageRooms};
use crate::domain::Order;

/// A database to read orders from.
pub(super) trait Reader: Send + Sync + 'static {
    /// The orders that have one of these ids, in any order; [`StoreError::BatchTooLarge`] when several have
    /// more bytes together than a page may have.
    fn orders(&self, ids: Vec<Uuid>)
    -> impl Future<Output = Result<Vec<Order>, StoreError>> + Send;

    /// A page of orders, newest first.
    fn list(&self, list: ListQuery) -> impl Future<Output = Result<Page, StoreError>> + Send;
}

/// Gets orders by id.
pub(super) struct Get<R>(pub(super) R);

impl<R: Reader> Batch for Get<R> {
    type Item = Uuid;
    type Answer = Option<Document>;
    const SERVE_ABANDONED: bool = false;

    async fn serve(
        &self,
        ids: Arc<[Uuid]>,
        _: LockWait,
    ) -> Result<Vec<Option<Document>>, StoreError> {
        let mut unique = ids.to_vec();
        unique.sort_unstable();
        unique.dedup();
        let orders = self.0.orders(unique).await?;
        let found: HashMap<Uuid, Document> = orders
            .iter()
            .map(|order| Ok((order.id, Document::try_from(order)?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }
}

/// Gets the first page of the list, once for all who ask at the same time.
///
/// All of them share its bytes. A page that has been read keeps its room until the last of them has taken
/// it, or there would be as many pages as statements end before a worker comes to take one.
pub(super) struct FirstPage<R> {
    reader: R,
    rooms: PageRooms,
}

impl<R> FirstPage<R> {
    /// The most first pages in memory that no response is charged for yet.
    const MAX_PAGES: u32 = 4;

    pub(super) fn new(reader: R) -> Self {
        Self {
            reader,
            rooms: PageRooms::new(Self::MAX_PAGES),
        }
    }
}

impl<R: Reader> Batch for FirstPage<R> {
    type Item = ();
    type Answer = Held<Page>;
    const SERVE_ABANDONED: bool = false;

    async fn serve(&self, askers: Arc<[()]>, _: LockWait) -> Result<Vec<Held<Page>>, StoreError> {
        let read = self.reader.list(ListQuery::FIRST_PAGE);
        let page = self.rooms.read(read).await?;
        Ok(vec![page; askers.len()])
    }
}
