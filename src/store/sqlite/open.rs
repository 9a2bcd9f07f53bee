//! Opens a connection to an SQLite database and sets it up.

use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, QueryResult, SqliteConnection};
use thiserror::Error;

use super::file_check::FileError;
use super::handle::Handle;
use super::location::LocationError;
use crate::store::StoreError;

/// The pause between two attempts to switch to WAL.
const WAL_RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Why a database cannot be opened. The message contains that of the cause.
#[derive(Debug, Error)]
pub(in crate::store) enum OpenError {
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{uri}: {source}")]
    Open {
        uri: String,
        source: diesel::ConnectionError,
    },
    #[error("{uri}: {source}")]
    Setup {
        uri: String,
        source: diesel::result::Error,
    },
}

impl OpenError {
    /// Whether there is no file that may be opened. A file that can be opened, and is no database, does not count.
    pub(in crate::store) fn is_unreachable(&self) -> bool {
        matches!(self, Self::File(_) | Self::Open { .. })
    }
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        Self::unavailable(error)
    }
}

/// Opens a connection. `synchronous = FULL` keeps committed transactions after a power
/// failure (SQLite manual, "PRAGMA synchronous"). `secure_delete` overwrites deleted data with zeros, so that erased
/// data is not left in the file ("PRAGMA secure_delete").
pub(super) fn open(
    uri: &str,
    writable: bool,
    busy_timeout: Duration,
) -> Result<(SqliteConnection, Handle), OpenError> {
    Handle::register_extension();
    let mut connection = SqliteConnection::establish(uri).map_err(|source| OpenError::Open {
        uri: uri.to_owned(),
        source,
    })?;
    let setup = set_up(&mut connection, writable, busy_timeout);
    let handle = setup.map_err(|source| OpenError::Setup {
        uri: uri.to_owned(),
        source,
    })?;
    Ok((connection, handle))
}

fn set_up(
    connection: &mut SqliteConnection,
    writable: bool,
    busy_timeout: Duration,
) -> QueryResult<Handle> {
    connection.batch_execute(&format!(
        "PRAGMA busy_timeout = {};
         PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON;
         PRAGMA foreign_keys = ON;",
        busy_timeout.as_millis()
    ))?;
    let start = Instant::now();
    while writable && let Err(error) = set_wal_mode(connection) {
        if start.elapsed() >= busy_timeout {
            return Err(error);
        }
        std::thread::sleep(WAL_RETRY_PAUSE);
    }
    // This is the first statement that reads the file. It comes after those that can encounter a lock.
    Handle::of(connection)
}

/// With WAL, readers and the writer do not block each other (SQLite manual, "Write-Ahead Logging"). The first
/// connection to a new file switches it to WAL. Other connections can encounter its lock, and this is the only
/// lock for which SQLite does not wait until the busy timeout.
fn set_wal_mode(connection: &mut SqliteConnection) -> QueryResult<()> {
    connection.batch_execute("PRAGMA journal_mode = WAL")
}
