//! The use cases on SQLite.

mod audit;
mod backend;
mod connection;
mod connector;
mod create;
mod erasure;
mod event_rows;
mod events;
mod feed;
mod file_check;
mod get;
mod handle;
mod import;
mod list;
mod location;
mod maintain;
mod migrate;
mod open;
mod readiness;
mod result_code;
mod rows;
mod schema;
mod update;

use std::sync::Arc;
use std::time::Instant;

use diesel::SqliteConnection;

use super::StoreError;
use super::error::StoreFault;
use super::pool::{AcquiredConnection, Class, Pool};
use crate::telemetry::{Metrics, QueryName};
pub(super) use connector::{MissingFile, SqliteConnector};
use handle::Handle;
pub(super) use location::check_sqlite_url;
pub(super) use open::OpenError;

/// Orders in SQLite. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sqlite {
    connector: Arc<SqliteConnector>,
    pool: Pool<SqliteConnector>,
    /// SQLite has one writer at a time. Waiting for this lock is fair and costs nothing; SQLite itself polls,
    /// and fails after `busy_timeout`.
    writer: Arc<tokio::sync::Mutex<()>>,
    metrics: Arc<Metrics>,
}

impl Sqlite {
    fn new(
        connector: Arc<SqliteConnector>,
        pool: Pool<SqliteConnector>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            connector,
            pool,
            writer: Arc::default(),
            metrics,
        }
    }

    /// Runs work in one transaction, which may write from its beginning (`BEGIN IMMEDIATE`).
    async fn write<T: Send + 'static>(
        &self,
        query: QueryName,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _writer = self.writer.lock().await;
        self.run(Class::Write, query, |connection| {
            connection.immediate_transaction(work)
        })
        .await
    }

    /// Runs work that only reads.
    async fn read<T: Send + 'static>(
        &self,
        query: QueryName,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(Class::Read, query, work).await
    }

    /// Acquires a connection to the file that the path names now. Connections to a file that was removed or
    /// replaced are closed.
    async fn current(
        &self,
        class: Class,
    ) -> Result<AcquiredConnection<SqliteConnector>, StoreError> {
        for _ in 0..=self.pool.status().max {
            let connection = self.pool.acquire(class).await?;
            if connection.is_current() {
                return Ok(connection);
            }
            connection.discard();
        }
        Err(StoreFault::FileReplaced.into())
    }

    /// Runs work on a thread that may block, with one connection.
    async fn run<T: Send + 'static>(
        &self,
        class: Class,
        query: QueryName,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let current = self.current(class).await;
        let mut connection = current.inspect_err(|e| self.metrics.db_error(e.kind()))?;
        let start = Instant::now();
        let (handle, limit) = (connection.handle(), connection.statement_timeout());
        let done = connection
            .spawn_blocking(move |connection| Ok(handle.run(limit, || work(connection))))
            .await;
        self.metrics.query_took(query, start.elapsed());
        if done.is_err() {
            // The work panicked, perhaps inside a transaction.
            connection.discard();
        }
        let result = done.map_err(StoreError::from).flatten();
        result.inspect_err(|error| self.metrics.db_error(error.kind()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseUrl;
    use crate::store::pool::Limits;
    use std::time::Duration;

    #[tokio::test]
    async fn a_panic_in_a_transaction_fails_no_other_request() {
        let second = Duration::from_secs(1);
        let limits = Limits {
            max_size: 1,
            min_idle: 0,
            acquire_timeout: second,
            idle_timeout: second,
            max_lifetime: second,
        };
        let metrics = Arc::new(Metrics::new().unwrap());
        let url = DatabaseUrl::parse("sqlite::memory:").unwrap();
        let connector = Arc::new(SqliteConnector::new(&url, second, MissingFile::Create).unwrap());
        let pool = Pool::new(Arc::clone(&connector), limits, Arc::clone(&metrics)).unwrap();
        let sqlite = Sqlite::new(connector, pool, metrics);
        let failed = sqlite
            .write(QueryName::UpdateOrder, |_| -> Result<(), StoreError> {
                panic!("planted")
            })
            .await;
        assert!(failed.is_err());
        // The only connection is free again, and so is the lock of the database.
        assert_eq!(sqlite.write(QueryName::UpdateOrder, |_| Ok(1)).await, Ok(1));
    }
}
