//! The connection pool: deadpool, completed.
//!
//! deadpool has no minimum, no idle limit and no lifetime, and looks at a connection only when it
//! is taken again. Here one upkeep task does the first three, and a [`Lease`] looks at its
//! connection when it is given back.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{
    Manager, Metrics as ObjectMetrics, Object, PoolError, QueueMode, RecycleError, RecycleResult,
    Timeouts,
};
use diesel_async::pooled_connection::PoolableConnection;
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::StoreError;
use crate::telemetry::Metrics;

/// Opens connections to one database.
pub(super) trait Connect: Send + Sync + 'static {
    /// An open connection.
    type Connection: PoolableConnection + Send + 'static;

    /// Opens one more.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, StoreError>> + Send;
}

/// The limits of a pool.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) max_size: usize,
    pub(super) min_idle: usize,
    pub(super) acquire_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) max_lifetime: Duration,
}

/// How many connections a pool holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolStatus {
    /// Open and free.
    pub idle: usize,
    /// Open and at work.
    pub in_use: usize,
    /// The most there may be.
    pub max: usize,
}

pub(super) struct Pool<C: Connect> {
    inner: deadpool::managed::Pool<Keeper<C>>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl<C: Connect> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            limits: self.limits.clone(),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

impl<C: Connect> Pool<C> {
    /// An empty pool; nothing is opened yet.
    pub(super) fn new(
        connector: Arc<C>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let timeout = Some(limits.acquire_timeout);
        let keeper = Keeper {
            connector,
            max_lifetime: limits.max_lifetime,
            spare: parking_lot::Mutex::default(),
        };
        let inner = deadpool::managed::Pool::builder(keeper)
            .max_size(limits.max_size)
            .timeouts(Timeouts {
                wait: timeout,
                create: timeout,
                recycle: timeout,
            })
            // The connection used last is the one whose statements and caches are warm, and the
            // others can grow idle and be closed.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StoreError::Internal(error.to_string()))?;
        Ok(Self {
            inner,
            limits,
            metrics,
        })
    }

    /// A connection, after at most the acquire time-out (waiting and opening together).
    pub(super) async fn get(&self) -> Result<Lease<C>, StoreError> {
        let start = Instant::now();
        let got = tokio::time::timeout(self.limits.acquire_timeout, self.inner.get()).await;
        self.metrics
            .pool_acquire
            .observe(start.elapsed().as_secs_f64());
        match got {
            Ok(Ok(object)) => Ok(Lease(Some(object))),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => Err(StoreError::Unavailable(format!(
                "no connection within {:?}",
                self.limits.acquire_timeout
            ))),
            Ok(Err(other)) => Err(StoreError::Unavailable(other.to_string())),
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        let status = self.inner.status();
        // `size` is read apart from `available`, so it may lag behind for a moment.
        let idle = status.available.min(status.size);
        PoolStatus {
            idle,
            in_use: status.size - idle,
            max: status.max_size,
        }
    }

    /// Closes idle connections now and the others when they come back.
    pub(super) fn close(&self) {
        self.inner.close();
    }

    /// Keeps the pool within its limits until it is closed. Run by one task.
    pub(super) async fn upkeep(self) {
        let shortest = self.limits.idle_timeout.min(self.limits.max_lifetime);
        let pause = (shortest / 10).clamp(Duration::from_millis(50), Duration::from_secs(1));
        while !self.inner.is_closed() {
            self.retire();
            self.refill().await;
            tokio::time::sleep(pause).await;
        }
    }

    /// Closes idle connections that are too old, and those idle for too long above the minimum.
    fn retire(&self) {
        let now = Instant::now();
        let mut spare = self
            .inner
            .status()
            .size
            .saturating_sub(self.limits.min_idle);
        self.inner.retain(|connection, metrics| {
            let too_old = now >= connection.expires;
            let too_idle = spare > 0 && metrics.last_used() >= self.limits.idle_timeout;
            if too_old || too_idle {
                spare = spare.saturating_sub(1);
            }
            !(too_old || too_idle)
        });
    }

    /// Opens connections up to the minimum. They are opened beside the pool and put into it when
    /// they are there: nothing that requests could use is held while a slow one is being opened.
    async fn refill(&self) {
        let missing = self
            .limits
            .min_idle
            .saturating_sub(self.inner.status().size);
        let manager = self.inner.manager();
        let opened = join_all(
            (0..missing).map(|_| tokio::time::timeout(self.limits.acquire_timeout, manager.open())),
        );
        for result in opened.await {
            match result {
                Ok(Ok(kept)) => manager.spare.lock().push(kept),
                Ok(Err(error)) => log::debug!(error:%; "could not fill the connection pool"),
                Err(_) => log::debug!("could not fill the connection pool in time"),
            }
        }
        // deadpool takes a connection in only by opening it, and opens one only when none is idle.
        // So: take all there is without waiting, with a spare one the last, and give all back in
        // the same breath.
        let now = Timeouts {
            wait: Some(Duration::ZERO),
            ..self.inner.timeouts()
        };
        let mut taken = Vec::new();
        while !manager.spare.lock().is_empty() {
            match self.inner.timeout_get(&now).now_or_never() {
                Some(Ok(object)) => taken.push(object),
                // The pool is full or all in use: nobody misses a spare one.
                _ => manager.spare.lock().clear(),
            }
        }
    }
}

/// What deadpool asks to open and to check connections.
struct Keeper<C: Connect> {
    connector: Arc<C>,
    max_lifetime: Duration,
    /// Opened already, to be taken before a new one is opened.
    spare: parking_lot::Mutex<Vec<Kept<C::Connection>>>,
}

impl<C: Connect> Keeper<C> {
    async fn open(&self) -> Result<Kept<C::Connection>, StoreError> {
        let connection = self.connector.connect().await?;
        Ok(Kept {
            connection,
            expires: Instant::now() + jittered(self.max_lifetime),
        })
    }
}

/// A pooled connection and the time at which it is too old.
pub(super) struct Kept<T> {
    connection: T,
    expires: Instant,
}

impl<C: Connect> Manager for Keeper<C> {
    type Type = Kept<C::Connection>;
    type Error = StoreError;

