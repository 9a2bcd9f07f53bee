//! Migrations: embedded in the binary, applied under one lock, recorded where the `diesel` CLI
//! records them, so that both are interchangeable.

use std::fmt::Display;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel::{QueryResult, QueryableByName};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tokio::time::Instant;

use super::connector::Way;
use super::postgres::{PgConnection, PgConnector};
use super::schema_state::{schema_of_postgres, schema_of_sqlite};
use super::{Connector, StoreError};

pub(super) const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
pub(super) const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// The key of the advisory lock: any number that nothing else in the database uses.
const LOCK_KEY: i64 = 0x006f_7264_6572_7331;
/// A peer that takes the connection and says nothing is not waited for longer than this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a waiting process asks for the lock. It must not wait inside a statement: that holds
/// a snapshot, for which `CREATE INDEX CONCURRENTLY` in the other process would wait in turn.
const LOCK_POLL: Duration = Duration::from_millis(50);
const CONNECT_PAUSE: Duration = Duration::from_millis(250);

/// How to migrate.
#[derive(Clone, Copy, Debug)]
pub struct MigrateOptions {
    /// Keep trying this long until the database answers.
    pub wait: Duration,
    /// How long one migration may wait for a lock (`lock_timeout`).
    pub lock_timeout: Duration,
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self {
            wait: Duration::ZERO,
            lock_timeout: Duration::from_secs(1),
        }
    }
}

impl Connector {
    /// Applies every pending migration and returns their names, oldest first.
    ///
    /// # Errors
    /// When the database does not answer in time or a migration fails. Those before it stay.
    pub async fn migrate(&self, options: MigrateOptions) -> Result<Vec<String>, StoreError> {
        match self.way() {
            Way::Postgres(connector) => {
                let connection = answering(connector, options.wait).await?;
                migrate_postgres(connection, options.lock_timeout).await
            }
            Way::Sqlite(connector) => {
                let mut connection = connector.connect_blocking()?;
                blocking(move || {
                    // One transaction around all is the lock.
                    connection.immediate_transaction(|connection| {
                        schema_of_sqlite(connection)?.pending()?;
                        apply(connection, SQLITE, None)
                    })
                })
                .await
            }
        }
    }

    /// The names of the migrations that are not applied yet, oldest first.
    ///
    /// # Errors
    /// When the database does not answer in time, or an unreleased build made its schema.
    pub async fn pending(&self, wait: Duration) -> Result<Vec<String>, StoreError> {
        match self.way() {
            Way::Postgres(connector) => {
                let mut connection = answering(connector, wait).await?;
                schema_of_postgres(&mut connection).await?.pending()
            }
            Way::Sqlite(connector) => {
                let mut connection = connector.connect_blocking()?;
                blocking(move || schema_of_sqlite(&mut connection)?.pending()).await
            }
        }
    }
}

async fn answering(connector: &PgConnector, wait: Duration) -> Result<PgConnection, StoreError> {
    let deadline = Instant::now() + wait;
    let mut told = false;
    loop {
        let attempt =
            tokio::time::timeout(CONNECT_TIMEOUT, connector.connect_for_migrations()).await;
        let silent = || StoreError::Unavailable(format!("no answer within {CONNECT_TIMEOUT:?}"));
        match attempt.unwrap_or_else(|_| Err(silent())) {
            Ok(connection) => return Ok(connection),
            Err(error) if Instant::now() + CONNECT_PAUSE > deadline => return Err(error),
            Err(error) => {
                if !told {
                    log::info!(error:%; "waiting for the database to answer");
                    told = true;
                }
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
        }
    }
}

async fn migrate_postgres(
    connection: PgConnection,
    lock_timeout: Duration,
) -> Result<Vec<String>, StoreError> {
    if let Some(encoding) = connection.unsupported_encoding() {
        return Err(StoreError::Internal(format!(
            "the encoding of the database is {encoding}, and must be UTF8: create it with ENCODING 'UTF8'"
        )));
    }
    let (mut connection, _open) = connection.into_parts();
    let mut told = false;
    while !try_lock(&mut connection).await? {
        if !told {
            log::info!("another process is migrating; waiting for it");
            told = true;
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
    schema_of_postgres(&mut connection).await?.pending()?;
    // The lock ends with the session, however the work ends.
    let migrated = tokio::task::spawn_blocking(move || {
        let mut connection = AsyncConnectionWrapper::<_>::from(connection);
        let applied = apply(&mut connection, POSTGRES, Some(lock_timeout))?;
        Ok::<_, StoreError>((applied, connection.into_inner()))
    });
    let (applied, mut connection) = migrated
        .await
        .map_err(|error| StoreError::Internal(error.to_string()))??;
    connection.batch_execute(CONTINUE_FEED).await?;
    Ok(applied)
}

/// In a database restored from a dump, transactions count from the beginning again, and events of
/// before stand at positions that are yet to come. This moves the new ones behind them, and puts the row
/// back if it is missing. It changes nothing anywhere else. The last event may be one that retention has
/// removed.
const CONTINUE_FEED: &str = "
    INSERT INTO feed (xid_offset) SELECT 0 WHERE NOT EXISTS (SELECT FROM feed);
    UPDATE feed SET xid_offset = last.position + 1 - next.xid
    FROM (SELECT greatest(max(position), (SELECT floor_position FROM feed)) AS position FROM events) AS last,
        (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xid) AS next
    WHERE last.position >= next.xid + xid_offset";

async fn try_lock(connection: &mut AsyncPgConnection) -> QueryResult<bool> {
    use diesel_async::RunQueryDsl as _;

    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        locked: bool,
    }
    diesel::sql_query("SELECT pg_try_advisory_lock($1) AS locked")
        .bind::<diesel::sql_types::BigInt, _>(LOCK_KEY)
        .get_result::<Row>(connection)
        .await
        .map(|row| row.locked)
}

/// Applies what is missing. `lock_timeout` bounds the wait for locks of migrations in a transaction.
fn apply<DB: diesel::backend::Backend>(
    connection: &mut (impl MigrationHarness<DB> + SimpleConnection),
    source: impl MigrationSource<DB>,
    lock_timeout: Option<Duration>,
) -> Result<Vec<String>, StoreError> {
    let mut applied = Vec::new();
    for migration in connection.pending_migrations(source).map_err(failed)? {
        let name = migration.name().to_string();
        log::info!(migration = name.as_str(); "applying migration");
        if let Some(limit) = lock_timeout {
            // `CREATE INDEX CONCURRENTLY` waits for every transaction that is older, and holds nobody up
            // meanwhile. Cut short, it leaves an index that is not valid.
            let limit = if migration.metadata().run_in_transaction() {
                limit
            } else {
                Duration::ZERO
            };
            connection.batch_execute(&format!("SET lock_timeout = {}", limit.as_millis()))?;
        }
        connection
            .run_migration(&migration)
            .map_err(|error| StoreError::Internal(format!("migration {name}: {error}")))?;
        applied.push(name);
    }
    Ok(applied)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Internal(error.to_string()))?
}

pub(super) fn failed(error: impl Display) -> StoreError {
    StoreError::Internal(format!("migrations: {error}"))
}
