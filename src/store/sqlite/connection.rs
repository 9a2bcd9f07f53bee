//! A connection of the pool to an SQLite database.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use diesel::SqliteConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;

use super::connector::{DatabaseFile, FileIdentity};
use super::handle::Handle;
use crate::store::pool::{ConnectionPermits, Poolable};

/// A connection that the pool can hold.
pub(crate) struct PooledSqliteConnection {
    pub(super) inner: SyncConnectionWrapper<SqliteConnection>,
    pub(super) handle: Handle,
    /// The identity of the file that was opened.
    pub(super) identity: Option<FileIdentity>,
    pub(super) file: Arc<DatabaseFile>,
}

impl PooledSqliteConnection {
    /// Whether the file that was opened is still at its path. Writes to a file that was removed or
    /// replaced are lost.
    pub(super) fn is_current(&self) -> bool {
        self.file.path.is_none() || self.identity.is_some() && self.identity == self.file.identity()
    }

    pub(in crate::store) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(in crate::store) fn statement_timeout(&self) -> Duration {
        self.file.statement_timeout
    }
}

impl Poolable for PooledSqliteConnection {
    fn is_broken(&mut self) -> bool {
        Poolable::is_broken(&mut self.inner)
    }

    fn close(self, permits: Option<ConnectionPermits>) {
        self.inner.close(permits);
    }

    async fn responds(&mut self) -> bool {
        true
    }
}

impl Deref for PooledSqliteConnection {
    type Target = SyncConnectionWrapper<SqliteConnection>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for PooledSqliteConnection {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}
