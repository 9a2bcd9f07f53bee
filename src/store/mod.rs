//! Where orders are kept: one method per use case, PostgreSQL and SQLite behind it.
//!
//! Every use case runs as a task of the main runtime and is only waited for here. A handler that
//! goes away (its client reset the connection, its time was over) leaves the task alone, so no
//! transaction is ever dropped half-way.

mod error;
mod migrate;
mod pool;
mod postgres;
mod readiness;
pub(crate) mod schema;
mod sqlite;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::{DatabaseKind, Settings};
use crate::domain::{NewOrder, Order};
use crate::telemetry::Metrics;
pub use error::StoreError;
pub use migrate::MigrateOptions;
pub use pool::PoolStatus;
use pool::{Limits, Pool};
use postgres::{PgConnector, Postgres};
pub use postgres::{check_postgres_url, describe_postgres_url};
use readiness::Probe;
pub use readiness::Readiness;
use sqlite::{Sqlite, SqliteConnector};

/// A page of orders, newest first.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery {
    /// The most orders of the page.
    pub limit: u32,
    /// The last order of the page before.
    pub starting_after: Option<Uuid>,
}

/// The way to one database: it opens connections, migrates and checks.
#[derive(Clone)]
pub struct Connector(Way);

#[derive(Clone)]
enum Way {
    Postgres(Arc<PgConnector>),
    Sqlite(Arc<SqliteConnector>),
}

impl Connector {
    /// The way to the database that the settings name. Opens nothing yet.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, StoreError> {
        let source = settings.database();
        let url = source.url().map_err(StoreError::Unavailable)?;
        let timeout = settings.statement_timeout;
        Ok(Self(match url.kind() {
            DatabaseKind::Postgres => Way::Postgres(Arc::new(PgConnector::new(source, timeout))),
            DatabaseKind::Sqlite => Way::Sqlite(Arc::new(SqliteConnector::new(&url, timeout)?)),
        }))
    }

    /// Which database it is.
    pub fn kind(&self) -> DatabaseKind {
        match self.0 {
            Way::Postgres(_) => DatabaseKind::Postgres,
            Way::Sqlite(_) => DatabaseKind::Sqlite,
        }
    }
}

#[derive(Clone)]
enum Database {
    Postgres(Postgres),
    Sqlite(Sqlite),
}

/// Where orders are kept. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    database: Database,
    connector: Connector,
    probe: Probe,
    runtime: Handle,
    tasks: TaskTracker,
    admission: Arc<Semaphore>,
    capacity: usize,
    metrics: Arc<Metrics>,
}

/// The name of the queue in front of the database, in the metrics.
pub(crate) const QUEUE: &str = "store";

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
        let capacity = settings.queue_capacity.get().min(Semaphore::MAX_PERMITS);
        let database = match &connector.0 {
            Way::Postgres(connector) => {
                let pool = Pool::new(Arc::clone(connector), limits, Arc::clone(&metrics))?;
                runtime.spawn(pool.clone().upkeep());
                Database::Postgres(Postgres::new(pool, Arc::clone(&metrics)))
            }
            Way::Sqlite(connector) => {
                let pool = Pool::new(Arc::clone(connector), limits, Arc::clone(&metrics))?;
                runtime.spawn(pool.clone().upkeep());
                Database::Sqlite(Sqlite::new(pool, Arc::clone(&metrics)))
            }
        };
        Ok(Self(Arc::new(Inner {
            database,
            connector,
            probe: Probe::new(),
            runtime,
            tasks: TaskTracker::new(),
            admission: Arc::new(Semaphore::new(capacity)),
            capacity,
            metrics,
        })))
    }

    /// Places an order.
    ///
    /// # Errors
    /// [`StoreError`]; unless it is `Overloaded`, the order may have been placed all the same.
    pub async fn create(&self, new: NewOrder) -> Result<Arc<Order>, StoreError> {
        self.run(|inner| async move {
            let order = Arc::new(new.place(Uuid::now_v7(), chrono::Utc::now()));
            match &inner.database {
                Database::Postgres(postgres) => postgres.create(Arc::clone(&order)).await?,
                Database::Sqlite(sqlite) => sqlite.create(Arc::clone(&order)).await?,
            }
            inner.metrics.orders_created.inc();
            Ok(order)
        })
        .await
    }

    /// The order with this id, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, id: Uuid) -> Result<Option<Order>, StoreError> {
        self.run(move |inner| async move {
            match &inner.database {
                Database::Postgres(postgres) => postgres.get(id).await,
                Database::Sqlite(sqlite) => sqlite.get(id).await,
            }
        })
        .await
    }

    /// A page of orders, newest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(&self, list: ListQuery) -> Result<Vec<Order>, StoreError> {
        self.run(move |inner| async move {
            match &inner.database {
                Database::Postgres(postgres) => postgres.list(list).await,
                Database::Sqlite(sqlite) => sqlite.list(list).await,
            }
        })
        .await
    }

    /// Whether requests would be served; at most a second old. Never queues behind requests.
    pub async fn readiness(&self) -> Readiness {
        let inner = Arc::clone(&self.0);
        // On the main runtime, like all database work: a probe that gives up leaves it alone.
        let check = self
            .0
            .runtime
            .spawn(async move { inner.probe.check(&inner.connector).await });
        check.await.unwrap_or(Readiness::DatabaseUnavailable)
    }

    /// How many connections are open.
    pub fn pool_status(&self) -> PoolStatus {
        match &self.0.database {
            Database::Postgres(postgres) => postgres.pool.status(),
            Database::Sqlite(sqlite) => sqlite.pool.status(),
        }
    }

    /// How many requests are in the store now, waiting or at work.
    pub fn queue_depth(&self) -> usize {
        self.0.capacity - self.0.admission.available_permits()
    }

    /// Waits until accepted work is done, at most `timeout`, then closes the connections.
    /// False when work was left over.
    pub async fn close(&self, timeout: Duration) -> bool {
        self.0.tasks.close();
        let done = tokio::time::timeout(timeout, self.0.tasks.wait()).await;
        match &self.0.database {
            Database::Postgres(postgres) => postgres.pool.close(),
            Database::Sqlite(sqlite) => sqlite.pool.close(),
        }
        done.is_ok()
    }

    /// Runs `work` as a task of the main runtime, if there is room for it.
    async fn run<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let Ok(room) = Arc::clone(&self.0.admission).try_acquire_owned() else {
            self.0.metrics.queue_rejected(QUEUE);
            return Err(StoreError::Overloaded);
        };
        let work = work(Arc::clone(&self.0));
        let task = async move {
            let result = work.await;
            drop(room);
            result
        };
        self.0
            .tasks
            .spawn_on(task, &self.0.runtime)
            .await
            // The task panicked; the panic hook has logged it.
            .map_err(|error| StoreError::Internal(error.to_string()))?
    }
}
