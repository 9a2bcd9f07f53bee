//! The connection pool: deadpool, and what deadpool 0.13 lacks.
//!
//! deadpool opens connections on demand up to a maximum, keeps idle ones, and checks a connection only when
//! it is acquired. By design it has no background task. Each file here adds one part:
//!
//! | file | adds |
//! |---|---|
//! | `connection.rs` | adapts Diesel's connections: the traits that the pool needs |
//! | `manager.rs` | adapts the pool to deadpool |
//! | `pooled_connection.rs` | a maximum lifetime with jitter |
//! | `validity.rs` | invalidation of all connections, and a liveness check when there is a doubt |
//! | `acquired.rs` | a check when a connection is released |
//! | `permits.rs` | separate limits for reads and writes, and a priority |
//! | `maintenance.rs` | a minimum, an idle limit and timely replacement, by a background task |

mod acquired;
mod connection;
mod maintenance;
mod manager;
mod permits;
mod pooled_connection;
mod validity;

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{PoolError, QueueMode, Timeouts};

use super::StoreError;
use super::stages::spent_in_pool;
use crate::concurrency::timeout;
use crate::telemetry::Metrics;
pub(in crate::store) use acquired::AcquiredConnection;
pub(in crate::store) use connection::{Connect, Poolable};
use manager::ConnectionManager;
use permits::PoolPermits;
pub(in crate::store) use permits::{Class, ConnectionPermits, connections_of_class};
pub(in crate::store) use pooled_connection::jitter;
use validity::Validity;

/// The limits of a pool.
#[derive(Clone, Debug)]
pub(in crate::store) struct Limits {
    pub(in crate::store) max_size: usize,
    pub(in crate::store) min_idle: usize,
    /// Covers waiting and opening together.
    pub(in crate::store) acquire_timeout: Duration,
    pub(in crate::store) idle_timeout: Duration,
    /// Jitter shortens the lifetime of each connection by up to a tenth.
    pub(in crate::store) max_lifetime: Duration,
}

/// The number of connections in a pool.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolStatus {
    /// Open connections that are not in use.
    pub idle: usize,
    /// Open connections that are in use.
    pub in_use: usize,
    /// The maximum number of open connections.
    pub max: usize,
}

/// A pool of connections to one database.
pub(in crate::store) struct Pool<C: Connect> {
    inner: deadpool::managed::Pool<ConnectionManager<C>>,
    permits: Arc<PoolPermits>,
    has_priority: bool,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl<C: Connect> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            permits: Arc::clone(&self.permits),
            has_priority: self.has_priority,
            limits: self.limits.clone(),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

impl<C: Connect> Pool<C> {
    /// Creates a pool without connections. [`Self::run_maintenance`] opens the minimum.
    pub(in crate::store) fn new(
        connector: Arc<C>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let acquire_timeout = Some(limits.acquire_timeout);
        let manager = ConnectionManager::new(connector, limits.max_lifetime);
        let inner = deadpool::managed::Pool::builder(manager)
            .max_size(limits.max_size)
            .timeouts(Timeouts {
                wait: acquire_timeout,
                create: acquire_timeout,
                recycle: acquire_timeout,
            })
            // The most recently used connection has warm statements and caches, and the others can
            // reach the idle limit.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(StoreError::internal)?;
        Ok(Self {
            inner,
            permits: Arc::new(PoolPermits::new(limits.max_size)),
            has_priority: false,
            limits,
            metrics,
        })
    }

    /// Returns the same pool for the few tasks that serve many requests each. They get the next connection that
    /// becomes free; see [`PoolPermits::entry`].
    pub(in crate::store) fn with_priority(&self) -> Self {
        Self {
            has_priority: true,
            ..self.clone()
        }
    }

    /// Acquires a connection that is fit for use.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] after the acquire timeout, which covers waiting and opening together,
    /// and the error of opening a connection.
    pub(in crate::store) async fn acquire(
        &self,
        class: Class,
    ) -> Result<AcquiredConnection<C>, StoreError> {
        let start = Instant::now();
        let acquired = timeout(self.limits.acquire_timeout, self.acquire_usable(class)).await;
        let waited = start.elapsed();
        self.metrics.pool_acquire.observe(waited.as_secs_f64());
        spent_in_pool(waited);
        match acquired {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => Err(StoreError::unavailable(format!(
                "no connection within {:?}",
                self.limits.acquire_timeout
            ))),
            Ok(Err(other)) => Err(StoreError::unavailable(other.to_string())),
        }
    }

    async fn acquire_usable(
        &self,
        class: Class,
    ) -> Result<AcquiredConnection<C>, PoolError<StoreError>> {
        let entry = if self.has_priority {
            None
        } else {
            self.permits.waiting_permit(class).await
        };
        let class_permit = self.permits.class(class).await;
        loop {
            let pool_permit = self.permits.pool().await;
            let mut object = self.inner.get().await?;
            if self.validity().is_usable(&mut object).await {
                let permits = ConnectionPermits::new(class_permit, pool_permit);
                return Ok(AcquiredConnection::new(object, entry, permits));
            }
            manager::close(object, ConnectionPermits::new(None, pool_permit));
        }
    }

    fn validity(&self) -> &Validity {
        &self.inner.manager().validity
    }

    /// Prevents reuse of all connections that are open now, because something that their sessions
    /// have cached has changed in the database.
    pub(in crate::store) fn invalidate(&self) {
        self.validity().invalidate();
    }

    /// Requires a liveness check of each connection that is open now before its reuse, because the
    /// server did not respond on one of them.
    pub(in crate::store) fn require_liveness_check(&self) {
        self.validity().require_liveness_check();
    }

    pub(in crate::store) fn status(&self) -> PoolStatus {
        let status = self.inner.status();
        // deadpool reads `size` and `available` one after the other, so they can differ for a moment.
        let idle = status.available.min(status.size);
        PoolStatus {
            idle,
            in_use: status.size - idle,
            max: status.max_size,
        }
    }

    /// Closes the idle connections now and the others when they are released.
    pub(in crate::store) fn close(&self) {
        self.inner.close();
    }
}

#[cfg(test)]
mod tests;
