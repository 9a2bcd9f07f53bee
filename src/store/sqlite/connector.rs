//! Opens connections to an SQLite file, or to a database in the memory of this process.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::SqliteConnection;
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;

use super::connection::PooledSqliteConnection;
use super::file_check;
use super::handle::Handle;
use super::location::{Location, Mode};
use super::open::{OpenError, open};
use crate::config::DatabaseUrl;
use crate::store::StoreError;
use crate::store::pool::Connect;

/// Opens connections to one SQLite database.
pub(crate) struct SqliteConnector {
    file: Arc<DatabaseFile>,
    /// Keeps a database in memory alive, which otherwise ends with its last connection. Never used for statements.
    _anchor: Option<std::sync::Mutex<SqliteConnection>>,
}

/// How to open the database.
pub(super) struct DatabaseFile {
    /// `None` in memory.
    pub(super) path: Option<PathBuf>,
    /// The URI for the first connection, which may create the file.
    first_uri: String,
    /// The URI for all others: they must not replace a missing file with an empty one.
    next_uri: String,
    writable: bool,
    pub(super) statement_timeout: Duration,
    opened: AtomicBool,
}

/// What to do if the file does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MissingFile {
    /// Create it, unless the URL forbids that.
    Create,
    Reject,
}

/// The device and the inode of a file, which distinguish it from another one at the same path.
pub(super) type FileIdentity = (u64, u64);

impl DatabaseFile {
    fn open(&self) -> Result<(SqliteConnection, Handle), OpenError> {
        let uri = if self.opened.load(Ordering::Relaxed) {
            &self.next_uri
        } else {
            &self.first_uri
        };
        let opened = open(uri, self.writable, self.statement_timeout)?;
        self.opened.store(true, Ordering::Relaxed);
        Ok(opened)
    }

    /// The identity of the file that is at the path now.
    pub(super) fn identity(&self) -> Option<FileIdentity> {
        let found = self.path.as_ref()?.metadata().ok()?;
        Some((found.dev(), found.ino()))
    }
}

impl SqliteConnector {
    pub(crate) fn new(
        url: &DatabaseUrl,
        statement_timeout: Duration,
        missing: MissingFile,
    ) -> Result<Self, StoreError> {
        Ok(Self::open(url, statement_timeout, missing)?)
    }

    fn open(
        url: &DatabaseUrl,
        statement_timeout: Duration,
        missing: MissingFile,
    ) -> Result<Self, OpenError> {
        let location = Location::parse(url)?;
        let location = match missing {
            MissingFile::Create => location,
            MissingFile::Reject => location.existing(),
        };
        let first_uri = location.to_string();
        if let Location::File { path, mode } = location {
            file_check::check(&path, mode)?;
            let next = Location::File {
                path: path.clone(),
                mode,
            };
            let file = DatabaseFile {
                path: Some(path),
                first_uri,
                next_uri: next.existing().to_string(),
                writable: mode != Mode::Read,
                statement_timeout,
                opened: AtomicBool::new(false),
            };
            return Ok(Self {
                file: Arc::new(file),
                _anchor: None,
            });
        }
        // The `memdb` VFS shares a named database among the connections of a process, with the
        // locks of a file (SQLite source, `src/memdb.c`). With `:memory:`, each connection would have
        // its own database.
        let uri = format!("file:/{}?vfs=memdb", uuid::Uuid::new_v4());
        let (anchor, _) = open(&uri, true, statement_timeout)?;
        let file = DatabaseFile {
            path: None,
            first_uri: uri.clone(),
            next_uri: uri,
            writable: true,
            statement_timeout,
            opened: AtomicBool::new(true),
        };
        Ok(Self {
            file: Arc::new(file),
            _anchor: Some(std::sync::Mutex::new(anchor)),
        })
    }

    /// The path of the file. `None` for a database in memory.
    pub(super) fn path(&self) -> Option<&Path> {
        self.file.path.as_deref()
    }

    /// How long a statement may take.
    pub(super) fn statement_timeout(&self) -> Duration {
        self.file.statement_timeout
    }

    /// Opens a connection on the current thread, which may block.
    pub(crate) fn connect_blocking(&self) -> Result<SqliteConnection, StoreError> {
        let (connection, _) = self.connect_with_handle()?;
        Ok(connection)
    }

    /// Like [`Self::connect_blocking`], with the handle that gives the result codes of errors.
    pub(super) fn connect_with_handle(&self) -> Result<(SqliteConnection, Handle), StoreError> {
        Ok(self.file.open()?)
    }

    /// The identity of the file that is at the path now; `None` in memory.
    pub(super) fn identity(&self) -> Option<FileIdentity> {
        self.file.identity()
    }
}

impl Connect for SqliteConnector {
    type Connection = PooledSqliteConnection;

    async fn connect(&self) -> Result<Self::Connection, StoreError> {
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || {
            let (connection, handle) = file.open()?;
            Ok(PooledSqliteConnection {
                inner: SyncConnectionWrapper::new(connection),
                handle,
                identity: file.identity(),
                file,
            })
        })
        .await
        .map_err(StoreError::internal)?
    }
}
