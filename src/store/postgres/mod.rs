//! The use cases on PostgreSQL.

mod connect;
mod create;
mod event_sql;
mod events;
mod find_placed;
mod get;
mod hosts;
mod listen;
mod own_root;
mod read;
mod rows;
mod served;
mod session;
mod slots;
mod socket;
mod sqlstate;
mod tap;
mod tls;
mod update;
mod uri;
mod url;
mod wanted;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;
use tokio::time::{sleep, timeout};

use super::StoreError;
use super::pool::{Class, Pool, jitter};
use crate::telemetry::{Metrics, QueryName};
pub(super) use connect::PgConnector;
pub(super) use create::Create;
pub(super) use listen::listen;
pub(super) use served::Served;
pub(super) use session::PgConnection;
use sqlstate::Remedy;
pub(super) use url::{check_postgres_url, describe_postgres_url};

/// SQL for whether an event that is written now comes behind all others, given the row of `feed`. It does not
/// in a database that was restored from a dump and not migrated since. No event of a transaction that is over
/// can stand at `pg_snapshot_xmax` or behind it (PostgreSQL manual, section 9.27.8).
pub(super) const FEED_IS_CURRENT: &str =
    "pg_snapshot_xmax(pg_current_snapshot())::text::bigint + xid_offset
        > greatest((SELECT max(position) FROM events), floor_position, -1)";

/// SQL for the position in the feed of what the current transaction writes. NULL, which the table refuses,
/// when an event there would reach no reader: when the feed is not current, or its row is missing.
fn push_position(out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql("(SELECT CASE WHEN ");
    out.push_sql(FEED_IS_CURRENT);
    out.push_sql(" THEN pg_current_xact_id()::text::bigint + xid_offset END FROM feed)");
}

/// Orders in PostgreSQL. Cheap to clone.
#[derive(Clone)]
pub(super) struct Postgres {
    pub(super) pool: Pool<PgConnector>,
    /// How long a statement may take before its connection is given up.
    patience: Duration,
    served: Arc<Served>,
    metrics: Arc<Metrics>,
}

/// Whether work may be done twice.
#[derive(Clone, Copy)]
enum Twice<'a> {
    /// It is safe.
    Yes,
    /// It is while this is false. Once a write has begun and the connection breaks, nobody knows what
    /// became of it.
    UntilWritten(&'a AtomicBool),
}

impl Twice<'_> {
    fn is_safe(self) -> bool {
        match self {
            Self::Yes => true,
            Self::UntilWritten(writing) => !writing.load(Ordering::Relaxed),
        }
    }
}

/// How often a statement is repeated that the server undid because of another transaction.
const REPEATS: u32 = 3;
/// Before the first repetition; twice as long before each next.
const REPEAT_PAUSE: Duration = Duration::from_millis(5);

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
            served: Arc::new(Served::new()),
            metrics,
        }
    }

    /// When statements succeeded.
    pub(super) fn served(&self) -> Arc<Served> {
        Arc::clone(&self.served)
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
        self.try_run(query, Twice::Yes, work).await
    }

    /// Runs work that must not be done twice from the moment on at which it sets `writing`. After that it is
    /// repeated only when the server says that it did nothing, or has undone it.
    async fn run_until_written<T: Send>(
        &self,
        query: QueryName,
        writing: &AtomicBool,
        work: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<T>> + Sync,
    ) -> Result<T, StoreError> {
        self.try_run(query, Twice::UntilWritten(writing), work)
            .await
    }

    async fn try_run<T: Send>(
        &self,
        query: QueryName,
        twice: Twice<'_>,
        work: impl for<'c> Fn(&'c mut AsyncPgConnection) -> BoxFuture<'c, QueryResult<T>> + Sync,
    ) -> Result<T, StoreError> {
        let begun = Instant::now();
        let mut replaced = false;
        let mut repeated = 0;
        loop {
            let got = self.pool.get(class(query)).await;
            let mut lease = got.inspect_err(|e| self.metrics.db_error(e.kind()))?;
            let start = Instant::now();
            lease.begin();
            let left = lease.left();
            let result = tokio::select! {
                result = timeout(self.patience, work(&mut lease)) => Some(result),
                () = left => None,
            };
            self.metrics.query_took(query, start.elapsed());
            let (error, remedy) = match result {
                Some(Ok(done)) => {
                    let code = lease.end();
                    match done {
                        Ok(value) => {
                            self.served.note();
                            return Ok(value);
                        }
                        Err(error) => sqlstate::judge(code, &error),
                    }
                }
                // On the new one the time begins anew.
                None => {
                    let error = StoreError::Unavailable("the database has moved".to_owned());
                    (error, Remedy::Lost)
                }
                Some(Err(_)) => {
                    // The others were opened to the same server.
                    self.pool.suspect();
                    lease.discard();
                    // The time for another try is over.
                    let why = format!("no answer within {:?}", self.patience);
                    let error = StoreError::Unavailable(why);
                    self.metrics.db_error(error.kind());
                    return Err(error);
                }
            };
            self.metrics.db_error(error.kind());
            // What ends one session often ends them all: only a failure on one that was opened since
            // says something about now.
            let opened_before = lease.opened() < begun;
            let again = match remedy {
                Remedy::None => false,
                Remedy::Repeat => {
                    drop(lease);
                    repeated += 1;
                    if repeated > REPEATS {
                        return Err(error);
                    }
                    sleep(jitter(REPEAT_PAUSE * 2_u32.pow(repeated))).await;
                    continue;
                }
                Remedy::OtherSession => {
                    lease.discard();
                    true
                }
                Remedy::NewSession => {
                    // One that is new says that those to come will be no better.
                    if opened_before {
                        self.pool.outdate();
                        lease.discard();
                    }
                    opened_before
                }
                Remedy::Lost => {
                    lease.discard();
                    twice.is_safe()
                }
            };
            if !again || replaced && !opened_before {
                return Err(error);
            }
            replaced = true;
        }
    }
}

/// Which share of the connections a use case takes.
fn class(query: QueryName) -> Class {
    match query {
        QueryName::CreateOrders | QueryName::UpdateOrder => Class::Write,
        QueryName::FindIdempotencyKeys
        | QueryName::GetOrders
        | QueryName::ListOrders
        | QueryName::ReadFeed
        | QueryName::FeedLag
        | QueryName::ReadOrderEvents => Class::Read,
    }
}
