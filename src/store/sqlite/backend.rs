//! SQLite as the backend of the store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use uuid::Uuid;

use super::import::SqliteImport;
use super::{Sqlite, SqliteConnector, readiness};
use crate::config::DatabaseKind;
use crate::domain::{Order, Tenant};
use crate::store::StoreError;
use crate::store::admission::Admission;
use crate::store::audit::AuditSink;
use crate::store::backend::{Backend, Driver, Environment, StoreFuture};
use crate::store::coalesce::LockWait;
use crate::store::create::{CreateOutcome, NewRow};
use crate::store::cursor::Position;
use crate::store::event::{Event, EventPage, FeedRead, PageSize, TenantEvent};
use crate::store::import::OrderImport;
use crate::store::list::{ListQuery, Page, PageForm};
use crate::store::maintain::{MaintainOptions, Maintained};
use crate::store::migrate::MigrateOptions;
use crate::store::order_key::OrderKey;
use crate::store::pool::PoolStatus;
use crate::store::readiness::Readiness;
use crate::store::update::{UpdateOrder, Updated};

impl Driver for SqliteConnector {
    fn kind(&self) -> DatabaseKind {
        DatabaseKind::Sqlite
    }

    fn migrate(&self, _options: MigrateOptions) -> StoreFuture<'_, Vec<String>> {
        self.apply_migrations().boxed()
    }

    fn pending_migrations(&self, _wait: Duration) -> StoreFuture<'_, Vec<String>> {
        self.list_pending().boxed()
    }

    fn audit(&self, sink: AuditSink) -> StoreFuture<'_, ()> {
        self.read_for_audit(sink).boxed()
    }

    fn maintain(&self, options: MaintainOptions) -> StoreFuture<'_, Maintained> {
        async move { self.maintain_database(&options).await }.boxed()
    }

    fn import(self: Arc<Self>, tenant: Tenant) -> Box<dyn OrderImport> {
        Box::new(SqliteImport::new(self, tenant))
    }

    fn start(
        self: Arc<Self>,
        environment: &Environment<'_>,
    ) -> Result<Arc<dyn Backend>, StoreError> {
        let pool = environment.pool(Arc::clone(&self))?;
        let metrics = Arc::clone(environment.metrics);
        let panics = environment.settings.test_panics();
        // There are no partitions, so none can be missing.
        metrics.event_partitions_ahead.set(f64::INFINITY);
        Ok(Arc::new(Sqlite::new(self, pool, metrics, panics)))
    }
}

impl Backend for Sqlite {
    fn prioritized(&self) -> Arc<dyn Backend> {
        Arc::new(Self {
            pool: self.pool.with_priority(),
            ..self.clone()
        })
    }

    /// Waits for a lock of another process at most as long as a statement may take.
    fn create(
        &self,
        rows: Arc<[Arc<NewRow>]>,
        _: LockWait,
    ) -> StoreFuture<'_, Vec<Result<CreateOutcome, StoreError>>> {
        self.create_orders(rows).boxed()
    }

    fn get(&self, keys: Arc<[OrderKey]>) -> StoreFuture<'_, Vec<(usize, Order)>> {
        self.get_orders(keys).boxed()
    }

    fn list(&self, tenant: Tenant, query: ListQuery, form: PageForm) -> StoreFuture<'_, Page> {
        self.list_orders(tenant, query, form).boxed()
    }

    fn list_by_id(&self, tenant: Tenant, ids: Vec<Uuid>) -> StoreFuture<'_, Page> {
        self.list_orders_by_id(tenant, ids).boxed()
    }

    fn update<'a>(
        &'a self,
        command: &'a Arc<UpdateOrder>,
        admission: &'a Admission,
    ) -> StoreFuture<'a, Updated> {
        self.update_order(command, admission).boxed()
    }

    fn feed(
        &self,
        tenant: Tenant,
        after: Option<Position>,
        size: PageSize,
    ) -> StoreFuture<'_, FeedRead<Event>> {
        self.read_feed(tenant, after, size).boxed()
    }

    fn tail(&self, after: Position, size: PageSize) -> StoreFuture<'_, FeedRead<TenantEvent>> {
        self.read_tail(after, size).boxed()
    }

    fn head(&self) -> StoreFuture<'_, Position> {
        self.read_head().boxed()
    }

    fn order_events(
        &self,
        key: OrderKey,
        after: i32,
        size: PageSize,
    ) -> StoreFuture<'_, EventPage> {
        self.read_order_events(key, after, size).boxed()
    }

    fn check_readiness(&self) -> StoreFuture<'_, Readiness> {
        readiness::check(&self.connector).boxed()
    }

    fn pool_status(&self) -> PoolStatus {
        self.pool.status()
    }

    fn close(&self) {
        self.pool.close();
    }
}
