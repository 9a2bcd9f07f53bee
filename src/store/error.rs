//! What can go wrong in the store, as its callers need to tell it apart.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// Why the store could not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Too many requests wait for the database already. Nothing was done.
    Overloaded,
    /// The database cannot be reached, no connection became free in time, or the database is in a
    /// state in which it cannot serve (a full disk, a server that is read-only). Another try may help.
    Unavailable(String),
    /// The database worked on a statement for longer than `STATEMENT_TIMEOUT` and was stopped.
    StatementTimeout,
    /// A lock that another transaction holds was not free in time. Nothing was done.
    LockTimeout,
    /// The items of a batch have more bytes together than a batch may have. Nothing was done; its halves may
    /// be served.
    BatchTooLarge,
    /// Anything else; a fault of this service or of the schema. The text is for the log only.
    Internal(String),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Overloaded => f.write_str("too many requests wait for the database"),
            Self::Unavailable(why) => write!(f, "the database is not available: {why}"),
            Self::StatementTimeout => f.write_str("a statement took too long"),
            Self::LockTimeout => f.write_str("a lock was not free in time"),
            Self::BatchTooLarge => f.write_str("a batch has too many bytes"),
            Self::Internal(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// Every value of the `kind` label of `db_errors_total`. A batch that is too large is no error of the
    /// database.
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
            Self::Unavailable(_) => "unavailable",
            Self::StatementTimeout => "statement_timeout",
            Self::LockTimeout => "lock_timeout",
            Self::BatchTooLarge => "batch_too_large",
            Self::Internal(_) => "internal",
        }
    }
}

impl StoreError {
    /// What an error is whose code is not known: PostgreSQL's is judged by its SQLSTATE
    /// (`postgres/sqlstate.rs`) and SQLite's by its result code (`sqlite/result_code.rs`).
    pub(super) fn from_diesel(error: &DieselError) -> Self {
        match error {
            DieselError::DatabaseError(
                DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::ReadOnlyTransaction
                | DatabaseErrorKind::SerializationFailure,
                _,
            )
            | DieselError::BrokenTransactionManager => Self::Unavailable(error.to_string()),
            _ => Self::Internal(error.to_string()),
        }
    }
}

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        Self::from_diesel(&error)
    }
}
