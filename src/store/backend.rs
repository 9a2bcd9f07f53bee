//! What a database does for the store: PostgreSQL and SQLite implement these two traits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::StoreError;
use super::admission::Admission;
use super::coalesce::LockWait;
use super::create::{CreateOutcome, NewRow};
use super::cursor::Cursor;
use super::event::{EventPage, Feed, PageSize};
use super::feed_signal::FeedSignal;
use super::list::{ListQuery, Page};
use super::migrate::MigrateOptions;
use super::pool::{Connect, Limits, Pool, PoolStatus};
use super::readiness::Readiness;
use super::update::{UpdateOrder, Updated};
use crate::config::{DatabaseKind, Settings};
use crate::domain::Order;
use crate::telemetry::Metrics;

/// The work of a database. One box for each statement, which costs far more.
pub(super) type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Migrates one database, and starts the backend that serves requests from it.
pub(super) trait Driver: Send + Sync {
    fn kind(&self) -> DatabaseKind;

    /// Applies every pending migration and returns their names, oldest first.
    fn migrate(&self, options: MigrateOptions) -> StoreFuture<'_, Vec<String>>;

    /// The names of the migrations that are not applied yet, oldest first. Retries for as long as `wait`
    /// until the database responds.
    fn pending_migrations(&self, wait: Duration) -> StoreFuture<'_, Vec<String>>;

    /// Starts the backend and its background tasks. Waits for no connection.
    fn start(
        self: Arc<Self>,
        environment: &Environment<'_>,
    ) -> Result<Arc<dyn Backend>, StoreError>;
}

/// What a backend needs of the process.
pub(super) struct Environment<'a> {
    pub(super) settings: &'a Settings,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) feed_signal: &'a FeedSignal,
    pub(super) runtime: &'a Handle,
}

impl Environment<'_> {
    /// A pool of connections, with the task that maintains it.
    pub(super) fn pool<C: Connect>(&self, connector: Arc<C>) -> Result<Pool<C>, StoreError> {
        let limits = Limits {
            max_size: self.settings.pool_max_size.get(),
            min_idle: self.settings.pool_min_idle(),
            acquire_timeout: self.settings.pool_acquire_timeout,
            idle_timeout: self.settings.pool_idle_timeout,
            max_lifetime: self.settings.pool_max_lifetime,
        };
        let pool = Pool::new(connector, limits, Arc::clone(self.metrics))?;
        self.runtime.spawn(pool.clone().run_maintenance());
        Ok(pool)
    }
}

/// Serves requests from one database. Every method is one use case, and runs on the runtime of the store.
pub(super) trait Backend: Send + Sync {
    /// The same backend for a few callers that serve many requests each: they get the next connection that
    /// is free.
    fn prioritized(&self) -> Arc<dyn Backend>;

    /// Creates a batch of orders, or finds what was created with their keys; one outcome for each row, in
    /// the order of the rows.
    fn create(
        &self,
        rows: Arc<[Arc<NewRow>]>,
        wait: LockWait,
    ) -> StoreFuture<'_, Vec<CreateOutcome>>;

    /// The orders that have one of these ids, in any order; [`StoreError::BatchTooLarge`] when several have
    /// more bytes together than a page may have.
    fn get(&self, ids: Vec<Uuid>) -> StoreFuture<'_, Vec<Order>>;

    /// A page of orders, newest first.
    fn list(&self, query: ListQuery) -> StoreFuture<'_, Page>;

    /// Updates an order in one transaction. `admission` has permits for what is read of the order.
    fn update<'a>(
        &'a self,
        command: &'a Arc<UpdateOrder>,
        admission: &'a Admission,
    ) -> StoreFuture<'a, Updated>;

    /// The events behind `after`, in the order of their commits, if reading may continue there; without a
    /// cursor, every event that there is.
    fn feed(&self, after: Option<Cursor>, size: PageSize) -> StoreFuture<'_, Feed>;

    /// The events of one order behind a version, oldest first.
    fn order_events(&self, id: Uuid, after: i32, size: PageSize) -> StoreFuture<'_, EventPage>;

    /// Checks whether requests would be served. One check runs at a time.
    fn check_readiness(&self) -> StoreFuture<'_, Readiness>;

    /// Prepares the next check after a result is known, so that no probe waits for it.
    fn prepare_next_check(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Whether a statement of a request has succeeded since then. False if that is not recorded.
    fn has_served_since(&self, _then: Instant) -> bool {
        false
    }

    fn pool_status(&self) -> PoolStatus;

    /// Closes idle connections now and the others when they are released.
    fn close(&self);
}
