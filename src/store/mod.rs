//! Where orders are kept: one method per use case, PostgreSQL and SQLite behind it.
//!
//! All database work runs on the main runtime and is only waited for here. A handler that goes away
//! (its client reset the connection, its time was over) leaves the work alone, so no transaction is
//! ever dropped half-way. Every request passes [`admission`] first.

mod admission;
mod coalesce;
mod connector;
mod cursor;
mod database_url;
mod error;
mod event;
mod feed;
mod feed_signal;
mod migrate;
mod model;
mod order_locks;
mod page_room;
mod page_sql;
mod pool;
mod postgres;
mod queues;
mod read;
mod readiness;
pub(crate) mod schema;
mod schema_state;
mod sqlite;
mod update;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::config::Settings;
pub use crate::domain::IfMatch;
use crate::telemetry::Metrics;
pub use connector::Connector;
use connector::Way;
pub use cursor::{Cursor, InvalidCursor};
pub use database_url::{check_database_url, describe_database_url};
pub use error::StoreError;
pub use event::{Event, EventPage, Feed};
use feed::Following;
pub use feed::{FeedReader, Look};
use feed_signal::FeedSignal;
pub use migrate::MigrateOptions;
pub use model::{
    CreateOrder, CreateOutcome, Document, Idempotency, ListFilter, ListQuery, Page, UpdateOrder,
    UpdateOutcome,
};
use order_locks::OrderLocks;
use page_room::PageRooms;
pub use page_room::{Held, PageRoom};
pub use pool::PoolStatus;
use pool::{Limits, Pool};
use postgres::Postgres;
use queues::Queues;
use read::Reader as _;
pub use readiness::Readiness;
use readiness::{Probe, Target};
use sqlite::Sqlite;

#[derive(Clone)]
enum Database {
    Postgres(Postgres),
    Sqlite(Sqlite),
}

/// Runs the same method on whichever database it is.
macro_rules! on {
    ($database:expr, $method:ident($($argument:expr),*)) => {
        match $database {
            Database::Postgres(postgres) => postgres.$method($($argument),*).await,
            Database::Sqlite(sqlite) => sqlite.$method($($argument),*).await,
        }
    };
}

/// The most pages in memory, of the feed, of the events of an order, and of lists but the first page,
/// before they are bodies of responses. Each may be 3 MiB: what came from the database, its values, its
/// JSON.
const MAX_PAGES: u32 = 4;

/// Where orders are kept. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    database: Database,
    probe: Probe,
    runtime: Handle,
    queues: Queues,
    order_locks: OrderLocks,
    /// For changes of orders that are locked outside this process.
    locked_changes: Semaphore,
    page_rooms: PageRooms,
    wake: FeedSignal,
    following: Arc<Following>,
}

impl Store {
    /// A store on `connector`, whose work runs on `runtime`. Opens connections in the background:
    /// a database that is down now may be up later.
    ///
    /// # Errors
    /// When the pool cannot be set up.
    pub fn new(
        connector: Connector,
        settings: &Settings,
        metrics: Arc<Metrics>,
        runtime: Handle,
    ) -> Result<Self, StoreError> {
        let limits = Limits {
            max_size: settings.pool_max_size.get(),
            min_idle: settings.pool_min_idle(),
            acquire_timeout: settings.pool_acquire_timeout,
            idle_timeout: settings.pool_idle_timeout,
            max_lifetime: settings.pool_max_lifetime,
        };
        metrics.expect_db_errors(&StoreError::KINDS);
        let wake = FeedSignal::new();
        let (database, probe) = match connector.way() {
            Way::Postgres(connector) => {
                let pool = Pool::new(Arc::clone(connector), limits, Arc::clone(&metrics))?;
                runtime.spawn(pool.clone().upkeep());
                let listen = postgres::listen(
                    Arc::clone(connector),
                    wake.clone(),
                    settings.pool_max_lifetime,
                );
                runtime.spawn(listen);
                let postgres =
                    Postgres::new(pool, settings.statement_timeout, Arc::clone(&metrics));
                let probe = Probe::new(Target::Postgres {
                    connector: Arc::clone(connector),
                    pool: postgres.pool.clone(),
                    served: postgres.served(),
                });
                (Database::Postgres(postgres), probe)
            }
            Way::Sqlite(connector) => {
                let pool = Pool::new(Arc::clone(connector), limits, Arc::clone(&metrics))?;
                runtime.spawn(pool.clone().upkeep());
                let sqlite = Sqlite::new(pool, Arc::clone(&metrics));
                let probe = Probe::new(Target::Sqlite(Arc::clone(connector)));
                (Database::Sqlite(sqlite), probe)
            }
        };
        let queues = Queues::new(
            &database,
            settings.queue_capacity.get(),
            &metrics,
            &wake,
            &runtime,
        );
        let following = Following::start(&database, settings, &wake, &metrics, &runtime);
        Ok(Self(Arc::new(Inner {
            database,
            probe,
            runtime,
            queues,
            order_locks: OrderLocks::default(),
            locked_changes: Semaphore::new(1),
            page_rooms: PageRooms::new(MAX_PAGES),
            wake,
            following,
        })))
    }

