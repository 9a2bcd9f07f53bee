//! The use cases on SQLite.

mod connect;
mod read;
mod rows;
mod schema;
mod write;

use std::sync::Arc;
use std::time::Instant;

use diesel::SqliteConnection;

use super::StoreError;
use super::pool::Pool;
use crate::telemetry::{Metrics, QueryName};
pub(super) use connect::SqliteConnector;
pub(super) use write::Create;

/// Orders in SQLite. Cheap to clone.
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

    /// Runs work in one transaction that has the right to write from its beginning.
    async fn write<T: Send + 'static>(
        &self,
        query: QueryName,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _turn = self.writer.lock().await;
        self.read(query, |connection| connection.immediate_transaction(work))
            .await
    }

    /// Runs work on a thread that may block, with one connection.
    async fn read<T: Send + 'static>(
        &self,
        query: QueryName,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let got = self.pool.get().await;
        let mut lease = got.inspect_err(|e| self.metrics.db_error(e))?;
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
