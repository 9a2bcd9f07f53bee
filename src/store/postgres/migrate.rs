//! Migrations of PostgreSQL, one process at a time.

use std::time::Duration;

use diesel::{QueryDsl as _, QueryResult, QueryableByName};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use tokio::time::{Instant, sleep, timeout};

use super::{ConnectError, PgConnection, PgConnector};
use crate::store::StoreError;
use crate::store::error::StoreFault;
use crate::store::migrate::{MigrateOptions, apply, blocking};
use crate::store::schema_state::{SchemaState, applied_table};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The key of the advisory lock: an arbitrary number that nothing else in the database uses.
const LOCK_KEY: i64 = 0x006f_7264_6572_7331;
/// The timeout of one attempt to connect: a peer may accept the connection and send nothing.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a waiting process tries the lock. It must not wait inside a statement: a statement holds a snapshot,
/// for which `CREATE INDEX CONCURRENTLY` in the other process would wait in turn.
const LOCK_POLL: Duration = Duration::from_millis(50);
const CONNECT_PAUSE: Duration = Duration::from_millis(250);

impl PgConnector {
    /// Applies every pending migration and returns their names, oldest first.
    pub(super) async fn apply_migrations(
        &self,
        options: MigrateOptions,
    ) -> Result<Vec<String>, StoreError> {
        let connection = connect_within(self, options.wait).await?;
        if let Some(encoding) = connection.unsupported_encoding() {
            return Err(StoreFault::Encoding(encoding.to_owned()).into());
        }
        let (mut connection, session) = connection.into_parts();
        let mut logged = false;
        while !try_lock(&mut connection).await? {
            if !logged {
                log::info!("another process is migrating; waiting for it");
                logged = true;
            }
            sleep(LOCK_POLL).await;
        }
        schema_state(&mut connection).await?.pending()?;
        // The lock ends with the session, however the migration ends.
        let (applied, mut connection) = blocking(move || {
            let mut connection = AsyncConnectionWrapper::<_>::from(connection);
            let applied = apply(&mut connection, MIGRATIONS, Some(options.lock_timeout))?;
            Ok((applied, connection.into_inner()))
        })
        .await?;
        connection.batch_execute(CONTINUE_FEED).await?;
        if let Err(error) = self.prepare_partitions(session.with(connection)).await {
            // Without a partition, events are written to the default partition.
            log::warn!(error:%; "the partitions of the next months could not be created");
        }
        Ok(applied)
    }

    /// The names of the migrations that are not applied yet, oldest first.
    pub(super) async fn list_pending(&self, wait: Duration) -> Result<Vec<String>, StoreError> {
        let mut connection = connect_within(self, wait).await?;
        schema_state(&mut connection).await?.pending()
    }
}

/// Connects, with retries for at most `wait`.
async fn connect_within(
    connector: &PgConnector,
    wait: Duration,
) -> Result<PgConnection, StoreError> {
    let deadline = Instant::now() + wait;
    let mut logged = false;
    loop {
        let attempt = timeout(CONNECT_TIMEOUT, connector.connect_for_migrations()).await;
        match attempt.unwrap_or_else(|_| Err(ConnectError::NoResponse(CONNECT_TIMEOUT).into())) {
            Ok(connection) => return Ok(connection),
            Err(error) if Instant::now() + CONNECT_PAUSE > deadline => return Err(error),
            Err(error) => {
                if !logged {
                    log::info!(error:%; "waiting for the database to respond");
                    logged = true;
                }
                sleep(CONNECT_PAUSE).await;
            }
        }
    }
}

/// In a database restored from a dump, transaction ids start again from the beginning, and restored events have
/// positions that are not reached yet. This statement moves new events after them, and inserts the row if it is
/// missing. It changes nothing in other databases. The last event may be one that retention has removed.
const CONTINUE_FEED: &str = "
    INSERT INTO feed (xid_offset) SELECT 0 WHERE NOT EXISTS (SELECT FROM feed);
    UPDATE feed SET xid_offset = last.position + 1 - next.xid
    FROM (SELECT greatest((SELECT max(position) FROM events), (SELECT max(position) FROM feed_floors)) AS position)
            AS last,
        (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xid) AS next
    WHERE last.position >= next.xid + xid_offset";

async fn try_lock(connection: &mut AsyncPgConnection) -> QueryResult<bool> {
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

/// The state of the schema. Changes nothing, unlike Diesel's harness, which would create its table.
pub(super) async fn schema_state(
    connection: &mut AsyncPgConnection,
) -> Result<SchemaState, StoreError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Bool)]
        found: bool,
    }
    let table: Row =
        diesel::sql_query("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS found")
            .get_result(connection)
            .await?;
    let applied: Vec<String> = if table.found {
        applied_table::table
            .select(applied_table::version)
            .load(connection)
            .await?
    } else {
        Vec::new()
    };
    SchemaState::new::<diesel::pg::Pg>(&MIGRATIONS, applied)
}
