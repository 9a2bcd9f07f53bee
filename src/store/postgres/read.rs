//! Reads orders.

use std::collections::HashMap;
use std::sync::Arc;

use diesel::{ExpressionMethods as _, QueryDsl as _, SelectableHelper as _};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::rows::OrderRow;
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::coalesce::Batch;
use crate::store::model::{Document, ListQuery, Page};
use crate::store::schema::orders;

/// Gets orders by id.
pub(in crate::store) struct Get(pub(in crate::store) Postgres);

impl Batch for Get {
    type Item = Uuid;
    type Answer = Option<Document>;
    const SERVE_ABANDONED: bool = false;

    async fn serve(&self, ids: Arc<[Uuid]>) -> Result<Vec<Option<Document>>, StoreError> {
        let found: HashMap<Uuid, Document> = self
            .0
            .orders(ids.to_vec())
            .await?
            .iter()
            .map(|order| Ok((order.id, Document::try_from(order)?)))
            .collect::<Result<_, StoreError>>()?;
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }
}

/// Gets the first page of the list, once for all who ask at the same time.
pub(in crate::store) struct FirstPage(pub(in crate::store) Postgres);

impl Batch for FirstPage {
    type Item = ();
    type Answer = Page;
    const SERVE_ABANDONED: bool = false;

    async fn serve(&self, askers: Arc<[()]>) -> Result<Vec<Page>, StoreError> {
        let page = self.0.list(ListQuery::FIRST_PAGE).await?;
        Ok(vec![page; askers.len()])
    }
}

impl Postgres {
    /// The order with this id.
    pub(in crate::store) async fn order(&self, id: Uuid) -> Result<Option<Order>, StoreError> {
        Ok(self.orders(vec![id]).await?.pop())
    }

    async fn orders(&self, ids: Vec<Uuid>) -> Result<Vec<Order>, StoreError> {
        let rows: Vec<OrderRow> = self
            .run("get_orders", move |connection| {
                let ids = ids.clone();
                async move {
                    orders::table
                        .filter(orders::id.eq_any(ids))
                        .select(OrderRow::as_select())
                        .load(connection)
                        .await
                }
                .boxed()
            })
            .await?;
        rows.into_iter().map(Order::try_from).collect()
    }

    /// A page of orders, newest first.
    pub(in crate::store) async fn list(&self, list: ListQuery) -> Result<Page, StoreError> {
        let rows: Vec<OrderRow> = self
            .run("list_orders", move |connection| {
                let list = list.clone();
                async move {
                    let mut query = orders::table
                        .select(OrderRow::as_select())
                        .order(orders::id.desc())
                        .limit(list.limit.into())
                        .into_boxed();
                    if let Some(after) = list.starting_after {
                        query = query.filter(orders::id.lt(after));
                    }
                    if let Some(status) = list.status {
                        query = query.filter(orders::status.eq(status.as_str()));
                    }
                    if let Some(product_id) = list.product_id {
                        query = query.filter(orders::product_id.eq(product_id));
                    }
                    if let Some(customer_id) = list.customer_id {
                        query = query.filter(orders::customer_id.eq(customer_id));
                    }
                    query.load(connection).await
                }
                .boxed()
            })
            .await?;
        let orders: Vec<Order> = rows
            .into_iter()
            .map(Order::try_from)
            .collect::<Result<_, _>>()?;
        Page::try_from(orders)
    }
}