    async fn create(&self) -> Result<Self::Type, StoreError> {
        // Not in the condition of an `if let`: the lock would be held while a new one is opened.
        let spare = self.spare.lock().pop();
        match spare {
            Some(kept) => Ok(kept),
            None => self.open().await,
        }
    }

    /// No `SELECT 1`: it would halve the throughput. A connection that broke since is found by its
    /// first statement.
    async fn recycle(&self, kept: &mut Self::Type, _: &ObjectMetrics) -> RecycleResult<StoreError> {
        if kept.connection.is_broken() {
            return Err(RecycleError::message("the connection is broken"));
        }
        if Instant::now() >= kept.expires {
            return Err(RecycleError::message("the connection is too old"));
        }
        Ok(())
    }
}

/// Up to a tenth less than `lifetime`, so that connections opened together do not close together.
fn jittered(lifetime: Duration) -> Duration {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    let thousandths = u32::try_from(random % 100).unwrap_or_default();
    lifetime - lifetime * thousandths / 1000
}

/// A connection on loan. Given back on drop; one that is broken or still inside a transaction is
/// closed instead, so that it holds no lock and nobody meets it again.
pub(super) struct Lease<C: Connect>(Option<Object<Keeper<C>>>);

impl<C: Connect> Lease<C> {
    /// Closes the connection instead of giving it back.
    pub(super) fn discard(mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

impl<C: Connect> Drop for Lease<C> {
    fn drop(&mut self) {
        if let Some(mut object) = self.0.take()
            && (std::thread::panicking() || object.connection.is_broken())
        {
            drop(Object::take(object));
        }
    }
}

impl<C: Connect> Deref for Lease<C> {
    type Target = C::Connection;

    #[expect(
        clippy::expect_used,
        reason = "only `discard` and `drop` take it, by value"
    )]
    fn deref(&self) -> &C::Connection {
        &self
            .0
            .as_ref()
            .expect("a lease holds a connection")
            .connection
    }
}

impl<C: Connect> DerefMut for Lease<C> {
    #[expect(
        clippy::expect_used,
        reason = "only `discard` and `drop` take it, by value"
    )]
    fn deref_mut(&mut self) -> &mut C::Connection {
        &mut self
            .0
            .as_mut()
            .expect("a lease holds a connection")
            .connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_off_at_most_a_tenth() {
        let lifetime = Duration::from_secs(1800);
        let seen: std::collections::HashSet<_> = (0..200).map(|_| jittered(lifetime)).collect();
        assert!(seen.len() > 10);
        assert!(
            seen.iter()
                .all(|j| *j <= lifetime && *j >= lifetime * 9 / 10)
        );
    }
}
