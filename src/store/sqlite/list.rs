//! Lists orders, and reads those with given ids.

use diesel::prelude::*;
use diesel::query_builder::Query;
use diesel::sql_types::Binary;
use diesel::sqlite::Sqlite as SqliteDatabase;
use uuid::Uuid;

use super::Sqlite;
use super::rows::{OrderLine, OrderLineColumns};
use crate::domain::{Order, Tenant};
use crate::store::StoreError;
use crate::store::list::{ListQuery, Page, PageForm};
use crate::store::order_lines;
use crate::store::page_sql::{Dialect, PageDatabase, PageSql};
use crate::telemetry::QueryName;

impl Sqlite {
    /// A page of the orders of a tenant.
    pub(super) async fn list_orders(
        &self,
        tenant: Tenant,
        query: ListQuery,
        form: PageForm,
    ) -> Result<Page, StoreError> {
        self.read_page(query.limit, form, PageSql::list(&tenant, &query))
            .await
    }

    /// A page of the orders with these ids, in their order.
    pub(super) async fn list_orders_by_id(
        &self,
        tenant: Tenant,
        ids: Vec<Uuid>,
    ) -> Result<Page, StoreError> {
        let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        self.read_page(limit, PageForm::Array, PageSql::ids(&tenant, &ids))
            .await
    }

    async fn read_page(
        &self,
        limit: u32,
        form: PageForm,
        page: PageSql<SqliteDatabase>,
    ) -> Result<Page, StoreError> {
        self.read(QueryName::ListOrders, move |connection| {
            let orders = order_lines::orders::<OrderLine>(page.load(connection)?)?;
            let orders: Vec<Order> = orders.into_iter().map(|found| found.order).collect();
            Page::new(&orders, limit, form)
        })
        .await
    }
}

impl PageDatabase for SqliteDatabase {
    const DIALECT: Dialect = Dialect::Sqlite;
    type Id = Vec<u8>;
    type IdType = Binary;
    type Ids = Vec<u8>;
    type IdsType = Binary;

    fn id(id: Uuid) -> Vec<u8> {
        id.into_bytes().to_vec()
    }

    /// The ids one after another.
    fn ids(ids: &[Uuid]) -> Vec<u8> {
        ids.iter().flat_map(|id| id.into_bytes()).collect()
    }
}

impl Query for PageSql<SqliteDatabase> {
    type SqlType = OrderLineColumns;
}

impl RunQueryDsl<SqliteConnection> for PageSql<SqliteDatabase> {}

#[cfg(test)]
mod tests;
