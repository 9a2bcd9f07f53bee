//! What can go wrong in the store, as its callers need to tell it apart.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// Why the store could not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// Too many requests wait for the database already. Nothing was done.
    Overloaded,
    /// The database cannot be reached, or no connection became free in time.
    Unavailable(String),
    /// The database worked on a statement for longer than `STATEMENT_TIMEOUT` and was stopped.
    StatementTimeout,
    /// A lock that another transaction holds was not free in time. Nothing was done.
    LockTimeout,
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
            Self::Internal(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StoreError {}

impl StoreError {
    /// Every value of the `kind` label of `db_errors_total`.
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
            Self::Internal(_) => "internal",
        }
    }
}

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        match &error {
            DieselError::DatabaseError(
                DatabaseErrorKind::UnableToSendCommand
                | DatabaseErrorKind::ClosedConnection
                | DatabaseErrorKind::ReadOnlyTransaction
                | DatabaseErrorKind::SerializationFailure,
                _,
            )
            | DieselError::BrokenTransactionManager => Self::Unavailable(error.to_string()),
            DieselError::DatabaseError(DatabaseErrorKind::Unknown, info) => {
                // Diesel hands on PostgreSQL's message but not its SQLSTATE; connections ask for
                // untranslated messages where they may (see postgres/connect.rs).
                let message = info.message();
                if message.starts_with("canceling statement due to lock timeout") {
                    Self::LockTimeout
                } else if message.starts_with("canceling statement due to")
                    || message.starts_with("database is locked")
                {
                    Self::StatementTimeout
                } else if is_passing(message) {
                    Self::Unavailable(error.to_string())
                } else {
                    Self::Internal(error.to_string())
                }
            }
            _ => Self::Internal(error.to_string()),
        }
    }
}

/// What may go better on another try: the server or an administrator ended the session (class 57P),
/// or two transactions stood in each other's way.
fn is_passing(message: &str) -> bool {
    message.starts_with("terminating connection")
        || message.starts_with("the database system is")
        || message.starts_with("deadlock detected")
        || message.starts_with("could not receive data")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unknown(message: &str) -> StoreError {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, Box::new(message.to_owned())).into()
    }

    #[test]
    fn messages_of_the_database_are_told_apart() {
        assert_eq!(
            unknown("canceling statement due to statement timeout"),
            StoreError::StatementTimeout
        );
        assert_eq!(
            unknown("terminating connection due to administrator command").kind(),
            "unavailable"
        );
        assert_eq!(
            unknown("relation \"orders\" does not exist").kind(),
            "internal"
        );
        assert_eq!(
            StoreError::from(DieselError::BrokenTransactionManager).kind(),
            "unavailable"
        );
    }
}
