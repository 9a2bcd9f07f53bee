//! Reads orders.

use diesel::{ExpressionMethods as _, QueryDsl as _, SelectableHelper as _};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::rows::OrderRow;
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::model::{ListQuery, Page};
use crate::store::read::Reader;
use crate::store::schema::orders;
use crate::telemetry::QueryName;

impl Reader for Postgres {
    async fn orders(&self, ids: Vec<Uuid>) -> Result<Vec<Order>, StoreError> {
        let rows: Vec<OrderRow> = self
            .run(QueryName::GetOrders, move |connection| {
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

    async fn list(&self, list: ListQuery) -> Result<Page, StoreError> {
        let rows: Vec<OrderRow> = self
            .run(QueryName::ListOrders, move |connection| {
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
