//! The use cases on SQLite.

mod code;
mod connect;
mod events;
mod handle;
mod location;
mod read;
mod rows;
mod schema;
mod write;

use std::sync::Arc;
use std::time::Instant;

use diesel::SqliteConnection;

use super::StoreError;
use super::pool::{Class, Lease, Pool};
use crate::telemetry::{Metrics, QueryName};
pub(super) use connect::SqliteConnector;
pub(super) use handle::Handle;
pub(super) use location::check_sqlite_url;
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

    /// The same for few that serve many; see [`Pool::first_in_line`].
    pub(super) fn first_in_line(&self) -> Self {
        Self {
            pool: self.pool.first_in_line(),
            ..self.clone()
        }
    }

    /// Runs work in one transaction that has the right to write from its beginning.
    async fn write<T: Send + 'static>(
        &self,
        query: QueryName,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _turn = self.writer.lock().await;
        self.run(Class::Write, query, |connection| {
            connection.immediate_transaction(work)
        })
        .await
    }

    /// Runs work that changes nothing.
    async fn read<T: Send + 'static>(
        &self,
        query: QueryName,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(Class::Read, query, work).await
    }

    /// A connection to the file that has the path now. Those to one that was removed or replaced are closed.
    async fn current(&self, class: Class) -> Result<Lease<SqliteConnector>, StoreError> {
        for _ in 0..=self.pool.status().max {
            let lease = self.pool.get(class).await?;
            if lease.is_current() {
                return Ok(lease);
            }
            lease.discard();
        }
        Err(StoreError::Unavailable(
            "the file of the database is replaced again and again".to_owned(),
        ))
    }

    /// Runs work on a thread that may block, with one connection.
    async fn run<T: Send + 'static>(
        &self,
        class: Class,
        query: QueryName,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let lease = self.current(class).await;
        let mut lease = lease.inspect_err(|e| self.metrics.db_error(e.kind()))?;
        let start = Instant::now();
        let (handle, limit) = (lease.handle(), lease.statement_timeout());
        let done = lease
            .spawn_blocking(move |connection| Ok(handle.run(limit, || work(connection))))
            .await;
        self.metrics.query_took(query, start.elapsed());
        if done.is_err() {
            // The work panicked: nobody knows what it left behind, a transaction perhaps.
            lease.discard();
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
    async fn a_panic_in_a_transaction_fails_nobody_else() {
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
        let connector = Arc::new(SqliteConnector::new(&url, second).unwrap());
        let pool = Pool::new(connector, limits, Arc::clone(&metrics)).unwrap();
        let sqlite = Sqlite::new(pool, metrics);
        let failed = sqlite
            .write(QueryName::UpdateOrder, |_| -> Result<(), StoreError> {
                panic!("planted")
            })
            .await;
        assert!(failed.is_err());
        // The one connection is free again, and so is the lock of the database.
        assert_eq!(sqlite.write(QueryName::UpdateOrder, |_| Ok(1)).await, Ok(1));
    }
}
