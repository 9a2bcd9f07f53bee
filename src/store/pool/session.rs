//! What the pool needs of a connection.

use std::future::Future;

use diesel::SqliteConnection;
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use tokio::sync::OwnedSemaphorePermit;

/// Held until a connection is closed for good.
pub(in crate::store) struct Held {
    _share: Option<OwnedSemaphorePermit>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Held {
    pub(super) fn new(
        share: Option<OwnedSemaphorePermit>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            _share: share,
            _place: place,
        }
    }
}

/// An open connection to a database.
pub(in crate::store) trait Session: Send + 'static {
    /// Whether it must not be used again: it is closed, in the middle of a statement, or inside a
    /// transaction.
    fn is_broken(&mut self) -> bool;

    /// Closes it. `held` is given back when the server has closed it as well.
    fn close(self, held: Option<Held>);

    /// How often the database had been moved when it was opened.
    fn generation(&self) -> u64 {
        0
    }

    /// Whether the server answers on it; never, if it says nothing.
    fn answers(&mut self) -> impl Future<Output = bool> + Send;
}

/// SQLite has no server: what is dropped is closed.
impl Session for SyncConnectionWrapper<SqliteConnection> {
    fn is_broken(&mut self) -> bool {
        PoolableConnection::is_broken(self)
    }

    fn close(self, held: Option<Held>) {
        drop(self);
        drop(held);
    }

    async fn answers(&mut self) -> bool {
        true
    }
}
