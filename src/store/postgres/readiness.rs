//! What is looked at in a database.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Bool;
use diesel::{QueryableByName, SqliteConnection};
use diesel_async::AsyncPgConnection;

use super::FEED_IS_CURRENT;
use crate::store::StoreError;
use crate::store::readiness::Readiness;
use crate::store::schema_state::{Schema, schema_of_postgres, schema_of_sqlite};
use crate::store::sqlite::Handle;

/// What of the schema stands in the way.
fn of_schema(schema: &Schema) -> Option<Readiness> {
    match schema {
        Schema::Current => None,
        Schema::Behind(_) => Some(Readiness::SchemaBehind),
        Schema::Unreleased(_) => Some(Readiness::SchemaUnreleased),
    }
}

/// Whether the server takes our writes, and whether what is written now would reach readers of the feed, in
/// one snapshot.
fn examination() -> String {
    format!(
        "SELECT current_setting('transaction_read_only')::bool
            OR NOT (has_table_privilege('orders', 'INSERT') AND has_table_privilege('orders', 'UPDATE')
                AND has_table_privilege('events', 'INSERT')
                AND has_table_privilege('idempotency_keys', 'INSERT')) AS read_only,
        EXISTS (SELECT FROM feed) AS has_feed,
        coalesce((SELECT NOT ({FEED_IS_CURRENT}) FROM feed), false) AS feed_behind"
    )
}

#[derive(QueryableByName)]
struct Examined {
    #[diesel(sql_type = Bool)]
    read_only: bool,
    #[diesel(sql_type = Bool)]
    has_feed: bool,
    #[diesel(sql_type = Bool)]
    feed_behind: bool,
}

pub(in crate::store) async fn examine_postgres(
    connection: &mut AsyncPgConnection,
) -> Result<Readiness, StoreError> {
    use diesel_async::RunQueryDsl as _;

    if let Some(fault) = of_schema(&schema_of_postgres(connection).await?) {
        return Ok(fault);
    }
    let found: Examined = diesel::sql_query(examination())
        .get_result(connection)
        .await?;
    Ok(match found {
        Examined {
            read_only: true, ..
        } => Readiness::ReadOnly,
        Examined {
            has_feed: false, ..
        } => Readiness::FeedMissing,
        Examined {
            feed_behind: true, ..
        } => Readiness::FeedBehind,
        _ => Readiness::Ready,
    })
}

/// On SQLite a statement that may write shows whether writes are possible; `BEGIN IMMEDIATE` alone does
/// nothing on a read-only file. Another transaction that is writing right now shows it as well.
pub(in crate::store) fn examine_sqlite(
    connection: &mut SqliteConnection,
    handle: &Handle,
    limit: Duration,
) -> Result<Readiness, StoreError> {
    let schema = handle.run(limit, || schema_of_sqlite(connection))?;
    if let Some(fault) = of_schema(&schema) {
        return Ok(fault);
    }
    let writing = handle.run(limit, || {
        connection.batch_execute(
            "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; DELETE FROM orders WHERE false; ROLLBACK",
        )?;
        Ok(())
    });
    match writing {
        Ok(()) | Err(StoreError::StatementTimeout) => Ok(Readiness::Ready),
        Err(StoreError::Unavailable(_)) => Ok(Readiness::ReadOnly),
        Err(error) => Err(error),
    }
}
