//! The interface of the store to a database: two traits, which PostgreSQL and SQLite implement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use uuid::Uuid;

use super::StoreError;
use super::admission::Admission;
use super::audit::AuditSink;
use super::coalesce::LockWait;
use super::create::{CreateOutcome, NewRow};
use super::cursor::Position;
use super::erasure::Erasures;
use super::event::{Event, EventPage, FeedRead, PageSize, TenantEvent};
use super::feed_signal::FeedSignal;
use super::import::OrderImport;
use super::list::{ListQuery, Page, PageForm};
use super::maintain::{MaintainOptions, Maintained};
use super::migrate::MigrateOptions;
use super::order_key::OrderKey;
use super::pool::{Connect, Limits, Pool, PoolStatus};
use super::readiness::Readiness;
use super::update::{UpdateOrder, Updated};
use crate::config::{DatabaseKind, Settings};
use crate::domain::{Order, Tenant};
use crate::telemetry::Metrics;

/// The future of a database operation. It costs one box for each statement, and a statement costs far more.
pub(super) type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Migrates one database, and starts the backend that serves requests from it.
pub(super) trait Driver: Send + Sync {
    fn kind(&self) -> DatabaseKind;

    /// Applies every pending migration and returns their names, oldest first.
    fn migrate(&self, options: MigrateOptions) -> StoreFuture<'_, Vec<String>>;

    /// Returns the names of the migrations that are not applied yet, oldest first. Retries for at most `wait`
    /// until the database responds.
    fn pending_migrations(&self, wait: Duration) -> StoreFuture<'_, Vec<String>>;

    /// Reads everything that is stored, in the scope of the sink, and sends it to the sink.
    fn audit(&self, sink: AuditSink) -> StoreFuture<'_, ()>;

    /// Prepares partitions and applies retention, once. Reports if another process does so.
    fn maintain(&self, options: MaintainOptions) -> StoreFuture<'_, Maintained>;

    /// Prepares an import of orders of this tenant. Opens nothing yet.
    fn import(self: Arc<Self>, tenant: Tenant) -> Box<dyn OrderImport>;

    /// Starts the backend and its background tasks. Does not wait for a connection.
    fn start(
        self: Arc<Self>,
        environment: &Environment<'_>,
    ) -> Result<Arc<dyn Backend>, StoreError>;
}

/// What a backend needs from the rest of the process.
pub(super) struct Environment<'a> {
    pub(super) settings: &'a Settings,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) feed_signal: &'a FeedSignal,
    pub(super) runtime: &'a Handle,
}

impl Environment<'_> {
    /// Creates a pool of connections and starts the task that maintains it.
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
pub(super) trait Backend: Erasures + Send + Sync {
    /// Returns the same backend with priority: its callers get the next connection that becomes free. Meant for
    /// the few callers that serve many requests each.
    fn prioritized(&self) -> Arc<dyn Backend>;

    /// Creates a batch of orders, or finds the orders that were created before with the same keys. Returns one
    /// outcome for each row, in the order of the rows. A row has an error if its outcome is not known.
    fn create(
        &self,
        rows: Arc<[Arc<NewRow>]>,
        wait: LockWait,
    ) -> StoreFuture<'_, Vec<Result<CreateOutcome, StoreError>>>;

    /// Returns the orders with these keys, which are sorted and unique, in any order. Each has the index of its
    /// key. Returns [`StoreError::BatchTooLarge`] if several orders together have more bytes than a page may have.
    fn get(&self, keys: Arc<[OrderKey]>) -> StoreFuture<'_, Vec<(usize, Order)>>;

    /// Returns a page of the orders of a tenant.
    fn list(&self, tenant: Tenant, query: ListQuery, form: PageForm) -> StoreFuture<'_, Page>;

    /// Returns a page of the orders of a tenant with these ids, which are unique, in their order. The page has at
    /// least one order if there is any.
    fn list_by_id(&self, tenant: Tenant, ids: Vec<Uuid>) -> StoreFuture<'_, Page>;

    /// Updates an order in one transaction. `admission` provides the permits for the order that is read.
    fn update<'a>(
        &'a self,
        command: &'a Arc<UpdateOrder>,
        admission: &'a Admission,
    ) -> StoreFuture<'a, Updated>;

    /// Reads the events of a tenant after the position `after`, in the order of their commits, if reading may
    /// continue there. Without a position, reads from the oldest event.
    fn feed(
        &self,
        tenant: Tenant,
        after: Option<Position>,
        size: PageSize,
    ) -> StoreFuture<'_, FeedRead<Event>>;

    /// Reads the events of all tenants after the position `after`, as [`Self::feed`] reads those of one.
    fn tail(&self, after: Position, size: PageSize) -> StoreFuture<'_, FeedRead<TenantEvent>>;

    /// Returns the position of the last event of all tenants that readers may read, or the highest floor if it is
    /// after that event.
    fn head(&self) -> StoreFuture<'_, Position>;

    /// Reads the events of one order after a version, oldest first.
    fn order_events(&self, key: OrderKey, after: i32, size: PageSize)
    -> StoreFuture<'_, EventPage>;

    /// Checks whether requests would be served. One check runs at a time.
    fn check_readiness(&self) -> StoreFuture<'_, Readiness>;

    /// Prepares the next check after a result is known, so that no probe waits for it.
    fn prepare_next_check(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Whether a statement of a request has succeeded since that time. False if the backend does not record this.
    fn has_served_since(&self, _then: Instant) -> bool {
        false
    }

    fn pool_status(&self) -> PoolStatus;

    /// Closes idle connections now and the others when they are released.
    fn close(&self);
}
