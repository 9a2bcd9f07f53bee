//! Opens connections to an SQLite file, or to a database in this process's memory.

use std::ops::{Deref, DerefMut};
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
    location: String,
    /// Whether it may be changed.
    writes: bool,
    statement_timeout: Duration,
    /// A database in memory lives as long as a connection to it. This one is never used.
    _anchor: Option<std::sync::Mutex<SqliteConnection>>,
}

impl SqliteConnector {
    pub(crate) fn new(url: &DatabaseUrl, statement_timeout: Duration) -> Result<Self, StoreError> {
        let location = Location::parse(url).map_err(StoreError::Unavailable)?;
        location.check().map_err(StoreError::Unavailable)?;
        if let Location::File { mode, .. } = location {
            return Ok(Self {
                location: location.to_string(),
                writes: mode != Mode::Read,
                statement_timeout,
                _anchor: None,
            });
        }
        // The `memdb` VFS shares a named database among the connections of a process, with the
        // locks of a file (SQLite source, `src/memdb.c`); `:memory:` would be one per connection.
        let location = format!("file:/{}?vfs=memdb", uuid::Uuid::new_v4());
        let (anchor, _) = open(&location, true, statement_timeout)?;
        Ok(Self {
            location,
            writes: true,
            statement_timeout,
            _anchor: Some(std::sync::Mutex::new(anchor)),
        })
    }

    /// Opens a connection for use on a thread that may block.
    pub(crate) fn connect_blocking(&self) -> Result<SqliteConnection, StoreError> {
        open(&self.location, self.writes, self.statement_timeout).map(|(connection, _)| connection)
    }
}

impl Connect for SqliteConnector {
    type Connection = SqliteSession;

    async fn connect(&self) -> Result<Self::Connection, StoreError> {
        let (location, timeout) = (self.location.clone(), self.statement_timeout);
        let writes = self.writes;
        tokio::task::spawn_blocking(move || open(&location, writes, timeout))
            .await
            .map_err(|error| StoreError::Internal(error.to_string()))?
            .map(|(connection, handle)| SqliteSession {
                inner: SyncConnectionWrapper::new(connection),
                handle,
                statement_timeout: timeout,
            })
    }
}

/// A connection of the pool.
pub(crate) struct SqliteSession {
    inner: SyncConnectionWrapper<SqliteConnection>,
    handle: Handle,
    statement_timeout: Duration,
}

impl SqliteSession {
    pub(in crate::store) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// How long work may take.
    pub(in crate::store) fn statement_timeout(&self) -> Duration {
        self.statement_timeout
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
        |error: &dyn std::fmt::Display| StoreError::Unavailable(format!("{location}: {error}"));
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
