//! SQLite as the backend of the store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use uuid::Uuid;

use super::{Sqlite, SqliteConnector, readiness};
use crate::config::DatabaseKind;
use crate::domain::Order;
use crate::store::StoreError;
use crate::store::admission::Admission;
use crate::store::backend::{Backend, Driver, Environment, StoreFuture};
use crate::store::coalesce::LockWait;
use crate::store::create::{CreateOutcome, NewRow};
use crate::store::cursor::Cursor;
use crate::store::event::{EventPage, Feed, PageSize};
use crate::store::list::{ListQuery, Page};
use crate::store::migrate::MigrateOptions;
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

    fn start(
        self: Arc<Self>,
        environment: &Environment<'_>,
    ) -> Result<Arc<dyn Backend>, StoreError> {
        let pool = environment.pool(Arc::clone(&self))?;
        let metrics = Arc::clone(environment.metrics);
        Ok(Arc::new(Sqlite::new(self, pool, metrics)))
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
    fn create(&self, rows: Arc<[Arc<NewRow>]>, _: LockWait) -> StoreFuture<'_, Vec<CreateOutcome>> {
        self.create_orders(rows).boxed()
    }

    fn get(&self, ids: Vec<Uuid>) -> StoreFuture<'_, Vec<Order>> {
        self.get_orders(ids).boxed()
    }

    fn list(&self, query: ListQuery) -> StoreFuture<'_, Page> {
        self.list_orders(query).boxed()
    }

    fn update<'a>(
        &'a self,
        command: &'a Arc<UpdateOrder>,
        admission: &'a Admission,
    ) -> StoreFuture<'a, Updated> {
        self.update_order(command, admission).boxed()
    }

    fn feed(&self, after: Option<Cursor>, size: PageSize) -> StoreFuture<'_, Feed> {
        self.read_feed(after, size).boxed()
    }

    fn order_events(&self, id: Uuid, after: i32, size: PageSize) -> StoreFuture<'_, EventPage> {
        self.read_order_events(id, after, size).boxed()
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
