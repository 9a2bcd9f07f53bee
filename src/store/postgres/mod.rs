//! The use cases on PostgreSQL.

mod connect;
mod create;
mod events;
mod hosts;
mod listen;
mod own_root;
mod read;
mod rows;
mod session;
mod socket;
mod tls;
mod update;
mod uri;
mod url;

use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use super::StoreError;
use super::pool::Pool;
use crate::telemetry::{Metrics, QueryName};
pub(super) use connect::PgConnector;
pub(super) use create::Create;
pub(super) use listen::listen;
pub use url::{check_postgres_url, describe_postgres_url};

/// SQL for the position in the feed of what the current transaction writes.
const POSITION: &str =
    "(SELECT pg_current_xact_id()::text::bigint + xid_offset AS position FROM feed) AS here";

/// Orders in PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub(super) struct Postgres {
    pub(super) pool: Pool<PgConnector>,
    /// How long a statement may take before its connection is given up.
    patience: Duration,
    metrics: Arc<Metrics>,
}

/// How often work is tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    /// The work may safely be done twice.
    Again,
    /// It may not: nobody knows what became of it when the connection breaks.
    Once,
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

    /// Runs work that must not be done twice.
    async fn run_once<T: Send>(
        &self,
        query: QueryName,
        work: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<T>> + Sync,
    ) -> Result<T, StoreError> {
        self.try_run(query, Try::Once, work).await
    }

    async fn try_run<T: Send>(
        &self,
        query: QueryName,
        mode: Try,
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
            if silent || !(again && (outdated || dead && mode == Try::Again)) {
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
