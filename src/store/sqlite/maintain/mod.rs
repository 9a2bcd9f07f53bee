//! Maintenance of SQLite.
//!
//! A command does nothing else, so its statements may block the thread. Each transaction may write from its beginning
//! and is short; the process that serves requests writes in the pauses.

mod events;
mod keys;
mod lock;
mod orders;

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::{OptionalExtension as _, QueryDsl as _, RunQueryDsl as _, SqliteConnection};
use uuid::Uuid;

use super::SqliteConnector;
use super::handle::Handle;
use super::schema::feed;
use crate::domain::{Order, Tenant};
use crate::store::StoreError;
use crate::store::error::StoreFault;
use crate::store::list::ListQuery;
use crate::store::maintain::{
    ArchivedOrder, MaintainOptions, Maintained, Maintenance, RemovedKeys, Run, TenantTable,
    already_running, maintain,
};
use crate::store::order_id::IdRange;
use crate::store::page_sql::PageSql;
use lock::MaintenanceLock;

/// The number of rows that one transaction removes.
const BATCH: i64 = 200;

/// A connection, and the lock of the maintenance.
struct Session {
    connection: SqliteConnection,
    handle: Handle,
    timeout: Duration,
    _lock: MaintenanceLock,
}

impl SqliteConnector {
    /// Maintains the database, unless another process does.
    pub(super) async fn maintain_database(
        &self,
        options: &MaintainOptions,
    ) -> Result<Maintained, StoreError> {
        let path = self.path().ok_or(StoreFault::InMemory)?;
        let Some(lock) = MaintenanceLock::try_acquire(path)? else {
            return Ok(already_running());
        };
        let mut connection = self.connect_blocking()?;
        let mut session = Session {
            handle: Handle::of(&mut connection)?,
            connection,
            timeout: self.statement_timeout(),
            _lock: lock,
        };
        Ok(maintain(&mut session, options).await)
    }
}

impl Session {
    /// Runs work that only reads.
    fn read<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.handle.run(self.timeout, || work(&mut self.connection))
    }

    /// Runs work in one transaction, which may write from its beginning.
    fn write<T>(
        &mut self,
        work: impl FnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.read(|connection| connection.immediate_transaction(work))
    }
}

impl Maintenance for Session {
    async fn now(&mut self) -> Result<DateTime<Utc>, StoreError> {
        Ok(Utc::now())
    }

    async fn cursor_key(&mut self) -> Result<Vec<u8>, StoreError> {
        let key = self.read(|connection| {
            let key = feed::table.select(feed::cursor_key).first(connection);
            Ok(key.optional()?)
        });
        Ok(key?.ok_or(StoreFault::NoFeedRow)?)
    }

    /// There are no partitions.
    async fn prepare(&mut self, _run: &mut Run) -> Result<(), StoreError> {
        Ok(())
    }

    async fn remove_events(
        &mut self,
        before: DateTime<Utc>,
        run: &mut Run,
    ) -> Result<(), StoreError> {
        loop {
            let removed = self.write(|connection| events::remove(connection, before))?;
            run.report.events_removed += removed;
            run.log_progress("removing events", run.report.events_removed);
            if removed == 0 || !run.pause().await {
                return Ok(());
            }
        }
    }

    async fn tenant_after(
        &mut self,
        table: TenantTable,
        tenant: &str,
    ) -> Result<Option<String>, StoreError> {
        self.read(|connection| keys::tenant_after(connection, table, tenant))
    }

    async fn remove_keys(
        &mut self,
        tenant: &str,
        range: IdRange,
    ) -> Result<RemovedKeys, StoreError> {
        self.write(|connection| keys::remove(connection, tenant, range))
    }

    async fn orders(
        &mut self,
        tenant: &Tenant,
        query: &ListQuery,
    ) -> Result<Vec<Order>, StoreError> {
        self.read(|connection| orders::read(connection, PageSql::list(tenant, query)))
    }

    async fn orders_by_id(
        &mut self,
        tenant: &Tenant,
        ids: &[Uuid],
    ) -> Result<Vec<Order>, StoreError> {
        self.read(|connection| orders::read(connection, PageSql::ids(tenant, ids)))
    }

    async fn remove_archived(
        &mut self,
        tenant: &Tenant,
        orders: &[ArchivedOrder],
        with_keys: bool,
    ) -> Result<Vec<Uuid>, StoreError> {
        self.write(|connection| orders::remove(connection, tenant, orders, with_keys))
    }

    async fn forget_archived(
        &mut self,
        before: DateTime<Utc>,
        run: &mut Run,
    ) -> Result<(), StoreError> {
        let mut after = keys::ArchivedKey::default();
        loop {
            let walked =
                self.write(|connection| keys::forget_archived(connection, &after, before))?;
            run.report.archived_orders_forgotten += walked.removed;
            let Some(last) = walked.last else {
                return Ok(());
            };
            after = last;
            if !run.pause().await {
                return Ok(());
            }
        }
    }
}
