//! The connection pool: deadpool, completed.
//!
//! deadpool has no minimum, no idle limit and no lifetime, and looks at a connection only when it
//! is taken again. Here one upkeep task does the first three, and a [`Lease`] looks at its
//! connection when it is given back.
//!
//! Whoever wants a connection first takes a turn, of which there are as many as connections. The few
//! that serve many at once do not ([`Pool::first_in_line`]): however many others wait, they wait for
//! turns, and not before them.

mod keeper;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{PoolError, QueueMode, Timeouts};
use diesel_async::pooled_connection::PoolableConnection;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::StoreError;
use crate::telemetry::Metrics;
pub(in crate::store) use keeper::Lease;
use keeper::{Keeper, Kept};

/// Opens connections to one database.
pub(in crate::store) trait Connect: Send + Sync + 'static {
    /// An open connection.
    type Connection: PoolableConnection + Send + 'static;

    /// Opens one more.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, StoreError>> + Send;
}

/// The limits of a pool.
#[derive(Clone, Debug)]
pub(in crate::store) struct Limits {
    pub(in crate::store) max_size: usize,
    pub(in crate::store) min_idle: usize,
    pub(in crate::store) acquire_timeout: Duration,
    pub(in crate::store) idle_timeout: Duration,
    pub(in crate::store) max_lifetime: Duration,
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

pub(in crate::store) struct Pool<C: Connect> {
    inner: deadpool::managed::Pool<Keeper<C>>,
    /// None for who is first in line.
    turns: Option<Arc<Semaphore>>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl<C: Connect> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            turns: self.turns.clone(),
            limits: self.limits.clone(),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

impl<C: Connect> Pool<C> {
    /// An empty pool; nothing is opened yet.
    pub(in crate::store) fn new(
        connector: Arc<C>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let timeout = Some(limits.acquire_timeout);
        let keeper = Keeper::new(connector, limits.max_lifetime);
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
            turns: Some(Arc::new(Semaphore::new(limits.max_size))),
            limits,
            metrics,
        })
    }

    /// The same pool for few that serve many: they get the next connection that is free.
    pub(in crate::store) fn first_in_line(&self) -> Self {
        Self {
            turns: None,
            ..self.clone()
        }
    }

    /// A connection, after at most the acquire time-out (waiting and opening together).
    pub(in crate::store) async fn get(&self) -> Result<Lease<C>, StoreError> {
        let start = Instant::now();
        let getting = async {
            let turn = match &self.turns {
                Some(turns) => Arc::clone(turns).acquire_owned().await.ok(),
                None => None,
            };
            self.inner
                .get()
                .await
                .map(|object| Lease::new(object, turn))
        };
        let got = tokio::time::timeout(self.limits.acquire_timeout, getting).await;
        self.metrics
            .pool_acquire
            .observe(start.elapsed().as_secs_f64());
        match got {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => Err(StoreError::Unavailable(format!(
                "no connection within {:?}",
                self.limits.acquire_timeout
            ))),
            Ok(Err(other)) => Err(StoreError::Unavailable(other.to_string())),
        }
    }

    /// Lets no connection that is open now be used again: all of them hold on to something that has
    /// changed in the database.
    pub(in crate::store) fn outdate(&self) {
        self.inner.manager().outdate();
    }

    pub(in crate::store) fn status(&self) -> PoolStatus {
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
    pub(in crate::store) fn close(&self) {
        self.inner.close();
    }

    /// Keeps the pool within its limits until it is closed. Run by one task.
    pub(in crate::store) async fn upkeep(self) {
        let shortest = self.limits.idle_timeout.min(self.limits.max_lifetime);
        let pause = (shortest / 10).clamp(Duration::from_millis(50), Duration::from_secs(1));
        while !self.inner.is_closed() {
            // None grows too old before the next look, nor while its successor is opened.
            self.look(Instant::now() + 2 * pause).await;
            tokio::time::sleep(pause).await;
        }
    }

    /// Replaces what will be too old by then, closes what is spare, and fills up to the minimum: in this
    /// order, so that the minimum holds meanwhile.
    async fn look(&self, until: Instant) {
        let opened = self.open_missing(until).await;
        self.retire(until);
        self.take_in(opened);
    }

    /// Opens what the minimum lacks when those that are too old by then are closed. They are opened beside the
    /// pool: nothing that requests could use is held while a slow one is being opened.
    async fn open_missing(&self, until: Instant) -> Vec<Kept<C::Connection>> {
        let mut too_old = 0;
        self.inner.retain(|kept, _| {
            too_old += usize::from(until >= kept.expires);
            true
        });
        let remaining = self.inner.status().size.saturating_sub(too_old);
        let missing = self.limits.min_idle.saturating_sub(remaining);
        let manager = self.inner.manager();
        let opening = join_all(
            (0..missing).map(|_| tokio::time::timeout(self.limits.acquire_timeout, manager.open())),
        );
        let mut opened = Vec::new();
        for result in opening.await {
            match result {
                Ok(Ok(kept)) => opened.push(kept),
                Ok(Err(error)) => log::debug!(error:%; "could not fill the connection pool"),
                Err(_) => log::debug!("could not fill the connection pool in time"),
            }
        }
        opened
    }

    /// Closes idle connections that are too old by then, and those idle for too long above the minimum.
    fn retire(&self, until: Instant) {
        let mut spare = self
            .inner
            .status()
            .size
            .saturating_sub(self.limits.min_idle);
        self.inner.retain(|kept, metrics| {
            let too_old = until >= kept.expires;
            let too_idle = spare > 0 && metrics.last_used() >= self.limits.idle_timeout;
            if too_old || too_idle {
                spare = spare.saturating_sub(1);
            }
            !(too_old || too_idle)
        });
    }

    /// Puts connections into the pool.
    ///
    /// deadpool takes a connection in only by opening it, and opens one only when none is idle. So:
    /// take all there is without waiting, with those the last, and give all back in the same breath.
    fn take_in(&self, opened: Vec<Kept<C::Connection>>) {
        let manager = self.inner.manager();
        manager.spare.lock().extend(opened);
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

#[cfg(test)]
mod tests;
