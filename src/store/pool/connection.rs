//! What the pool needs from a database connection, and from the code that opens one.
//!
//! deadpool's own trait (`Manager`) covers neither a server with a limited number of connections nor a database
//! that moves. diesel-async's adapter for deadpool drops a broken connection while its server may still execute a
//! statement. Hence the two traits of this file.

use std::future::Future;

use diesel::SqliteConnection;
use diesel_async::pooled_connection::PoolableConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;

use super::ConnectionPermits;
use crate::store::StoreError;

/// Opens connections to one database.
pub(in crate::store) trait Connect: Send + Sync + 'static {
    /// An open connection.
    type Connection: Poolable;

    /// Opens a connection. Waits while the server has as many connections of this process as it may
    /// have.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, StoreError>> + Send;

    /// Opens a connection, or returns `None` if the server has as many connections of this process as
    /// it may have.
    fn try_connect(
        &self,
    ) -> impl Future<Output = Result<Option<Self::Connection>, StoreError>> + Send {
        async { self.connect().await.map(Some) }
    }

    /// Whether the settings now name another database than that of the most recent connection.
    fn has_moved(&self) -> bool {
        false
    }
}

/// A connection that the pool can hold.
pub(in crate::store) trait Poolable: Send + 'static {
    /// Whether the connection is closed, in the middle of a statement, or inside a transaction, and
    /// so must not be used again.
    fn is_broken(&mut self) -> bool;

    /// Closes the connection, and releases `permits` when the server has closed it as well.
    fn close(self, permits: Option<ConnectionPermits>);

    /// How often the database had moved when the connection was opened.
    fn generation(&self) -> u64 {
        0
    }

    /// Whether the server responds on the connection. The caller limits the wait.
    fn responds(&mut self) -> impl Future<Output = bool> + Send;
}

/// SQLite has no server: dropping the connection closes it.
impl Poolable for SyncConnectionWrapper<SqliteConnection> {
    fn is_broken(&mut self) -> bool {
        PoolableConnection::is_broken(self)
    }

    fn close(self, permits: Option<ConnectionPermits>) {
        drop(self);
        drop(permits);
    }

    async fn responds(&mut self) -> bool {
        true
    }
}
