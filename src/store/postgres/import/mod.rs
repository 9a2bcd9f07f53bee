//! Imports chunks of orders with `COPY`.
//!
//! `COPY` writes into the tables themselves, not into temporary ones: it cannot skip rows, so a look-up finds the orders
//! to skip first, and each row is written once. If another transaction writes one of the orders or of the external ids
//! between the two, the unique index fails the chunk as a whole, and it starts again with the look-up.

mod copy;
mod find;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use tokio::time::timeout;
use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::PgConnector;
use super::connection::CommandClient;
use super::position::{POSITION, check_feed_of_command};
use crate::domain::{Caller, Tenant};
use crate::store::StoreError;
use crate::store::backend::StoreFuture;
use crate::store::error::StoreFault;
use crate::store::import::{ImportOutcome, ImportRow, OrderImport, import_time};
use copy::{CopyStatements, Counts};
use find::{Found, Plan, Write};

/// `lock_timeout` of an import, whose transaction holds back the readers of the feed. It is several times the duration
/// of a commit.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// How often a chunk starts again because other transactions write the same orders.
const MAX_ROUNDS: usize = 5;

/// An import into PostgreSQL.
pub(super) struct PgImport {
    connector: Arc<PgConnector>,
    caller: Caller,
    /// `None` before the first chunk and after an error.
    session: Option<Session>,
}

impl PgImport {
    pub(super) fn new(connector: Arc<PgConnector>, tenant: Tenant) -> Self {
        Self {
            connector,
            caller: Caller::system(tenant),
            session: None,
        }
    }

    async fn import_chunk(&mut self, rows: &[ImportRow]) -> Result<Vec<ImportOutcome>, StoreError> {
        for _ in 0..MAX_ROUNDS {
            // Another session after an error: this one may be lost, or inside of a transaction.
            let mut session = match self.session.take() {
                Some(session) => session,
                None => Session::open(&self.connector).await?,
            };
            let limit = self.connector.response_timeout();
            let written = timeout(limit, session.write(&self.caller, rows)).await;
            let outcomes = written.map_err(|_| StoreFault::NoResponse(limit))??;
            self.session = Some(session);
            if let Some(outcomes) = outcomes {
                return Ok(outcomes);
            }
        }
        Err(StoreFault::CompetingImport.into())
    }
}

impl OrderImport for PgImport {
    fn import(&mut self, rows: Arc<[ImportRow]>) -> StoreFuture<'_, Vec<ImportOutcome>> {
        async move { self.import_chunk(&rows).await }.boxed()
    }
}

/// A connection with the statements of an import.
struct Session {
    client: CommandClient,
    find: Statement,
    find_events: Statement,
    position: Statement,
    remove_archived: Statement,
    copy: CopyStatements,
}

impl Session {
    async fn open(connector: &PgConnector) -> Result<Self, StoreError> {
        let client = connector.connect_for_command().await?;
        let lock_timeout = format!("SET lock_timeout = {}", LOCK_TIMEOUT.as_millis());
        client.batch_execute(&lock_timeout).await?;
        check_feed_of_command(&client).await?;
        Ok(Self {
            find: client.prepare(find::FIND).await?,
            find_events: client.prepare(find::FIND_EVENTS).await?,
            position: client.prepare(&format!("SELECT {POSITION}")).await?,
            remove_archived: client.prepare(REMOVE_ARCHIVED).await?,
            copy: CopyStatements::prepare(&client).await?,
            client,
        })
    }

    /// Writes a chunk. Returns `None`, and writes nothing, if another transaction has written one of its orders since
    /// the look-up.
    async fn write(
        &mut self,
        caller: &Caller,
        rows: &[ImportRow],
    ) -> Result<Option<Vec<ImportOutcome>>, StoreError> {
        let found = self.find(caller, rows).await?;
        let now = import_time();
        let Plan { outcomes, writes } = Plan::new(rows, found, now)?;
        if writes.is_empty() {
            return Ok(Some(outcomes));
        }
        match self.write_transaction(caller, &writes, now).await {
            Ok(written) => Ok(written.then_some(outcomes)),
            Err(StoreOrPostgres::Postgres(error))
                if error.code() == Some(&SqlState::UNIQUE_VIOLATION) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads what is stored of the orders. Outside of the transaction that writes: readers of the feed do not wait for
    /// statements that only read.
    async fn find(&self, caller: &Caller, rows: &[ImportRow]) -> Result<Found, StoreError> {
        let tenant = caller.tenant.as_str();
        let ids: Vec<_> = rows.iter().map(|row| row.order.id).collect();
        let external_ids = rows.iter().map(|row| row.order.external_id.as_deref());
        let external_ids: Vec<_> = external_ids.collect();
        let rows = self
            .client
            .query(&self.find, &[&tenant, &ids, &external_ids])
            .await?;
        let mut found = Found::new(&rows)?;
        let absent = found.absent(&ids);
        if !absent.is_empty() {
            let events = self
                .client
                .query(&self.find_events, &[&tenant, &absent])
                .await?;
            found.add_events(&events)?;
        }
        Ok(found)
    }

    /// Returns false, and writes nothing, if an archived order is not any more as it was found.
    async fn write_transaction(
        &mut self,
        caller: &Caller,
        writes: &[Write<'_>],
        now: DateTime<Utc>,
    ) -> Result<bool, StoreOrPostgres> {
        let tenant = caller.tenant.as_str();
        let transaction = self.client.transaction().await?;
        // The first write gives the transaction its number, and readers of the feed wait for it until it ends.
        let archived: HashSet<_> = writes.iter().filter_map(Write::archived).collect();
        if !archived.is_empty() {
            let ids: Vec<_> = archived.iter().map(|(id, _)| *id).collect();
            let removed = transaction
                .query(&self.remove_archived, &[&tenant, &ids])
                .await?;
            let removed = removed.iter().map(|row| (row.get(0), row.get(1)));
            if removed.collect::<HashSet<(Uuid, i32)>>() != archived {
                return Ok(false);
            }
        }
        let position = transaction.query_one(&self.position, &[]).await?;
        let position: Option<i64> = position.try_get(0)?;
        let position = position.ok_or(StoreFault::NoFeedRow)?;
        let expected = Counts::of(writes);
        let written = self
            .copy
            .write(&transaction, caller, position, now, writes)
            .await?;
        if written != expected {
            // A trigger has dropped rows.
            return Err(StoreError::from(StoreFault::RowNotKept).into());
        }
        transaction.commit().await?;
        Ok(true)
    }
}

/// Removes the traces of archived orders that continue.
const REMOVE_ARCHIVED: &str = "DELETE FROM archived_orders WHERE tenant = $1 AND order_id = ANY($2) RETURNING order_id, version";

/// An error of a transaction. The code of PostgreSQL's decides whether the chunk starts again.
enum StoreOrPostgres {
    Store(StoreError),
    Postgres(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for StoreOrPostgres {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<StoreError> for StoreOrPostgres {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StoreFault> for StoreOrPostgres {
    fn from(fault: StoreFault) -> Self {
        Self::Store(fault.into())
    }
}

impl From<StoreOrPostgres> for StoreError {
    fn from(error: StoreOrPostgres) -> Self {
        match error {
            StoreOrPostgres::Store(error) => error,
            StoreOrPostgres::Postgres(error) => error.into(),
        }
    }
}
