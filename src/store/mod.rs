//! Stores orders: one method per use case, on PostgreSQL or SQLite.
//!
//! All database work runs on the main runtime, and callers only wait for it. If a caller is dropped (its client
//! reset the connection, its deadline passed), the work still runs to its end, so that no transaction is abandoned
//! half-way. Every request passes [`admission`] first.

mod admission;
mod audit;
mod auth_context;
mod backend;
mod batches;
mod coalesce;
mod connector;
mod create;
mod cursor;
mod cursor_key;
mod database_url;
mod document;
mod erasure;
mod error;
mod event;
mod event_sql;
mod event_type;
mod export;
mod feed;
mod feed_signal;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod import;
mod list;
mod maintain;
mod migrate;
mod order_id;
mod order_key;
mod order_lines;
mod order_locks;
mod page_budget;
mod page_sql;
mod pool;
mod postgres;
mod queues;
mod readiness;
mod schema;
mod schema_state;
mod sqlite;
mod stages;
mod statement;
mod streams;
mod update;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::Settings;
use crate::domain::Caller;
pub use crate::domain::IfMatch;
use crate::shares::FairSemaphore;
use crate::telemetry::Metrics;
use admission::RequestKind;
pub(crate) use audit::AuditProgress;
use backend::{Backend, Environment};
pub use connector::Connector;
pub use create::{CreateOrder, CreateOutcome, Idempotency};
pub use cursor::{Cursor, InvalidCursor};
pub use database_url::{check_database_url, describe_database_url};
pub use document::Document;
pub use erasure::Erasure;
use erasure::ErasureWorker;
pub use error::{Cause, StoreError};
pub use event::{Event, EventPage, Feed, StreamEvent};
pub use export::{ExportPage, ExportPermit, OrderExport};
use feed::SharedFeed;
pub use feed::{FeedReader, NextEvents};
use feed_signal::FeedSignal;
pub use import::{ImportOutcome, ImportRow, OrderImport};
use list::PageForm;
pub use list::{CreatedRange, Direction, ListFilter, ListQuery, Page};
pub use maintain::{MaintainOptions, MaintainReport, Maintained};
pub use migrate::MigrateOptions;
pub use order_id::{has_time_of, imported_order_id};
use order_locks::OrderLocks;
use page_budget::PageBudget;
pub use page_budget::{PagePermit, WithPermit};
pub use pool::PoolStatus;
use queues::Queues;
pub use queues::Submitted;
pub use readiness::Readiness;
use readiness::ReadinessProbe;
use stages::measured;
use streams::OpenStreams;
pub use update::{UpdateOrder, UpdateOutcome};

/// The maximum number of pages in memory that are not yet response bodies: pages of the feed, of the events of an
/// order, and of lists other than the first page. Each may take 3 MiB: rows from the database, values, JSON.
const MAX_PAGES: u32 = 4;

/// Stores orders. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    readiness: ReadinessProbe,
    runtime: Handle,
    queues: Queues,
    order_locks: OrderLocks,
    /// The permit for updates of orders that are locked outside this process.
    locked_updates: Semaphore,
    /// Permits for updates, as many as there are connections for writes. Updates wait for them by principal, and for
    /// connections in the order in which they ask.
    updates: FairSemaphore,
    acquire_timeout: Duration,
    page_budget: PageBudget,
    /// Event streams and exports.
    streams: OpenStreams,
    /// Permits to read a page of an export.
    export_reads: FairSemaphore,
    feed_signal: FeedSignal,
    shared_feed: Arc<SharedFeed>,
    erasures: ErasureWorker,
    metrics: Arc<Metrics>,
}

impl Store {
    /// Creates a store on `connector`, whose work runs on `runtime`. Connections are opened in the background, so
    /// the database need not be available yet.
    ///
    /// # Errors
    /// When the pool cannot be set up.
    pub fn new(
        connector: Connector,
        settings: &Settings,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Result<Self, StoreError> {
        metrics.expect_db_errors(&StoreError::KINDS);
        let feed_signal = FeedSignal::new();
        let environment = Environment {
            settings,
            metrics: &metrics,
            feed_signal: &feed_signal,
            runtime: &runtime,
        };
        let backend = connector.driver().start(&environment)?;
        let prioritized = backend.prioritized();
        let queues = Queues::new(
            &prioritized,
            settings.queue_capacity.get(),
            &metrics,
            &feed_signal,
            &runtime,
        );
        let streams = OpenStreams::new(settings.max_streams.get());
        let shared_feed = SharedFeed::start(&backend, &prioritized, &environment, &streams);
        let erasures = ErasureWorker::start(&backend, &feed_signal, &metrics, &runtime);
        Ok(Self(Arc::new(Inner {
            readiness: ReadinessProbe::new(Arc::clone(&backend)),
            backend,
            runtime,
            queues,
            order_locks: OrderLocks::default(),
            locked_updates: Semaphore::new(1),
            acquire_timeout: settings.pool_acquire_timeout,
            updates: FairSemaphore::new(pool::connections_of_class(settings.pool_max_size.get())),
            page_budget: PageBudget::new(MAX_PAGES),
            streams,
            export_reads: export::reads(settings.pool_max_size.get()),
            feed_signal,
            shared_feed,
            erasures,
            metrics,
        })))
    }

    /// Creates an order, or finds the one that was created before with the same key.
    ///
    /// # Errors
    /// [`StoreError`]; unless it is `Overloaded` or `ShareExceeded`, the order may have been created anyway.
    pub async fn create(&self, command: CreateOrder) -> Result<CreateOutcome, StoreError> {
        self.0.queues.create(command).await
    }

    /// Creates several orders of one caller, each as [`Self::create`] does: all are submitted before this returns, and
    /// each of the futures has the outcome of one. The orders are created even if the futures are dropped.
    ///
    /// `rejected` is the number of orders of the same request that the caller keeps the problems of, meanwhile. They
    /// count as orders.
    ///
    /// # Errors
    /// [`StoreError`]; none of the orders is created then.
    pub fn create_all(
        &self,
        caller: &Caller,
        commands: Vec<CreateOrder>,
        rejected: usize,
    ) -> Result<
        Submitted<impl Future<Output = Result<CreateOutcome, StoreError>> + use<>>,
        StoreError,
    > {
        self.0.queues.create_all(caller, commands, rejected)
    }

    /// Returns the order with this id, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(
        &self,
        caller: &Arc<Caller>,
        id: Uuid,
    ) -> Result<Option<Document>, StoreError> {
        self.0.queues.get(caller, id).await
    }

