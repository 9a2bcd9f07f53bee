//! The use cases on PostgreSQL.

mod audit;
mod backend;
mod connection;
mod create;
mod erasure;
mod event_rows;
mod events;
mod external_ids;
mod feed;
mod feed_head;
mod feed_lag;
mod find_existing;
mod get;
mod import;
mod last_success;
mod lines;
mod list;
mod maintain;
mod migrate;
mod notify;
mod plan;
mod position;
mod readiness;
mod rows;
mod sqlstate;
mod tls;
mod update;
mod url;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::StoreError;
use super::error::StoreFault;
use super::pool::{Class, Pool, jitter};
use super::stages::spent_in_database;
use crate::faults::TestPanics;
use crate::telemetry::{Metrics, QueryName};
use connection::PgConnection;
pub(super) use connection::{ConnectError, PgConnector};
use last_success::LastSuccess;
use position::check_feed;
use readiness::ReadinessCheck;
use sqlstate::Remedy;
pub(super) use url::{check_postgres_url, describe_postgres_url};

/// Orders in PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub(super) struct Postgres {
    pool: Pool<PgConnector>,
    /// How long a statement may take before its connection is discarded.
    response_timeout: Duration,
    last_success: Arc<LastSuccess>,
    readiness: Arc<ReadinessCheck>,
    metrics: Arc<Metrics>,
    panics: TestPanics,
}

/// Whether work may be repeated after its connection broke.
#[derive(Clone, Copy)]
enum Repeatable<'a> {
    /// The work is idempotent.
    Always,
    /// Repeatable while this is false. If the connection breaks after a write has begun, the outcome of the write
    /// is unknown.
    UntilWritten(&'a AtomicBool),
}

impl Repeatable<'_> {
    fn is_safe(self) -> bool {
        match self {
            Self::Always => true,
            Self::UntilWritten(writing) => !writing.load(Ordering::Relaxed),
        }
    }
}

/// The maximum number of retries of a statement that the server rolled back because of another transaction.
const MAX_RETRIES: u32 = 3;
/// The pause before the first retry is twice this, and doubles with each retry.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// How long to wait for a response to a statement, which the server cancels after `statement_timeout`.
fn response_timeout(statement_timeout: Duration) -> Duration {
    statement_timeout.saturating_mul(2) + Duration::from_secs(1)
}

impl Postgres {
    /// Creates a backend on the database of `pool`, whose server cancels a statement after `statement_timeout`. A
    /// server that sends nothing for much longer is down, although its host may still acknowledge every packet (a
    /// stopped process, a hung disk, a proxy that lost its other side).
    fn new(
        connector: Arc<PgConnector>,
        pool: Pool<PgConnector>,
        statement_timeout: Duration,
        metrics: Arc<Metrics>,
        panics: TestPanics,
    ) -> Self {
        Self {
            readiness: Arc::new(ReadinessCheck::new(connector, pool.clone())),
            pool,
            response_timeout: response_timeout(statement_timeout),
            last_success: Arc::new(LastSuccess::new()),
            metrics,
            panics,
        }
    }

    /// Runs idempotent work. If its connection breaks, it is repeated on another.
    async fn run<T: Send>(
        &self,
        query: QueryName,
        work: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<T>> + Sync,
    ) -> Result<T, StoreError> {
        self.try_run(query, Repeatable::Always, work).await
    }

    /// Runs work that is not idempotent while `writing` is set, which it sets itself. It is then repeated only
    /// after an error by which the server did nothing, or rolled everything back.
    async fn run_until_written<T: Send>(
        &self,
        query: QueryName,
        writing: &AtomicBool,
        work: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<T>> + Sync,
    ) -> Result<T, StoreError> {
        self.try_run(query, Repeatable::UntilWritten(writing), work)
            .await
    }

    async fn try_run<T: Send>(
        &self,
        query: QueryName,
        repeatable: Repeatable<'_>,
        work: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<T>> + Sync,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let writes = matches!(class(query), Class::Write);
        let mut replaced = false;
        let mut retries = 0;
        loop {
            let got = self.pool.acquire(class(query)).await;
            let mut connection = got.inspect_err(|e| self.metrics.db_error(e.kind()))?;
            let start = Instant::now();
            connection.begin_statement();
            let moved = connection.database_moved();
            let work = async {
                if writes && let Err(error) = check_feed(&mut connection).await? {
                    return Ok(Err(error));
                }
                self.panics.panic_at(query.as_str());
                work(&mut connection).await.map(Ok)
            };
            let result = tokio::select! {
                result = timeout(self.response_timeout, work) => Some(result),
                () = moved => None,
            };
            let took = start.elapsed();
            self.metrics.query_took(query, took);
            spent_in_database(took);
            let (error, remedy) = match result {
                Some(Ok(done)) => {
                    let code = connection.end_statement();
                    match done {
                        Ok(outcome) => {
                            self.last_success.record();
                            return outcome.inspect_err(|e| self.metrics.db_error(e.kind()));
                        }
                        Err(error) => sqlstate::classify(code, error),
                    }
                }
                // The timeout starts again on the next connection.
                None => (StoreFault::Moved.into(), Remedy::Lost),
                Some(Err(_)) => {
                    // The other connections are to the same server.
                    self.pool.require_liveness_check();
                    connection.discard();
                    // No retry: its client has no time left.
                    let error = StoreError::from(StoreFault::NoResponse(self.response_timeout));
                    self.metrics.db_error(error.kind());
                    return Err(error);
                }
            };
            self.metrics.db_error(error.kind());
            // An event that ends one session often ends all of them. Only an error on a session opened since the
            // request began says anything about the current state.
            let opened_before = connection.opened() < begun;
            let again = match remedy {
                Remedy::None => false,
                Remedy::Retry => {
                    drop(connection);
                    retries += 1;
                    if retries > MAX_RETRIES {
                        return Err(error);
                    }
                    sleep(jitter(RETRY_PAUSE * 2_u32.pow(retries))).await;
                    continue;
                }
                Remedy::OtherSession => {
                    connection.discard();
                    true
                }
                Remedy::NewSession => {
                    // If this session is new, another would fail as well.
                    if opened_before {
                        self.pool.invalidate();
                        connection.discard();
                    }
                    opened_before
                }
                Remedy::Lost => {
                    connection.discard();
                    repeatable.is_safe()
                }
            };
            if !again || replaced && !opened_before {
                return Err(error);
            }
            replaced = true;
        }
    }
}

/// The class of connections that a use case uses.
fn class(query: QueryName) -> Class {
    match query {
        QueryName::CreateOrders
        | QueryName::UpdateOrder
        | QueryName::RequestErasure
        | QueryName::ClaimErasure
        | QueryName::EraseOrders
        | QueryName::RedactEvents => Class::Write,
        QueryName::FindIdempotencyKeys
        | QueryName::GetOrders
        | QueryName::ListOrders
        | QueryName::ReadFeed
        | QueryName::FeedLag
        | QueryName::PartitionsAhead
        | QueryName::GetErasure
        | QueryName::OldestErasure
        | QueryName::ReadOrderEvents => Class::Read,
    }
}
