//! Opens connections to an SQLite file, or to a database in this process's memory.

use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, SqliteConnection};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;

use super::handle::Handle;
use super::location::{Location, Mode};
use crate::config::DatabaseUrl;
use crate::store::StoreError;
use crate::store::pool::{Connect, Held, Session};

/// Opens connections to one SQLite database.
pub(crate) struct SqliteConnector {
    file: Arc<DatabaseFile>,
    /// A database in memory lives as long as a connection to it. This one is never used.
    _anchor: Option<std::sync::Mutex<SqliteConnection>>,
}

/// Where the database is.
struct DatabaseFile {
    /// None in memory.
    path: Option<PathBuf>,
    /// For the first connection, which may make the file.
    first: String,
    /// For all others: a file that is gone must not be made anew, empty.
    other: String,
    /// Whether it may be changed.
    writes: bool,
    statement_timeout: Duration,
    opened: AtomicBool,
}

/// What tells one file from another under the same path: its device and its inode.
type Identity = (u64, u64);

impl DatabaseFile {
    fn open(&self) -> Result<(SqliteConnection, Handle), StoreError> {
        let location = if self.opened.load(Ordering::Relaxed) {
            &self.other
        } else {
            &self.first
        };
        let opened = open(location, self.writes, self.statement_timeout)?;
        self.opened.store(true, Ordering::Relaxed);
        Ok(opened)
    }

    /// Which file has the path now.
    fn identity(&self) -> Option<Identity> {
        let found = self.path.as_ref()?.metadata().ok()?;
        Some((found.dev(), found.ino()))
    }
}

impl SqliteConnector {
    pub(crate) fn new(url: &DatabaseUrl, statement_timeout: Duration) -> Result<Self, StoreError> {
        let location = Location::parse(url).map_err(StoreError::unavailable)?;
        location.check().map_err(StoreError::unavailable)?;
        let first = location.to_string();
        if let Location::File { path, mode } = location {
            let other = Location::File {
                path: path.clone(),
                mode: if mode == Mode::Create {
                    Mode::Write
                } else {
                    mode
                },
            };
            let file = DatabaseFile {
                path: Some(path),
                first,
                other: other.to_string(),
                writes: mode != Mode::Read,
                statement_timeout,
                opened: AtomicBool::new(false),
            };
            return Ok(Self {
                file: Arc::new(file),
                _anchor: None,
            });
        }
        // The `memdb` VFS shares a named database among the connections of a process, with the
        // locks of a file (SQLite source, `src/memdb.c`); `:memory:` would be one per connection.
        let location = format!("file:/{}?vfs=memdb", uuid::Uuid::new_v4());
        let (anchor, _) = open(&location, true, statement_timeout)?;
        let file = DatabaseFile {
            path: None,
            first: location.clone(),
            other: location,
            writes: true,
            statement_timeout,
            opened: AtomicBool::new(true),
        };
        Ok(Self {
            file: Arc::new(file),
            _anchor: Some(std::sync::Mutex::new(anchor)),
        })
    }

    /// Opens a connection for use on a thread that may block.
    pub(crate) fn connect_blocking(&self) -> Result<SqliteConnection, StoreError> {
        self.file.open().map(|(connection, _)| connection)
    }
}

impl Connect for SqliteConnector {
    type Connection = SqliteSession;

    async fn connect(&self) -> Result<Self::Connection, StoreError> {
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || {
            let (connection, handle) = file.open()?;
            Ok(SqliteSession {
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

/// A connection of the pool.
pub(crate) struct SqliteSession {
    inner: SyncConnectionWrapper<SqliteConnection>,
    handle: Handle,
    /// The file that was opened.
    identity: Option<Identity>,
    file: Arc<DatabaseFile>,
}

impl SqliteSession {
    /// Whether the path still names the file that was opened. What is written into one that was removed
    /// or replaced is lost.
    pub(super) fn is_current(&self) -> bool {
        self.file.path.is_none() || self.identity.is_some() && self.identity == self.file.identity()
    }

    pub(in crate::store) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// How long work may take.
    pub(in crate::store) fn statement_timeout(&self) -> Duration {
        self.file.statement_timeout
    }
}

impl Session for SqliteSession {
    fn is_broken(&mut self) -> bool {
        Session::is_broken(&mut self.inner)
    }

    fn close(self, held: Option<Held>) {
        self.inner.close(held);
    }

    async fn answers(&mut self) -> bool {
        true
    }
}

impl Deref for SqliteSession {
    type Target = SyncConnectionWrapper<SqliteConnection>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for SqliteSession {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

/// Opens a connection and sets it up. `synchronous = FULL` keeps what was answered even when the
/// power fails (SQLite manual, "PRAGMA synchronous").
fn open(
    location: &str,
    writes: bool,
    busy_timeout: Duration,
) -> Result<(SqliteConnection, Handle), StoreError> {
    let failed =
        |error: &dyn std::fmt::Display| StoreError::unavailable(format!("{location}: {error}"));
    Handle::prepare_new_connections();
    let mut connection = SqliteConnection::establish(location).map_err(|e| failed(&e))?;
    connection
        .batch_execute(&format!(
            "PRAGMA busy_timeout = {};
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;",
            busy_timeout.as_millis()
        ))
        .map_err(|e| failed(&e))?;
    let start = Instant::now();
    while writes && let Err(error) = write_ahead(&mut connection) {
        if start.elapsed() >= busy_timeout {
            return Err(failed(&error));
        }
        std::thread::sleep(RETRY_PAUSE);
    }
    // The first statement that reads the file, after those that may meet a lock.
    let handle = Handle::of(&mut connection).map_err(|e| failed(&e))?;
    Ok((connection, handle))
}

/// WAL lets readers and the writer work at once (SQLite manual, "Write-Ahead Logging"). The first
/// connection to a new file switches it over; the others may meet its lock, for which SQLite does
/// not wait as it does for all others.
fn write_ahead(connection: &mut SqliteConnection) -> diesel::QueryResult<()> {
    connection.batch_execute("PRAGMA journal_mode = WAL")
}

const RETRY_PAUSE: Duration = Duration::from_millis(5);
