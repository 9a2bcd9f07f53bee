//! Lists orders.

use diesel::prelude::*;
use diesel::query_builder::Query;
use diesel::sql_types::Binary;

use super::Sqlite;
use super::rows::{self, OrderLineColumns};
use crate::domain::{Order, Tenant};
use crate::store::StoreError;
use crate::store::list::{ListQuery, Page, PageForm};
use crate::store::page_sql::{Dialect, PageSql};
use crate::telemetry::QueryName;

impl Sqlite {
    /// A page of the orders of a tenant, newest first.
    pub(super) async fn list_orders(
        &self,
        tenant: Tenant,
        query: ListQuery,
        form: PageForm,
    ) -> Result<Page, StoreError> {
        self.read(QueryName::ListOrders, move |connection| {
            let page = PageSql::<Vec<u8>, Binary>::new(Dialect::Sqlite, &tenant, &query, |id| {
                id.into_bytes().to_vec()
            });
            let orders = rows::orders(page.load(connection)?)?;
            let orders: Vec<Order> = orders.into_iter().map(|found| found.order).collect();
            Page::new(&orders, query.limit, form)
        })
        .await
    }
}

impl Query for PageSql<Vec<u8>, Binary> {
    type SqlType = OrderLineColumns;
}

impl RunQueryDsl<SqliteConnection> for PageSql<Vec<u8>, Binary> {}
