//! The session in which a run maintains the database.

use std::time::Duration;

use diesel::QueryResult;
use diesel::dsl::sql;
use diesel::sql_types::Bool;
use diesel_async::methods::LoadQuery;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use super::super::position::check_feed;
use super::super::sqlstate::{Remedy, classify};
use super::super::{PgConnection, PgConnector};
use crate::store::StoreError;
use crate::store::error::StoreFault;
use crate::store::pool::jitter;

/// The key of the advisory lock: an arbitrary number that nothing else in the database uses.
const LOCK_KEY: i64 = 0x006f_7264_6572_7332;
/// `lock_timeout` of statements that wait for rows, which block no one meanwhile.
const ROW_LOCK_TIMEOUT: &str = "1s";
/// How often a statement that wrote nothing because of another transaction is repeated.
const MAX_ATTEMPTS: u32 = 10;
/// The pause before such a statement is repeated, without jitter.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A session that holds the lock of maintenance. The lock ends with the session.
pub(super) struct Session {
    connection: PgConnection,
    /// How long a statement may take before the server is considered down.
    response_timeout: Duration,
}

impl Session {
    /// Opens a session. Returns `None` if another session holds the lock.
    pub(super) async fn open(connector: &PgConnector) -> Result<Option<Self>, StoreError> {
        let connection = connector.connect_for_maintenance().await?;
        Self::on(connection, connector).await
    }

    /// Uses a connection that is set up like those of the pool. Returns `None` if another session holds the lock.
    pub(super) async fn on(
        connection: PgConnection,
        connector: &PgConnector,
    ) -> Result<Option<Self>, StoreError> {
        let mut session = Self {
            connection,
            response_timeout: connector.response_timeout(),
        };
        // The bounds of partitions are printed in the style of the session, and parsed.
        let setup = format!(
            "SET lock_timeout = '{ROW_LOCK_TIMEOUT}'; SET datestyle = 'ISO'; SET timezone = 'UTC'"
        );
        session.execute_sql(&setup).await?;
        let lock = format!("pg_try_advisory_lock({LOCK_KEY})");
        let locked = session.row(|| diesel::select(sql::<Bool>(&lock))).await?;
        Ok((locked == Some(true)).then_some(session))
    }

    /// How long a statement may take before the server is considered down.
    pub(super) fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// Runs statements that return nothing, in one transaction.
    pub(super) async fn execute_sql(&mut self, sql: &str) -> Result<(), StoreError> {
        let limit = self.response_timeout;
        let result = self.execute_within(sql, limit).await;
        result.map_err(|(error, _)| error)
    }

    /// Runs statements as [`Self::execute_sql`] does, and returns how to proceed after an error.
    pub(super) async fn execute_within(
        &mut self,
        sql: &str,
        limit: Duration,
    ) -> Result<(), (StoreError, Remedy)> {
        self.connection.begin_statement();
        let result = timeout(limit, self.connection.batch_execute(sql)).await;
        self.end(limit, result)
    }

    /// Checks, once, that events that this session writes reach the readers of the feed.
    pub(super) async fn check_feed(&mut self) -> Result<(), StoreError> {
        let limit = self.response_timeout;
        self.connection.begin_statement();
        let result = timeout(limit, check_feed(&mut self.connection)).await;
        self.end(limit, result).map_err(|(error, _)| error)?
    }

    /// Runs a statement that is its own transaction, and returns its rows. Repeats it if it did nothing because of
    /// another transaction.
    pub(super) async fn rows<'q, Q, U>(
        &mut self,
        query: impl Fn() -> Q + Send + Sync,
    ) -> Result<Vec<U>, StoreError>
    where
        Q: LoadQuery<'q, AsyncPgConnection, U> + Send + 'q,
        U: Send + 'static,
    {
        let limit = self.response_timeout;
        let mut attempts = 1;
        loop {
            self.connection.begin_statement();
            let connection: &mut AsyncPgConnection = &mut self.connection;
            let result = timeout(limit, query().load(connection)).await;
            match self.end(limit, result) {
                Err((StoreError::LockTimeout, _) | (_, Remedy::Retry))
                    if attempts < MAX_ATTEMPTS => {}
                result => return result.map_err(|(error, _)| error),
            }
            attempts += 1;
            sleep(RETRY_PAUSE + jitter(RETRY_PAUSE)).await;
        }
    }

    /// Runs a statement as [`Self::rows`] does, and returns its first row.
    pub(super) async fn row<'q, Q, U>(
        &mut self,
        query: impl Fn() -> Q + Send + Sync,
    ) -> Result<Option<U>, StoreError>
    where
        Q: LoadQuery<'q, AsyncPgConnection, U> + Send + 'q,
        U: Send + 'static,
    {
        Ok(self.rows(query).await?.into_iter().next())
    }

    fn end<T>(
        &mut self,
        limit: Duration,
        result: Result<QueryResult<T>, Elapsed>,
    ) -> Result<T, (StoreError, Remedy)> {
        let Ok(result) = result else {
            return Err((StoreFault::NoResponse(limit).into(), Remedy::Lost));
        };
        let code = self.connection.end_statement();
        result.map_err(|error| classify(code, error))
    }
}
