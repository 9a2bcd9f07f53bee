//! The errors of the store, with one variant for each case that callers treat differently.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use thiserror::Error;

use super::postgres::ConnectError;
use super::sqlite::OpenError;

/// Why the store could not serve a request. Two errors are equal when they are of one kind: the cause is
/// for the log.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// The permits that requests need are in use: too many requests wait for the database. Nothing was
    /// done.
    #[error("too many requests wait for the database")]
    Overloaded,
    /// The caller holds its share of the permits ([`crate::shares`]). Nothing was done.
    #[error("the caller has too many requests in progress")]
    ShareExceeded,
    /// The database cannot be reached, no connection became free in time, or the database is in a state in
    /// which it cannot serve (a full disk, a server that is read-only). A retry may succeed.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] Cause),
    /// A statement ran for longer than `STATEMENT_TIMEOUT` and was cancelled.
    #[error("a statement took too long")]
    StatementTimeout,
    /// A lock that another transaction holds was not free in time. Nothing was done.
    #[error("a lock was not free in time")]
    LockTimeout,
    /// The items of a batch have more bytes together than a batch may have. Nothing was done; each half may
    /// succeed.
    #[error("a batch has too many bytes")]
    BatchTooLarge,
    /// A fault of this service or of the schema.
    #[error("{0}")]
    Internal(#[source] Cause),
}

/// The cause of an error. Shared, because an error of a batch goes to each of its requests.
///
/// It is displayed with its sources, since a line of the log shows an error as one text.
#[derive(Clone, Debug)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// The error itself.
    pub(super) fn error(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut source = self.0.source();
        while let Some(error) = source {
            let part = error.to_string();
            // Many errors repeat their source in their own text.
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            source = error.source();
        }
        f.write_str(&text)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

/// A fault that the store itself detects.
#[derive(Debug, Error)]
pub(super) enum StoreFault {
    #[error("the store is closed")]
    Closed,
    #[error("no response within {0:?}")]
    NoResponse(Duration),
    #[error("no update could begin within {0:?}")]
    NoSlot(Duration),
    #[error("the settings name another database now")]
    Moved,
    #[error("the database neither stored an order nor reports a conflicting one")]
    NeitherKeptNorFound,
    #[error("the database did not store a row")]
    RowNotKept,
    #[error("the database file was replaced repeatedly")]
    FileReplaced,
    #[error("the worker of a queue has ended")]
    WorkerEnded,
    #[error("a batch panicked")]
    BatchPanicked,
    #[error("a batch of {requests} requests returned {responses} responses")]
    WrongCount { requests: usize, responses: usize },
    #[error("the database was restored from a dump: run `order-service migrate`")]
    FeedBehind,
    #[error("the table `feed` has no row")]
    NoFeedRow,
    #[error("other processes write the same orders")]
    CompetingImport,
    #[error("a cursor could not be encrypted")]
    Encryption,
    #[error("a row in the database has a broken {0}")]
    Corrupt(&'static str),
    #[error("an order cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    #[error(
        "the encoding of the database is {0}, and must be UTF8: create it with ENCODING 'UTF8'"
    )]
    Encoding(String),
    #[error(
        "an unreleased build of order-service made this database (migration {0}); its schema cannot be \
         migrated: start with an empty database, or remove the file"
    )]
    Unreleased(String),
    #[error("the lock of the maintenance, {}: {source}", path.display())]
    MaintenanceLock {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the role {role} lacks a privilege; {remedy} ({source})")]
    MissingPrivilege {
        role: String,
        remedy: String,
        source: Cause,
    },
    #[error(
        "another session (server process {pid}) holds an exclusive lock on the table {table}: run the command again \
         when it has ended"
    )]
    TableLocked { table: String, pid: i32 },
    #[error("a database in memory cannot be maintained by another process")]
    InMemory,
    #[error("migrations")]
    Migrations(#[source] Box<dyn Error + Send + Sync>),
    #[error("migration {name}")]
    Migration {
        name: String,
        source: Box<dyn Error + Send + Sync>,
    },
}

impl From<StoreFault> for StoreError {
    fn from(fault: StoreFault) -> Self {
        match fault {
            StoreFault::Closed
            | StoreFault::NoResponse(_)
            | StoreFault::NoSlot(_)
            | StoreFault::Moved
            | StoreFault::NeitherKeptNorFound
            | StoreFault::RowNotKept
            | StoreFault::FeedBehind
            | StoreFault::CompetingImport
            | StoreFault::FileReplaced => Self::unavailable(fault),
            StoreFault::WorkerEnded
            | StoreFault::BatchPanicked
            | StoreFault::WrongCount { .. }
            | StoreFault::NoFeedRow
            | StoreFault::Corrupt(_)
            | StoreFault::Encryption
            | StoreFault::Json(_)
            | StoreFault::Encoding(_)
            | StoreFault::Unreleased(_)
            | StoreFault::MaintenanceLock { .. }
            | StoreFault::MissingPrivilege { .. }
            | StoreFault::TableLocked { .. }
            | StoreFault::InMemory
            | StoreFault::Migrations(_)
            | StoreFault::Migration { .. } => Self::internal(fault),
        }
    }
}

impl StoreError {
    /// Every value of the `kind` label of `db_errors_total`. A batch that is too large and a share that is exceeded
    /// are not errors of the database.
    pub const KINDS: [&'static str; 5] = [
        "overloaded",
        "unavailable",
        "statement_timeout",
        "lock_timeout",
        "internal",
    ];

    /// The value of the `kind` label of `db_errors_total`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Overloaded => "overloaded",
            Self::ShareExceeded => "share_exceeded",
            Self::Unavailable(_) => "unavailable",
            Self::StatementTimeout => "statement_timeout",
            Self::LockTimeout => "lock_timeout",
            Self::BatchTooLarge => "batch_too_large",
            Self::Internal(_) => "internal",
        }
    }

    /// Whether no connection to PostgreSQL could be opened, or the SQLite file does not exist or may not be opened.
    pub(crate) fn is_unreachable(&self) -> bool {
        let Self::Unavailable(cause) = self else {
            return false;
        };
        let error = cause.error();
        error.is::<ConnectError>() || error.downcast_ref().is_some_and(OpenError::is_unreachable)
    }

    pub(crate) fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let cause: Box<dyn Error + Send + Sync> = cause.into();
        Self::Unavailable(Cause(cause.into()))
    }

    pub(crate) fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let cause: Box<dyn Error + Send + Sync> = cause.into();
        Self::Internal(Cause(cause.into()))
    }
}

impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl Eq for StoreError {}

/// Classifies an error whose code is not known. Errors of PostgreSQL are judged by their SQLSTATE
/// (`postgres/sqlstate.rs`) and those of SQLite by their result code (`sqlite/result_code.rs`).
impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        match error {
            DieselError::DatabaseError(
                DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::ReadOnlyTransaction
                | DatabaseErrorKind::SerializationFailure,
                _,
            )
            | DieselError::BrokenTransactionManager => Self::unavailable(error),
            _ => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_displayed_with_its_sources_once() {
        let io = std::io::Error::other("disk on fire");
        let error = StoreError::from(StoreFault::Migrations(Box::new(io)));
        assert_eq!(error.to_string(), "migrations: disk on fire");
        let text = StoreError::unavailable("no route".to_owned());
        assert_eq!(text.to_string(), "the database is not available: no route");
        assert_eq!(text, StoreError::unavailable(StoreFault::Closed));
    }
}
