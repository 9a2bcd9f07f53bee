//! Lists orders, and reads those with given ids.

use diesel::pg::Pg;
use diesel::query_builder::Query;
use diesel::sql_types::{Array, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::rows::{OrderLine, OrderLineColumns};
use crate::domain::{Order, Tenant};
use crate::store::StoreError;
use crate::store::list::{ListQuery, Page, PageForm};
use crate::store::order_lines;
use crate::store::page_sql::{Dialect, PageDatabase, PageSql};
use crate::telemetry::QueryName;

impl Postgres {
    /// A page of the orders of a tenant.
    pub(super) async fn list_orders(
        &self,
        tenant: Tenant,
        query: ListQuery,
        form: PageForm,
    ) -> Result<Page, StoreError> {
        let limit = query.limit;
        self.read_page(limit, form, || PageSql::list(&tenant, &query))
            .await
    }

    /// A page of the orders with these ids, in their order.
    pub(super) async fn list_orders_by_id(
        &self,
        tenant: Tenant,
        ids: Vec<Uuid>,
    ) -> Result<Page, StoreError> {
        let limit = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        self.read_page(limit, PageForm::Array, || PageSql::ids(&tenant, &ids))
            .await
    }

    async fn read_page(
        &self,
        limit: u32,
        form: PageForm,
        statement: impl Fn() -> PageSql<Pg> + Sync,
    ) -> Result<Page, StoreError> {
        let lines = self
            .run(QueryName::ListOrders, |connection| {
                let page = statement();
                async move { page.load(connection).await }.boxed()
            })
            .await?;
        let orders = order_lines::orders::<OrderLine>(lines)?;
        let orders: Vec<Order> = orders.into_iter().filter_map(|found| found.order).collect();
        Page::new(&orders, limit, form)
    }
}

impl PageDatabase for Pg {
    const DIALECT: Dialect = Dialect::Postgres;
    type Id = Uuid;
    type IdType = SqlUuid;
    type Ids = Vec<Uuid>;
    type IdsType = Array<SqlUuid>;

    fn id(id: Uuid) -> Uuid {
        id
    }

    fn ids(ids: &[Uuid]) -> Vec<Uuid> {
        ids.to_vec()
    }
}

impl Query for PageSql<Pg> {
    type SqlType = OrderLineColumns;
}
