//! Adapts the pool's connections to deadpool: its [`Manager`].
//!
//! deadpool adds a connection to the pool only through [`Manager::create`], and drops a connection that fails
//! its check ([`Manager::recycle`]), while the server may still execute a statement. So `create` also
//! accepts connections that were opened before, and the check is made outside deadpool ([`Validity`]),
//! which leaves the close to [`Poolable::close`](super::Poolable::close).

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{Manager, Metrics as ObjectMetrics, Object, RecycleResult};

use super::pooled_connection::PooledConnection;
use super::validity::Validity;
use super::{Connect, ConnectionPermits, Poolable as _};
use crate::concurrency::Mutex;
use crate::store::StoreError;

/// Opens connections for deadpool.
pub(super) struct ConnectionManager<C: Connect> {
    connector: Arc<C>,
    max_lifetime: Duration,
    pub(super) validity: Validity,
    /// Connections that [`Manager::create`] returns instead of opening one.
    pub(super) spares: Mutex<Vec<PooledConnection<C::Connection>>>,
}

impl<C: Connect> ConnectionManager<C> {
    pub(super) fn new(connector: Arc<C>, max_lifetime: Duration) -> Self {
        Self {
            connector,
            max_lifetime,
            validity: Validity::default(),
            spares: Mutex::default(),
        }
    }

    async fn open(&self) -> Result<PooledConnection<C::Connection>, StoreError> {
        let connection = self.connector.connect().await?;
        Ok(self.pooled(connection))
    }

    /// Opens a connection, or returns `None` if the server has as many as it may have.
    pub(super) async fn try_open(
        &self,
    ) -> Result<Option<PooledConnection<C::Connection>>, StoreError> {
        let opened = self.connector.try_connect().await?;
        Ok(opened.map(|connection| self.pooled(connection)))
    }

    fn pooled(&self, connection: C::Connection) -> PooledConnection<C::Connection> {
        // Before the connection gets its time, so that it is not invalidated itself.
        self.validity.observe_generation(connection.generation());
        PooledConnection::new(connection, self.max_lifetime)
    }

    pub(super) fn has_moved(&self) -> bool {
        self.connector.has_moved()
    }
}

impl<C: Connect> Manager for ConnectionManager<C> {
    type Type = PooledConnection<C::Connection>;
    type Error = StoreError;

    async fn create(&self) -> Result<Self::Type, StoreError> {
        // In the condition of an `if let`, the lock would be held until the new connection is open.
        let spare = self.spares.lock().pop();
        match spare {
            Some(pooled) => Ok(pooled),
            // Boxed, because it is large and rare. Otherwise each statement would reserve space for it, and the
            // box that the backend makes of the statement's future would copy that space.
            None => Box::pin(self.open()).await,
        }
    }

    async fn recycle(&self, _: &mut Self::Type, _: &ObjectMetrics) -> RecycleResult<StoreError> {
        Ok(())
    }
}

/// Takes a connection out of the pool and closes it.
pub(super) fn close<C: Connect>(object: Object<ConnectionManager<C>>, permits: ConnectionPermits) {
    Object::take(object).close(permits);
}
