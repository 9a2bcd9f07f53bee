//! The task that keeps a pool within its limits.
//!
//! deadpool opens a connection only when one is acquired and none is idle, and never closes one by itself. So it
//! has no minimum, no idle limit, and no replacement of old connections before a request gets one. This task
//! does all three, and connects to the new database when the settings name another one.

use std::time::{Duration, Instant};

use deadpool::managed::Timeouts;
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::pooled_connection::PooledConnection;
use super::{Connect, ConnectionPermits, Pool};
use crate::concurrency::{sleep, timeout};
use crate::store::StoreError;

/// Connections that were opened to reach the minimum.
struct Opened<T> {
    connections: Vec<PooledConnection<T>>,
    /// Whether the pool or the server did not permit all of them.
    limited: bool,
}

impl<C: Connect> Pool<C> {
    /// Keeps the pool within its limits until it is closed. One task runs this.
    pub(in crate::store) async fn run_maintenance(self) {
        let shortest = self.limits.idle_timeout.min(self.limits.max_lifetime);
        let pause = (shortest / 10).clamp(Duration::from_millis(50), Duration::from_secs(1));
        while !self.inner.is_closed() {
            self.follow_move().await;
            // No connection expires before the next pass, or while that pass opens its successor.
            self.maintain(Instant::now() + 2 * pause).await;
            sleep(pause).await;
        }
    }

    /// Opens a connection to the database that the settings name now, if it is another one. Success invalidates
    /// the connections to the old database. After a failure they remain in use.
    async fn follow_move(&self) {
        let manager = self.inner.manager();
        if manager.has_moved() {
            let limit = self.limits.acquire_timeout;
            // Without a permit of the pool, because connections to the old database may hold all of them.
            match timeout(limit, manager.try_open()).await {
                Ok(Ok(opened)) => self.adopt(opened.into_iter().collect()),
                Ok(Err(error)) => log::warn!(error:%; "cannot connect to the new database"),
                Err(_) => log::warn!("the new database does not respond"),
            }
        }
    }

    /// Replaces the connections that expire before `until`, closes those above the minimum that are idle for too
    /// long, and opens the connections that the minimum lacks.
    ///
    /// It opens before it closes, so that the minimum holds throughout. If the server permits no more
    /// connections, it closes first.
    pub(in crate::store) async fn maintain(&self, until: Instant) {
        let opened = self.open_missing(until).await;
        self.close_excess(until);
        self.adopt(opened.connections);
        if opened.limited {
            let opened = self.open_missing(until).await;
            self.adopt(opened.connections);
        }
    }

    /// Opens the connections that the minimum will lack when those that expire before `until` are
    /// closed. They are opened outside the pool, so that a slow one blocks no request.
    async fn open_missing(&self, until: Instant) -> Opened<C::Connection> {
        let mut expiring = 0;
        self.inner.retain(|pooled, _| {
            expiring += usize::from(until >= pooled.expires);
            true
        });
        let remaining = self.inner.status().size.saturating_sub(expiring);
        let missing = self.limits.min_idle.saturating_sub(remaining);
        let limit = self.limits.acquire_timeout;
        let opening = (0..missing).map(|_| timeout(limit, self.try_open()));
        let (mut connections, mut limited) = (Vec::new(), false);
        for result in join_all(opening).await {
            match result {
                Ok(Ok(Some(pooled))) => connections.push(pooled),
                Ok(Ok(None)) => limited = true,
                Ok(Err(error)) => log::debug!(error:%; "could not fill the connection pool"),
                Err(_) => log::debug!("could not fill the connection pool in time"),
            }
        }
        Opened {
            connections,
            limited,
        }
    }

    /// Opens a connection if the pool and the server permit another one.
    async fn try_open(&self) -> Result<Option<PooledConnection<C::Connection>>, StoreError> {
        let Some(_permit) = self.permits.try_pool() else {
            return Ok(None);
        };
        self.inner.manager().try_open().await
    }

    /// Closes the idle connections that expire before `until`, and those above the minimum that are
    /// idle for too long.
    fn close_excess(&self, until: Instant) {
        let size = self.inner.status().size;
        let mut excess = size.saturating_sub(self.limits.min_idle);
        let result = self.inner.retain(|pooled, metrics| {
            let expires = until >= pooled.expires;
            let too_idle = excess > 0 && metrics.last_used() >= self.limits.idle_timeout;
            if expires || too_idle {
                excess = excess.saturating_sub(1);
            }
            !(expires || too_idle)
        });
        for pooled in result.removed {
            pooled.close(ConnectionPermits::new(None, self.permits.try_pool()));
        }
    }

    /// Adds connections to the pool.
    ///
    /// deadpool has no insert: drain the idle connections, let `create` pop the spares, return all. There is no
    /// await point in between, and dropping `taken` returns them.
    fn adopt(&self, opened: Vec<PooledConnection<C::Connection>>) {
        let manager = self.inner.manager();
        manager.spares.lock().extend(opened);
        let without_waiting = Timeouts {
            wait: Some(Duration::ZERO),
            ..self.inner.timeouts()
        };
        let mut taken = Vec::new();
        while !manager.spares.lock().is_empty() {
            match self.inner.timeout_get(&without_waiting).now_or_never() {
                Some(Ok(object)) => taken.push(object),
                // The pool is full, or all its connections are in use: it needs no spare.
                _ => manager.spares.lock().clear(),
            }
        }
    }
}
