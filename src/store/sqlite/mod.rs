//! The use cases on SQLite.

mod connect;
mod rows;
mod schema;

use std::sync::Arc;
use std::time::Instant;

use diesel::SqliteConnection;
use diesel::prelude::*;
use uuid::Uuid;

use super::pool::Pool;
use super::{ListQuery, StoreError};
use crate::domain::Order;
use crate::telemetry::Metrics;
pub(super) use connect::SqliteConnector;
use rows::OrderRow;
use schema::orders;

/// Orders in SQLite.
#[derive(Clone)]
pub(super) struct Sqlite {
    pub(super) pool: Pool<SqliteConnector>,
    /// SQLite has one writer at a time. Waiting here is fair and free; waiting in SQLite is
    /// neither: it polls, and fails when `busy_timeout` is over.
    writer: Arc<tokio::sync::Mutex<()>>,
    metrics: Arc<Metrics>,
}

impl Sqlite {
    pub(super) fn new(pool: Pool<SqliteConnector>, metrics: Arc<Metrics>) -> Self {
        Self {
            pool,
            writer: Arc::default(),
            metrics,
        }
    }

    /// Stores a new order. Doing it twice stores it once: its id is its own.
    pub(super) async fn create(&self, order: Arc<Order>) -> Result<(), StoreError> {
        let _turn = self.writer.lock().await;
        self.run("create_order", move |connection| {
            let row = OrderRow::try_from(&*order)?;
            diesel::insert_or_ignore_into(orders::table)
                .values(row)
                .execute(connection)?;
            Ok(())
        })
        .await
    }

    pub(super) async fn get(&self, id: Uuid) -> Result<Option<Order>, StoreError> {
        self.run("get_order", move |connection| {
            orders::table
                .find(id.as_bytes().as_slice())
                .select(OrderRow::as_select())
                .first(connection)
                .optional()?
                .map(Order::try_from)
                .transpose()
        })
        .await
    }

    pub(super) async fn list(&self, list: ListQuery) -> Result<Vec<Order>, StoreError> {
        self.run("list_orders", move |connection| {
            let mut query = orders::table
                .select(OrderRow::as_select())
                .order(orders::id.desc())
                .limit(list.limit.into())
                .into_boxed();
            if let Some(after) = list.starting_after {
                query = query.filter(orders::id.lt(after.into_bytes().to_vec()));
            }
            query
                .load(connection)?
                .into_iter()
                .map(Order::try_from)
                .collect()
        })
        .await
    }

    /// Runs a whole use case on a thread that may block, with one connection.
    async fn run<T: Send + 'static>(
        &self,
        query: &'static str,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut lease = self
            .pool
            .get()
            .await
            .inspect_err(|e| self.metrics.db_error(e))?;
        let start = Instant::now();
        let result = lease
            .spawn_blocking(move |connection| Ok(work(connection)))
            .await
            .map_err(StoreError::from)
            .flatten();
        self.metrics.query_took(query, start.elapsed());
        result.inspect_err(|error| self.metrics.db_error(error))
    }
}
