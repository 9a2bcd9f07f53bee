//! Lists orders.

use diesel::query_builder::Query;
use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::rows::{self, OrderLineColumns};
use crate::domain::{Order, Tenant};
use crate::store::StoreError;
use crate::store::list::{ListQuery, Page, PageForm};
use crate::store::page_sql::{Dialect, PageSql};
use crate::telemetry::QueryName;

impl Postgres {
    /// A page of the orders of a tenant, newest first.
    pub(super) async fn list_orders(
        &self,
        tenant: Tenant,
        query: ListQuery,
        form: PageForm,
    ) -> Result<Page, StoreError> {
        let limit = query.limit;
        let lines = self
            .run(QueryName::ListOrders, move |connection| {
                let page =
                    PageSql::<Uuid, SqlUuid>::new(Dialect::Postgres, &tenant, &query, |id| id);
                async move { page.load(connection).await }.boxed()
            })
            .await?;
        let orders = rows::orders(lines)?;
        let orders: Vec<Order> = orders.into_iter().filter_map(|found| found.order).collect();
        Page::new(&orders, limit, form)
    }
}

impl Query for PageSql<Uuid, SqlUuid> {
    type SqlType = OrderLineColumns;
}
