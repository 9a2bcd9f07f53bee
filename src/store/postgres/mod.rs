//! The use cases on PostgreSQL.

mod connect;
mod create;
mod events;
mod find_placed;
mod listen;
mod read;
mod rows;
mod tls;
mod update;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::StoreError;
use super::pool::Pool;
use crate::telemetry::{Metrics, QueryName};
pub(super) use connect::PgConnector;
pub use connect::{check_postgres_url, describe_postgres_url};
pub(super) use create::Create;
pub(super) use listen::listen;

/// SQL for the position in the feed of what the current transaction writes. NULL, which the table refuses,
/// when the row of `feed` is missing: an event without a position would reach no reader.
const POSITION: &str = "(SELECT pg_current_xact_id()::text::bigint + xid_offset FROM feed)";

/// Orders in PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub(super) struct Postgres {
    pub(super) pool: Pool<PgConnector>,
    /// How long a statement may take before its connection is given up.
    patience: Duration,
    metrics: Arc<Metrics>,
}

/// Whether work may be done again when its connection breaks.
#[derive(Clone, Copy)]
enum Try<'a> {
    /// The work may safely be done twice.
    Again,
    /// It may while this is false. Once it writes, nobody knows what became of it.
    UntilWritten(&'a AtomicBool),
}

impl Try<'_> {
    fn may_repeat(self) -> bool {
        match self {
            Self::Again => true,
            Self::UntilWritten(writing) => !writing.load(Ordering::Relaxed),
        }
    }
}

impl Postgres {
    /// Orders behind `pool`, whose server ends a statement after `statement_timeout`. One that says
    /// nothing for much longer is gone, although its host may still acknowledge every packet (a
    /// stopped process, a hung disk, a proxy that lost its other side).
    pub(super) fn new(
        pool: Pool<PgConnector>,
        statement_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            pool,
            patience: statement_timeout.saturating_mul(2) + Duration::from_secs(1),
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

    /// Runs work that may safely be done twice: when its connection turns out to be dead, it is
    /// done again on another.
    async fn run<T: Send>(
        &self,
        query: QueryName,
        work: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<T>> + Sync,
    ) -> Result<T, StoreError> {
        self.try_run(query, Try::Again, work).await
    }

    /// Runs work that must not be done twice from the moment on at which it sets `writing`.
    async fn run_until_written<T: Send>(
        &self,
        query: QueryName,
        writing: &AtomicBool,
        work: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<T>> + Sync,
    ) -> Result<T, StoreError> {
        self.try_run(query, Try::UntilWritten(writing), work).await
    }

    async fn try_run<T: Send>(
        &self,
        query: QueryName,
        mode: Try<'_>,
        work: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<T>> + Sync,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let mut first = true;
        loop {
            let got = self.pool.get().await;
            let mut lease = got.inspect_err(|e| self.metrics.db_error(e))?;
            let start = Instant::now();
            let result = timeout(self.patience, work(&mut lease)).await;
            self.metrics.query_took(query, start.elapsed());
            let silent = result.is_err();
            let error = match result {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => StoreError::from(error),
                Err(_) => StoreError::Unavailable(format!("no answer within {:?}", self.patience)),
            };
            self.metrics.db_error(&error);
            let outdated = is_outdated_plan(&error);
            let dead = matches!(error, StoreError::Unavailable(_));
            // The others were opened to the same server.
            if outdated || silent {
                self.pool.outdate();
            }
            // What ends one connection often ends them all: only a failure on a connection that
            // was opened since says something about now.
            let again = first || lease.opened() < begun;
            if outdated || dead {
                lease.discard();
            }
            // A statement with an outdated plan was refused before it did anything. After a silence
            // the time for another try is over.
            if silent || !(again && (outdated || dead && mode.may_repeat())) {
                return Err(error);
            }
            first = false;
        }
    }
}

/// After a migration changed a column, a prepared `SELECT` on an old connection fails with
/// SQLSTATE 0A000 (PostgreSQL source, `src/backend/utils/cache/plancache.c`).
fn is_outdated_plan(error: &StoreError) -> bool {
    matches!(error, StoreError::Internal(text)
        if text.contains("cached plan must not change result type"))
}
