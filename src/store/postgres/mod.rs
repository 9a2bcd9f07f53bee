//! The use cases on PostgreSQL.

mod connect;
mod rows;
mod tls;

use std::sync::Arc;
use std::time::Instant;

use diesel::{
    ExpressionMethods as _, OptionalExtension as _, QueryDsl as _, QueryResult,
    SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::pool::Pool;
use super::schema::orders;
use super::{ListQuery, StoreError};
use crate::domain::Order;
use crate::telemetry::Metrics;
pub(super) use connect::PgConnector;
pub use connect::{check_postgres_url, describe_postgres_url};
use rows::OrderRow;

/// Orders in PostgreSQL.
#[derive(Clone)]
pub(super) struct Postgres {
    pub(super) pool: Pool<PgConnector>,
    metrics: Arc<Metrics>,
}

impl Postgres {
    pub(super) fn new(pool: Pool<PgConnector>, metrics: Arc<Metrics>) -> Self {
        Self { pool, metrics }
    }

    /// Stores a new order. Doing it twice stores it once: its id is its own.
    pub(super) async fn create(&self, order: Arc<Order>) -> Result<(), StoreError> {
        self.run("create_order", move |connection| {
            let order = Arc::clone(&order);
            async move {
                diesel::insert_into(orders::table)
                    .values(OrderRow::from(&*order))
                    .on_conflict_do_nothing()
                    .execute(connection)
                    .await
            }
            .boxed()
        })
        .await
        .map(|_| ())
    }

    pub(super) async fn get(&self, id: Uuid) -> Result<Option<Order>, StoreError> {
        let row: Option<OrderRow<'_>> = self
            .run("get_order", move |connection| {
                async move {
                    orders::table
                        .find(id)
                        .select(OrderRow::as_select())
                        .first(connection)
                        .await
                        .optional()
                }
                .boxed()
            })
            .await?;
        row.map(Order::try_from).transpose()
    }

    pub(super) async fn list(&self, list: ListQuery) -> Result<Vec<Order>, StoreError> {
        let rows: Vec<OrderRow<'_>> = self
            .run("list_orders", move |connection| {
                async move {
                    let mut query = orders::table
                        .select(OrderRow::as_select())
                        .order(orders::id.desc())
                        .limit(list.limit.into())
                        .into_boxed();
                    if let Some(after) = list.starting_after {
                        query = query.filter(orders::id.lt(after));
                    }
                    query.load(connection).await
                }
                .boxed()
            })
            .await?;
        rows.into_iter().map(Order::try_from).collect()
    }

    /// Runs work that may safely be done twice. When the connection turns out to be dead, or its
    /// prepared statement to be outdated by a migration, the work is done once more on another.
    async fn run<T: Send>(
        &self,
        query: &'static str,
        work: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<T>> + Sync,
    ) -> Result<T, StoreError> {
        let mut again = true;
        loop {
            let mut lease = self
                .pool
                .get()
                .await
                .inspect_err(|e| self.metrics.db_error(e))?;
            let start = Instant::now();
            let result = work(&mut lease).await;
            self.metrics.query_took(query, start.elapsed());
            let error = match result {
                Ok(value) => return Ok(value),
                Err(error) => StoreError::from(error),
            };
            self.metrics.db_error(&error);
            let stale = matches!(error, StoreError::Unavailable(_)) || is_outdated_plan(&error);
            if stale {
                lease.discard();
            }
            if !(stale && again) {
                return Err(error);
            }
            again = false;
        }
    }
}

/// After a migration changed a column, a prepared `SELECT` on an old connection fails with
/// SQLSTATE 0A000 (PostgreSQL source, `src/backend/utils/cache/plancache.c`).
fn is_outdated_plan(error: &StoreError) -> bool {
    matches!(error, StoreError::Internal(text)
        if text.contains("cached plan must not change result type"))
}
