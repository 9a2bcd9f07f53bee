//! The readiness check of SQLite.

use std::time::Duration;

use diesel::SqliteConnection;
use diesel::connection::SimpleConnection as _;

use super::migrate::schema_state;
use super::{Handle, SqliteConnector};
use crate::store::StoreError;
use crate::store::pool::Connect as _;
use crate::store::readiness::{Readiness, within_step};

/// Checks the database on a connection of its own, so that it never queues behind requests.
pub(super) async fn check(connector: &SqliteConnector) -> Result<Readiness, StoreError> {
    let mut connection = within_step(connector.connect()).await?;
    let (handle, limit) = (connection.handle(), connection.statement_timeout());
    let examine = move |connection: &mut SqliteConnection| Ok(examine(connection, &handle, limit));
    within_step(async { Ok(connection.spawn_blocking(examine).await?) }).await?
}

/// Only a statement that may write shows whether writes are possible: `BEGIN IMMEDIATE` alone does nothing on a
/// read-only file. A concurrent write transaction shows it as well.
fn examine(
    connection: &mut SqliteConnection,
    handle: &Handle,
    limit: Duration,
) -> Result<Readiness, StoreError> {
    let schema = handle.run(limit, || schema_state(connection))?;
    if let Some(fault) = schema.fault() {
        return Ok(fault);
    }
    let written = handle.run(limit, || {
        connection.batch_execute(
            "PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; DELETE FROM orders WHERE false; ROLLBACK",
        )?;
        Ok(())
    });
    match written {
        Ok(()) | Err(StoreError::StatementTimeout) => Ok(Readiness::Ready),
        Err(StoreError::Unavailable(_)) => Ok(Readiness::ReadOnly),
        Err(error) => Err(error),
    }
}
