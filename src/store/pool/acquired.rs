//! A connection that a caller has acquired from the pool.
//!
//! deadpool checks a connection when it is acquired, not when it is released. A broken connection, or one inside a
//! transaction, would stay in the pool, hold its locks, and count as idle. This type closes such a connection when
//! it is released.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use deadpool::managed::Object;
use tokio::sync::OwnedSemaphorePermit;

use super::manager::{self, ConnectionManager};
use super::pooled_connection::PooledConnection;
use super::{Connect, ConnectionPermits, Poolable as _};
use crate::concurrency::sleep;

/// How long a statement may continue after the database has moved.
const MOVE_GRACE_PERIOD: Duration = Duration::from_secs(1);

/// A connection in use. Dropping it releases it to the pool, or closes it if it is broken, in the middle
/// of a statement, or inside a transaction.
pub(in crate::store) struct AcquiredConnection<C: Connect> {
    /// Declared before the permits, so that it is dropped first.
    object: Option<Object<ConnectionManager<C>>>,
    _entry: Option<OwnedSemaphorePermit>,
    permits: ConnectionPermits,
}

impl<C: Connect> AcquiredConnection<C> {
    pub(super) fn new(
        object: Object<ConnectionManager<C>>,
        entry: Option<OwnedSemaphorePermit>,
        permits: ConnectionPermits,
    ) -> Self {
        Self {
            object: Some(object),
            _entry: entry,
            permits,
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "only `discard` and `drop` take the connection, and nothing can use it after them"
    )]
    fn pooled(&self) -> &PooledConnection<C::Connection> {
        self.object.as_ref().expect("the connection is not taken")
    }

    /// When the connection was opened.
    pub(in crate::store) fn opened(&self) -> Instant {
        self.pooled().opened
    }

    /// Waits until the database has moved since the connection was opened, and then for the time that a healthy
    /// server needs to finish a statement.
    pub(in crate::store) fn database_moved(&self) -> impl Future<Output = ()> + Send + use<C> {
        let opened = self.opened();
        let moves = self
            .object
            .as_ref()
            .and_then(Object::pool)
            .map(|pool| pool.manager().validity.subscribe_to_moves());
        async move {
            if let Some(mut moves) = moves
                && (moves.wait_for(|last| last.at.is_some_and(|at| at > opened)))
                    .await
                    .is_ok()
            {
                sleep(MOVE_GRACE_PERIOD).await;
            } else {
                std::future::pending().await
            }
        }
    }

    /// Closes the connection instead of releasing it. Its permits are released when the server has closed it
    /// as well: until then it may execute a statement.
    pub(in crate::store) fn discard(mut self) {
        self.close();
    }

    fn close(&mut self) {
        if let Some(object) = self.object.take() {
            manager::close(object, std::mem::take(&mut self.permits));
        }
    }
}

impl<C: Connect> Drop for AcquiredConnection<C> {
    fn drop(&mut self) {
        let broken = |object: &mut Object<ConnectionManager<C>>| {
            std::thread::panicking() || object.inner.is_broken()
        };
        if self.object.as_mut().is_some_and(broken) {
            self.close();
        }
    }
}

impl<C: Connect> Deref for AcquiredConnection<C> {
    type Target = C::Connection;

    fn deref(&self) -> &C::Connection {
        &self.pooled().inner
    }
}

impl<C: Connect> DerefMut for AcquiredConnection<C> {
    #[expect(
        clippy::expect_used,
        reason = "only `discard` and `drop` take the connection, and nothing can use it after them"
    )]
    fn deref_mut(&mut self) -> &mut C::Connection {
        let object = self.object.as_mut().expect("the connection is not taken");
        &mut object.inner
    }
}