    /// Places an order, or finds the one that was placed before with the same key.
    ///
    /// # Errors
    /// [`StoreError`]; unless it is `Overloaded`, the order may have been placed all the same.
    pub async fn create(&self, command: CreateOrder) -> Result<CreateOutcome, StoreError> {
        self.0.queues.create(command).await
    }

    /// The order with this id, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, id: Uuid) -> Result<Option<Document>, StoreError> {
        self.0.queues.get(id).await
    }

    /// A page of orders, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, list: ListQuery) -> Result<Held<Page>, StoreError> {
        if list == ListQuery::FIRST_PAGE {
            return self.0.queues.first_page().await;
        }
        self.page(list.limit, |inner| async move {
            on!(&inner.database, list(list))
        })
        .await
    }

    /// Changes an order.
    ///
    /// # Errors
    /// [`StoreError`]; unless it is `Overloaded` or `LockTimeout`, the order may have been changed all the
    /// same.
    pub async fn update(&self, command: UpdateOrder) -> Result<UpdateOutcome, StoreError> {
        let bytes = command.bytes();
        let command = Arc::new(command);
        self.run(bytes, |inner| async move { inner.update(command).await })
            .await
    }

    /// Whether requests would be served; at most a second old. Never queues behind requests.
    pub async fn readiness(&self) -> Readiness {
        let inner = Arc::clone(&self.0);
        // On the main runtime, like all database work: a probe that gives up leaves it alone.
        let check = self
            .0
            .runtime
            .spawn(async move { inner.probe.check().await });
        check.await.unwrap_or(Readiness::DatabaseUnavailable)
    }

    /// How many connections are open.
    pub fn pool_status(&self) -> PoolStatus {
        match &self.0.database {
            Database::Postgres(postgres) => postgres.pool.status(),
            Database::Sqlite(sqlite) => sqlite.pool.status(),
        }
    }

    /// Waits until accepted work is done, at most `timeout`, then closes the connections.
    /// False when work was left over.
    pub async fn close(&self, timeout: Duration) -> bool {
        let done = self.0.queues.close(timeout).await;
        match &self.0.database {
            Database::Postgres(postgres) => postgres.pool.close(),
            Database::Sqlite(sqlite) => sqlite.pool.close(),
        }
        done
    }

    /// Runs `work` as a task of the main runtime, if there is room for it and the bytes it brings.
    async fn run<T, F>(
        &self,
        bytes: usize,
        work: impl FnOnce(Arc<Inner>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let task = self.admitted(bytes, work(Arc::clone(&self.0)))?;
        self.0.runtime.spawn(task).await.map_err(panicked)?
    }

    /// Reads a page of at most `entries` orders or events as [`Self::run`] does, with its room.
    async fn page<T, F>(
        &self,
        entries: u32,
        read: impl FnOnce(Arc<Inner>) -> F,
    ) -> Result<Held<T>, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let task = self.admitted(0, read(Arc::clone(&self.0)))?;
        let Inner {
            page_rooms,
            runtime,
            ..
        } = &*self.0;
        page_rooms.read_on(runtime, entries, task.boxed()).await
    }

    /// `work` with a place in the store for the bytes it brings, until it is done.
    fn admitted<T, F>(
        &self,
        bytes: usize,
        work: F,
    ) -> Result<impl Future<Output = Result<T, StoreError>> + use<T, F>, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let ticket = self.0.queues.other.enter(bytes)?;
        Ok(async move {
            let result = work.await;
            drop(ticket);
            result
        })
    }
}

/// A task panicked; the panic hook has logged it.
fn panicked(error: JoinError) -> StoreError {
    StoreError::Internal(error.to_string())
}

/// Between two attempts to change an order that is locked outside this process.
const LOCKED_PAUSE: Duration = Duration::from_millis(100);

impl Inner {
    async fn update(&self, command: Arc<UpdateOrder>) -> Result<UpdateOutcome, StoreError> {
        let _lock = self.order_locks.lock(command.id, command.deadline).await?;
        let mut outcome = on!(&self.database, update(&command, &self.queues.other));
        while outcome.as_ref().err() == Some(&StoreError::LockTimeout)
            && Instant::now() < command.deadline
        {
            // The order is locked outside this process. Changes that wait for such a lock take one
            // connection together, and none while they pause.
            sleep(LOCKED_PAUSE).await;
            let _turn = self.locked_changes.acquire().await;
            outcome = on!(&self.database, update(&command, &self.queues.other));
        }
        let outcome = outcome?;
        if outcome.written {
            self.wake.ring();
        }
        Ok(outcome.changed)
    }
}
