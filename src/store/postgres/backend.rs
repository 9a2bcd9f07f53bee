//! PostgreSQL as the backend of the store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::import::PgImport;
use super::maintain::measure_partitions_ahead;
use super::{PgConnector, Postgres, feed_lag, notify};
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

impl Driver for PgConnector {
    fn kind(&self) -> DatabaseKind {
        DatabaseKind::Postgres
    }

    fn migrate(&self, options: MigrateOptions) -> StoreFuture<'_, Vec<String>> {
        self.apply_migrations(options).boxed()
    }

    fn pending_migrations(&self, wait: Duration) -> StoreFuture<'_, Vec<String>> {
        self.list_pending(wait).boxed()
    }

    fn audit(&self, sink: AuditSink) -> StoreFuture<'_, ()> {
        self.read_for_audit(sink).boxed()
    }

    fn maintain(&self, options: MaintainOptions) -> StoreFuture<'_, Maintained> {
        async move { self.maintain_database(&options).await }.boxed()
    }

    fn import(self: Arc<Self>, tenant: Tenant) -> Box<dyn OrderImport> {
        Box::new(PgImport::new(self, tenant))
    }

    fn start(
        self: Arc<Self>,
        environment: &Environment<'_>,
    ) -> Result<Arc<dyn Backend>, StoreError> {
        let Environment {
            settings,
            metrics,
            feed_signal,
            runtime,
        } = environment;
        let pool = environment.pool(Arc::clone(&self))?;
        let lifetime = settings.pool_max_lifetime;
        runtime.spawn(notify::listen(
            Arc::clone(&self),
            (*feed_signal).clone(),
            lifetime,
        ));
        let postgres = Postgres::new(
            self,
            pool,
            settings.statement_timeout,
            Arc::clone(metrics),
            settings.test_panics(),
        );
        runtime.spawn(feed_lag::measure(postgres.clone(), Arc::clone(metrics)));
        runtime.spawn(measure_partitions_ahead(
            postgres.clone(),
            Arc::clone(metrics),
        ));
        Ok(Arc::new(postgres))
    }
}

impl Backend for Postgres {
    fn prioritized(&self) -> Arc<dyn Backend> {
        Arc::new(Self {
            pool: self.pool.with_priority(),
            ..self.clone()
        })
    }

    fn create(
        &self,
        rows: Arc<[Arc<NewRow>]>,
        wait: LockWait,
    ) -> StoreFuture<'_, Vec<Result<CreateOutcome, StoreError>>> {
        self.create_orders(rows, wait).boxed()
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
        self.readiness.check().boxed()
    }

    fn prepare_next_check(&self) -> BoxFuture<'_, ()> {
        self.readiness.renew_connection().boxed()
    }

    fn has_served_since(&self, then: Instant) -> bool {
        self.last_success.is_after(then)
    }

    fn pool_status(&self) -> PoolStatus {
        self.pool.status()
    }

    fn close(&self) {
        self.pool.close();
    }
}
