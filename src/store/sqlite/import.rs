//! Imports chunks of orders, each in one transaction.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::SqliteConnection;
use diesel::prelude::*;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::SqliteConnector;
use super::connector::FileIdentity;
use super::create::{Origin, find_by_external_id, insert_event, insert_lines, insert_order};
use super::events::find_last_event;
use super::handle::Handle;
use super::rows::time;
use super::schema::{archived_orders, orders};
use crate::domain::{Caller, EventType, LastVersion, Tenant};
use crate::store::StoreError;
use crate::store::backend::StoreFuture;
use crate::store::error::StoreFault;
use crate::store::import::{ImportOutcome, ImportRow, OrderImport, event_time, import_time};
use crate::store::migrate::blocking;

/// An import into SQLite.
pub(super) struct SqliteImport {
    connector: Arc<SqliteConnector>,
    caller: Arc<Caller>,
    /// `None` before the first chunk and after an error.
    session: Option<Session>,
}

/// An open connection.
struct Session {
    connection: SqliteConnection,
    handle: Handle,
    /// The identity of the file that was opened.
    identity: Option<FileIdentity>,
}

impl Session {
    fn open(connector: &SqliteConnector) -> Result<Self, StoreError> {
        let (connection, handle) = connector.connect_with_handle()?;
        Ok(Self {
            connection,
            handle,
            identity: connector.identity(),
        })
    }
}

impl SqliteImport {
    pub(super) fn new(connector: Arc<SqliteConnector>, tenant: Tenant) -> Self {
        Self {
            connector,
            caller: Arc::new(Caller::system(tenant)),
            session: None,
        }
    }

    async fn import_chunk(
        &mut self,
        rows: Arc<[ImportRow]>,
    ) -> Result<Vec<ImportOutcome>, StoreError> {
        let (connector, caller) = (Arc::clone(&self.connector), Arc::clone(&self.caller));
        let session = self.session.take();
        let (session, outcomes) = blocking(move || {
            let session = match session {
                Some(session) => session,
                None => Session::open(&connector)?,
            };
            // Writes to a file that was removed or replaced would be lost.
            if session.identity != connector.identity() {
                return Err(StoreFault::FileReplaced.into());
            }
            let Session {
                mut connection,
                handle,
                identity,
            } = session;
            let outcomes = handle.run(connector.statement_timeout(), || {
                connection
                    .immediate_transaction(|connection| import_orders(connection, &caller, &rows))
            })?;
            let session = Session {
                connection,
                handle,
                identity,
            };
            Ok((session, outcomes))
        })
        .await?;
        self.session = Some(session);
        Ok(outcomes)
    }
}

impl OrderImport for SqliteImport {
    fn import(&mut self, rows: Arc<[ImportRow]>) -> StoreFuture<'_, Vec<ImportOutcome>> {
        self.import_chunk(rows).boxed()
    }
}

fn import_orders(
    connection: &mut SqliteConnection,
    caller: &Caller,
    rows: &[ImportRow],
) -> Result<Vec<ImportOutcome>, StoreError> {
    let now = import_time();
    let outcomes = rows
        .iter()
        .map(|row| import_order(connection, caller, row, now));
    outcomes.collect()
}

/// The transaction may write from its beginning, so nothing changes between the look-ups and the inserts.
fn import_order(
    connection: &mut SqliteConnection,
    caller: &Caller,
    row: &ImportRow,
    now: DateTime<Utc>,
) -> Result<ImportOutcome, StoreError> {
    let tenant = caller.tenant.as_str();
    let id = row.order.id;
    let key = (tenant, id.as_bytes().as_slice());
    let found = orders::table.find(key).select(orders::version);
    let present: Option<i32> = found.first(connection).optional()?;
    if present.is_some() {
        return Ok(ImportOutcome::AlreadyPresent);
    }
    if let Some(external_id) = &row.order.external_id
        && let Some(other) = find_by_external_id(connection, tenant, external_id)?
    {
        return Ok(ImportOutcome::ExternalIdTaken { order_id: other.id });
    }
    let archived = archived_orders::table.find(key);
    let row = match find_last_version(connection, tenant, id)? {
        None => Cow::Borrowed(row),
        Some(last) => match row.after(&last, now)? {
            Ok(row) => Cow::Owned(row),
            Err(outcome) => return Ok(outcome),
        },
    };
    diesel::delete(archived).execute(connection)?;
    let order = &row.order;
    insert_order(connection, tenant, order, &row.metadata, row.json_bytes())?;
    insert_lines(connection, tenant, order)?;
    let origin = Origin {
        caller,
        traceparent: None,
    };
    let at = event_time(order, now);
    insert_event(
        connection,
        order,
        EventType::Imported,
        at,
        &row.json,
        &origin,
    )?;
    Ok(ImportOutcome::Imported)
}

/// The last version of an order that was removed: the later of its last event and its trace in `archived_orders`.
fn find_last_version(
    connection: &mut SqliteConnection,
    tenant: &str,
    id: Uuid,
) -> Result<Option<LastVersion>, StoreError> {
    let event = find_last_event(connection, tenant, &id)?;
    let archived: Option<(i32, i64)> = archived_orders::table
        .find((tenant, id.as_bytes().as_slice()))
        .select((archived_orders::version, archived_orders::archived_at))
        .first(connection)
        .optional()?;
    let event = event
        .map(|event| {
            let document: serde_json::Value =
                serde_json::from_str(&event.data).map_err(|_| StoreFault::Corrupt("data"))?;
            let status = document.get("status").and_then(|status| status.as_str());
            let status = status.map(str::parse).transpose();
            Ok::<_, StoreError>(LastVersion {
                version: event.version,
                status: status.map_err(|_| StoreFault::Corrupt("status"))?,
                at: event.occurred_at,
            })
        })
        .transpose()?;
    let archived = archived
        .map(|(version, at)| {
            Ok::<_, StoreError>(LastVersion {
                version,
                status: None,
                at: time(at)?,
            })
        })
        .transpose()?;
    Ok(LastVersion::later(event, archived))
}
