//! Lists orders.

use diesel::query_builder::Query;
use diesel::sql_types::{Integer, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::rows::OrderRow;
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
        let rows: Vec<OrderRow> = self
            .run(QueryName::ListOrders, move |connection| {
                let page =
                    PageSql::<Uuid, SqlUuid>::new(Dialect::Postgres, &tenant, &query, |id| id);
                async move { page.load(connection).await }.boxed()
            })
            .await?;
        let orders: Vec<Order> = rows
            .into_iter()
            .map(Order::try_from)
            .collect::<Result<_, _>>()?;
        Page::new(&orders, limit, form)
    }
}

impl Query for PageSql<Uuid, SqlUuid> {
    type SqlType = (
        SqlUuid,
        Text,
        Integer,
        Text,
        Nullable<Text>,
        Jsonb,
        Integer,
        Timestamptz,
        Timestamptz,
    );
}
