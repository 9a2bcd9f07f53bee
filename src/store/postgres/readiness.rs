//! The readiness check of PostgreSQL, on a connection of its own, so that it never queues behind requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::sql_types::Bool;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use tokio::sync::Mutex;

use super::migrate::schema_state;
use super::position::FEED_IS_CURRENT;
use super::{PgConnection, PgConnector};
use crate::store::StoreError;
use crate::store::pool::{Class, Pool};
use crate::store::readiness::{Readiness, within_step};

/// How many new connections a check tries: an administrator may terminate several in a row.
const ATTEMPTS: usize = 3;
/// A new connection uses the current target of the URL: after a failover, or with a rotated secret.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(10);

/// Checks the database on its own connection, or on one of the pool if none can be opened.
pub(super) struct ReadinessCheck {
    connector: Arc<PgConnector>,
    pool: Pool<PgConnector>,
    /// The connection, with the time at which it was opened.
    connection: Mutex<Option<(Instant, PgConnection)>>,
    /// Whether the last check found that the database was restored and not migrated.
    was_behind: AtomicBool,
}

impl ReadinessCheck {
    pub(super) fn new(connector: Arc<PgConnector>, pool: Pool<PgConnector>) -> Self {
        Self {
            connector,
            pool,
            connection: Mutex::default(),
            was_behind: AtomicBool::new(false),
        }
    }

    pub(super) async fn check(&self) -> Result<Readiness, StoreError> {
        let readiness = self.check_database().await;
        let behind = matches!(readiness, Ok(Readiness::FeedBehind));
        if behind && !self.was_behind.swap(behind, Ordering::Relaxed) {
            // A dump was restored into the database while the pool was connected to it. New connections check the feed
            // before they write.
            self.pool.invalidate();
        }
        if readiness.is_ok() {
            self.was_behind.store(behind, Ordering::Relaxed);
        }
        readiness
    }

    async fn check_database(&self) -> Result<Readiness, StoreError> {
        let mut kept = self.connection.lock().await;
        // A connection that was opened earlier may have broken since, or have outdated settings. Only a good
        // result from it says something about the current state.
        if let Some((opened, mut connection)) = kept.take()
            && let Ok(Readiness::Ready) = examine(&mut connection).await
        {
            *kept = Some((opened, connection));
            return Ok(Readiness::Ready);
        }
        let mut error = None;
        for _ in 0..ATTEMPTS {
            let mut connection = match within_step(self.connector.connect_probe()).await {
                Ok(connection) => connection,
                Err(failed) => {
                    error = Some(failed);
                    break;
                }
            };
            match examine(&mut connection).await {
                Ok(readiness) => {
                    *kept = Some((Instant::now(), connection));
                    return Ok(readiness);
                }
                Err(failed) => error = Some(failed),
            }
        }
        // The login may have been rotated, while open connections keep working.
        match self.pool.with_priority().acquire(Class::Read).await {
            Ok(mut connection) => examine(&mut connection).await,
            Err(failed) => Err(error.unwrap_or(failed)),
        }
    }

    /// Replaces the connection when it is old.
    pub(super) async fn renew_connection(&self) {
        let mut kept = self.connection.lock().await;
        let too_old = |(at, _): &mut (Instant, _)| at.elapsed() > CONNECTION_LIFETIME;
        if kept.take_if(too_old).is_some() {
            match within_step(self.connector.connect_probe()).await {
                Ok(connection) => *kept = Some((Instant::now(), connection)),
                Err(error) => {
                    log::warn!(error:%; "could not renew the connection of the readiness check");
                }
            }
        }
    }
}

/// Examines the database of a connection.
async fn examine(connection: &mut PgConnection) -> Result<Readiness, StoreError> {
    if let Some(encoding) = connection.unsupported_encoding() {
        return Ok(Readiness::Encoding(encoding.to_owned()));
    }
    connection.begin_statement();
    let inner: &mut AsyncPgConnection = connection;
    // A connection whose statement did not end counts as broken, and is closed.
    let result = within_step(examine_database(inner)).await;
    if result.is_ok() {
        connection.statement_succeeded();
    }
    result
}

#[derive(QueryableByName)]
struct DatabaseState {
    #[diesel(sql_type = Bool)]
    read_only: bool,
    #[diesel(sql_type = Bool)]
    has_feed: bool,
    #[diesel(sql_type = Bool)]
    feed_behind: bool,
}

/// Checks in one snapshot whether the server accepts the writes of the service, and whether readers of the feed
/// would receive events that are written now.
async fn examine_database(connection: &mut AsyncPgConnection) -> Result<Readiness, StoreError> {
    if let Some(fault) = schema_state(connection).await?.fault() {
        return Ok(fault);
    }
    let examined: DatabaseState = diesel::sql_query(format!(
        "SELECT current_setting('transaction_read_only')::bool
            OR NOT (has_table_privilege('orders', 'INSERT') AND has_table_privilege('orders', 'UPDATE')
                AND has_table_privilege('events', 'INSERT')
                AND has_table_privilege('idempotency_keys', 'INSERT')) AS read_only,
        EXISTS (SELECT FROM feed) AS has_feed,
        coalesce((SELECT NOT ({FEED_IS_CURRENT}) FROM feed), false) AS feed_behind"
    ))
    .get_result(connection)
    .await?;
    Ok(match examined {
        DatabaseState {
            read_only: true, ..
        } => Readiness::ReadOnly,
        DatabaseState {
            has_feed: false, ..
        } => Readiness::FeedMissing,
        DatabaseState {
            feed_behind: true, ..
        } => Readiness::FeedBehind,
        _ => Readiness::Ready,
    })
}