    /// Returns a page of a list of orders.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &self,
        caller: &Arc<Caller>,
        query: ListQuery,
    ) -> Result<WithPermit<Page>, StoreError> {
        if query == ListQuery::FIRST_PAGE {
            return self.0.queues.first_page(caller).await;
        }
        let tenant = caller.tenant.clone();
        self.page(caller, query.limit, |inner| async move {
            inner.backend.list(tenant, query, PageForm::Array).await
        })
        .await
    }

    /// Returns a page of the orders with these ids, which must be unique, in their order. Unknown ids are left out.
    /// The page ends at the length of a page, and then has the id of its last order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list_by_id(
        &self,
        caller: &Arc<Caller>,
        ids: Vec<Uuid>,
    ) -> Result<WithPermit<Page>, StoreError> {
        let tenant = caller.tenant.clone();
        let entries = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        self.page(caller, entries, |inner| async move {
            inner.backend.list_by_id(tenant, ids).await
        })
        .await
    }

    /// Updates an order.
    ///
    /// # Errors
    /// [`StoreError`]; unless it is `Overloaded`, `ShareExceeded` or `LockTimeout`, the order may have been updated
    /// anyway.
    pub async fn update(&self, command: UpdateOrder) -> Result<UpdateOutcome, StoreError> {
        let command = Arc::new(command);
        let update = {
            let (command, inner) = (Arc::clone(&command), Arc::clone(&self.0));
            async move { inner.update(command).await }
        };
        // A task of the main runtime: the update continues if its caller is dropped.
        let task = self.admitted(&command.caller, RequestKind::Write, command.bytes(), update)?;
        self.0.runtime.spawn(task).await.map_err(panicked)?
    }

    /// Whether requests would be served. The result is at most a second old. Never queues behind requests.
    pub async fn readiness(&self) -> Readiness {
        let probe = self.0.readiness.clone();
        // On the main runtime, like all database work: the check continues if its caller is dropped.
        let check = self.0.runtime.spawn(async move { probe.check().await });
        check.await.unwrap_or(Readiness::DatabaseUnavailable)
    }

    /// How many connections are open.
    pub fn pool_status(&self) -> PoolStatus {
        self.0.backend.pool_status()
    }

    /// Waits at most `timeout` until accepted work is done, then closes the connections. Returns false if work was
    /// left.
    pub async fn close(&self, timeout: Duration) -> bool {
        let (done, ()) = tokio::join!(self.0.queues.close(timeout), self.0.erasures.stop(timeout));
        self.0.backend.close();
        done
    }

    /// Reads a page of at most `entries` orders or events, as a task of the main runtime.
    async fn page<T, F>(
        &self,
        caller: &Caller,
        entries: u32,
        read: impl FnOnce(Arc<Inner>) -> F,
    ) -> Result<WithPermit<T>, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let read = read(Arc::clone(&self.0));
        let task = self.admitted(caller, RequestKind::List, 0, read)?;
        let Inner {
            page_budget,
            runtime,
            ..
        } = &*self.0;
        page_budget
            .read_on(runtime, caller, entries, task.boxed())
            .await
    }

    /// Wraps `work` with a permit for a request with this many bytes of metadata, held until the work is done.
    fn admitted<T, F>(
        &self,
        caller: &Caller,
        kind: RequestKind,
        bytes: usize,
        work: F,
    ) -> Result<impl Future<Output = Result<T, StoreError>> + use<T, F>, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let permit = self.0.queues.other.acquire(caller, kind, bytes)?;
        let admitted = Instant::now();
        Ok(async move {
            let (result, spent) = measured(work).await;
            permit.record_times([spent.times(admitted, Instant::now())].into_iter());
            drop(permit);
            result
        })
    }
}

/// The error of a task that panicked. The panic hook has logged the panic.
fn panicked(error: JoinError) -> StoreError {
    StoreError::internal(error)
}
