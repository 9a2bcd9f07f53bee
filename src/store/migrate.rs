//! Migrations: embedded in the binary, applied under one lock, recorded where the `diesel` CLI
//! records them, so that both are interchangeable.

use std::collections::HashSet;
use std::fmt::Display;
use std::time::Duration;

use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::pg::Pg;
use diesel::sqlite::Sqlite;
use diesel::{QueryDsl as _, QueryResult, QueryableByName, SqliteConnection};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tokio::time::Instant;

use super::connector::Way;
use super::postgres::{PgConnection, PgConnector};
use super::{Connector, StoreError};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

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
                    connection.immediate_transaction(|connection| apply(connection, SQLITE))
                })
                .await
            }
        }
    }

    /// The names of the migrations that are not applied yet, oldest first.
    ///
    /// # Errors
    /// When the database does not answer in time.
    pub async fn pending(&self, wait: Duration) -> Result<Vec<String>, StoreError> {
        match self.way() {
            Way::Postgres(connector) => {
                let mut connection = answering(connector, wait).await?;
                pending_on_postgres(&mut connection).await
            }
            Way::Sqlite(connector) => {
                let mut connection = connector.connect_blocking()?;
                blocking(move || pending_on_sqlite(&mut connection)).await
            }
        }
    }
}

async fn answering(connector: &PgConnector, wait: Duration) -> Result<PgConnection, StoreError> {
    let deadline = Instant::now() + wait;
    let mut told = false;
    loop {
        let attempt = tokio::time::timeout(CONNECT_TIMEOUT, connector.connect_plain()).await;
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
    if let Some(fault) = connection.encoding_fault() {
        return Err(StoreError::Internal(fault));
    }
    let (mut connection, _open) = connection.into_parts();
    connection
        .batch_execute(&format!("SET lock_timeout = {}", lock_timeout.as_millis()))
        .await?;
    let mut told = false;
    while !try_lock(&mut connection).await? {
        if !told {
            log::info!("another process is migrating; waiting for it");
            told = true;
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
    // The lock ends with the session, however the work ends.
    let migrated = tokio::task::spawn_blocking(move || {
        let mut harness = AsyncMigrationHarness::new(connection);
        let applied = apply(&mut harness, POSTGRES)?;
        Ok::<_, StoreError>((applied, harness.into_inner()))
    });
    let (applied, mut connection) = migrated
        .await
        .map_err(|error| StoreError::Internal(error.to_string()))??;
    connection.batch_execute(CONTINUE_FEED).await?;
    Ok(applied)
}

/// In a database restored from a dump, transactions count from the beginning again, and events of
/// before stand at positions that are yet to come. This moves the new ones behind them. It changes
/// nothing anywhere else. The last event may be one that retention has removed.
const CONTINUE_FEED: &str = "
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

fn apply<DB: diesel::backend::Backend>(
    harness: &mut impl MigrationHarness<DB>,
    source: impl MigrationSource<DB>,
) -> Result<Vec<String>, StoreError> {
    let mut applied = Vec::new();
    for migration in harness.pending_migrations(source).map_err(failed)? {
        let name = migration.name().to_string();
        log::info!(migration = name.as_str(); "applying migration");
        harness
            .run_migration(&migration)
            .map_err(|error| StoreError::Internal(format!("migration {name}: {error}")))?;
        applied.push(name);
    }
    Ok(applied)
}

/// The names of the migrations that the database lacks. Never changes anything: Diesel's harness
/// would create its table.
pub(super) async fn pending_on_postgres(
    connection: &mut AsyncPgConnection,
) -> Result<Vec<String>, StoreError> {
    use diesel_async::RunQueryDsl as _;

    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        found: bool,
    }
    let table: Row =
        diesel::sql_query("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS found")
            .get_result(connection)
            .await?;
    let applied = if table.found {
        applied_table::table
            .select(applied_table::version)
            .load(connection)
            .await?
    } else {
        Vec::new()
    };
    lacking::<Pg>(&POSTGRES, applied)
}

pub(super) fn pending_on_sqlite(
    connection: &mut SqliteConnection,
) -> Result<Vec<String>, StoreError> {
    use diesel::RunQueryDsl as _;

    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        found: i64,
    }
    let table: Row = diesel::sql_query(
        "SELECT count(*) AS found FROM sqlite_master WHERE name = '__diesel_schema_migrations'",
    )
    .get_result(connection)?;
    let applied = if table.found > 0 {
        applied_table::table
            .select(applied_table::version)
            .load(connection)?
    } else {
        Vec::new()
    };
    lacking::<Sqlite>(&SQLITE, applied)
}

/// Diesel's own table, as its CLI creates it.
mod applied_table {
    #![allow(unreachable_pub, reason = "generated by the macro")]
    diesel::table! {
        __diesel_schema_migrations (version) {
            version -> Text,
        }
    }
    pub(super) use __diesel_schema_migrations::{table, version};
}

fn lacking<DB: diesel::backend::Backend>(
    source: &impl MigrationSource<DB>,
    applied: Vec<String>,
) -> Result<Vec<String>, StoreError> {
    let applied: HashSet<MigrationVersion<'_>> = applied.into_iter().map(Into::into).collect();
    let mut names: Vec<String> = source
        .migrations()
        .map_err(failed)?
        .iter()
        .filter(|migration| !applied.contains(&migration.name().version()))
        .map(|migration| migration.name().to_string())
        .collect();
    names.sort();
    Ok(names)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| StoreError::Internal(error.to_string()))?
}

fn failed(error: impl Display) -> StoreError {
    StoreError::Internal(format!("migrations: {error}"))
}
