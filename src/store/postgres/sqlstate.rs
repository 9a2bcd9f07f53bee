//! The meaning of an SQLSTATE for a request (PostgreSQL manual, appendix A "PostgreSQL Error Codes").

use std::error::Error;
use std::fmt;

use super::connection::PostgresError;
use crate::store::StoreError;
use crate::store::error::Cause;

/// The code of an error: two characters for its class and three more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SqlState(pub(crate) [u8; 5]);

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// How to proceed after a statement that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Report the error.
    None,
    /// Retry after a pause: the server rolled the statement back because of another transaction.
    Retry,
    /// Retry on another session: this one lacks something that the statement needs, and nothing was done.
    OtherSession,
    /// Retry on a new session: all open sessions lack something that the statement needs, and nothing was done.
    NewSession,
    /// The session is lost, and the outcome of the statement is unknown.
    Lost,
}

/// The error to report for a failed statement, and how to proceed.
pub(super) fn classify<E>(code: Option<SqlState>, error: E) -> (StoreError, Remedy)
where
    E: Error + Send + Sync + Into<StoreError> + 'static,
{
    let Some(code) = code else {
        let error: StoreError = error.into();
        // The server reported no error, so only the connection to it can have failed.
        let lost = matches!(error, StoreError::Unavailable(_));
        let remedy = if lost { Remedy::Lost } else { Remedy::None };
        return (error, remedy);
    };
    let unavailable = |remedy| (true, remedy);
    let internal = |remedy| (false, remedy);
    let (is_outage, remedy) = match &code.0 {
        b"57014" => return (StoreError::StatementTimeout, Remedy::None),
        b"55P03" => return (StoreError::LockTimeout, Remedy::None),
        // A serialization failure, a deadlock.
        b"40001" | b"40P01" => unavailable(Remedy::Retry),
        // Feature not supported. Among the statements of this service, only one that was prepared before a
        // migration causes this: "cached plan must not change result type".
        b"0A000" => internal(Remedy::NewSession),
        // The server has become read-only, as a demoted primary does.
        b"25006" => unavailable(Remedy::NewSession),
        // A connection pooler gives each transaction another session: the statement is not prepared
        // there, or another process has prepared one with the same name.
        [b'2', b'6', ..] | b"42P05" => unavailable(Remedy::OtherSession),
        // The connection failed, possibly behind a pooler; the server or an administrator ended the
        // session (57P01 to 57P05); or the session idled in a transaction.
        [b'0', b'8', ..] | [b'5', b'7', b'P', ..] | b"25P03" => unavailable(Remedy::Lost),
        // A full disk, no memory, too many connections; an error of the file system.
        [b'5', b'3', ..] | [b'5', b'8', ..] => unavailable(Remedy::None),
        // The login failed, or the database does not exist.
        [b'2', b'8', ..] | b"3D000" => unavailable(Remedy::None),
        // A table, column, function, type or schema is missing, or the right to use it. All statements
        // are fixed, so the database lacks something: a migration or a grant.
        b"42P01" | b"42703" | b"42883" | b"42704" | b"3F000" | b"42501" => {
            unavailable(Remedy::None)
        }
        // NULL in a column that is NOT NULL. Only the position of an event can be NULL, and it is NULL if the row
        // of the table `feed` is missing, or was written since the session checked it.
        b"23502" => unavailable(Remedy::OtherSession),
        // Constraints, values, corruption (XX001, XX002) and everything else. None of it affects other
        // statements.
        _ => internal(Remedy::None),
    };
    let error = ServerError {
        code,
        source: Box::new(error),
    };
    let error = if is_outage {
        StoreError::unavailable(error)
    } else {
        StoreError::internal(error)
    };
    (error, remedy)
}

/// The error to report for a failed statement of a command.
impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let code = error
            .code()
            .and_then(|code| code.code().as_bytes().try_into().ok());
        classify(code.map(SqlState), PostgresError(error)).0
    }
}

/// Without a code, only the connection can have failed.
impl From<PostgresError> for StoreError {
    fn from(error: PostgresError) -> Self {
        Self::unavailable(error)
    }
}

/// What the server says if the role of the session lacks a privilege that a statement needs.
pub(super) fn missing_privilege(error: &StoreError) -> Option<&Cause> {
    let (StoreError::Unavailable(cause) | StoreError::Internal(cause)) = error else {
        return None;
    };
    let error: &ServerError = cause.error().downcast_ref()?;
    (error.code.0 == *b"42501").then_some(cause)
}

/// An error that the server sent.
#[derive(Debug, thiserror::Error)]
#[error("SQLSTATE {code}: {source}")]
struct ServerError {
    code: SqlState,
    source: Box<dyn Error + Send + Sync>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::result::{DatabaseErrorKind, Error as DieselError};

    #[test]
    fn errors_are_classified_by_their_code_alone() {
        let classified = |code: &[u8; 5]| {
            // A message in another language that describes another error.
            let message = Box::new("Anweisung wird abgebrochen".to_owned());
            let error = DieselError::DatabaseError(DatabaseErrorKind::Unknown, message);
            let (error, remedy) = classify(Some(SqlState(*code)), error);
            (error.kind(), remedy)
        };
        for (code, kind, remedy) in [
            (b"57014", "statement_timeout", Remedy::None),
            (b"55P03", "lock_timeout", Remedy::None),
            (b"40001", "unavailable", Remedy::Retry),
            (b"40P01", "unavailable", Remedy::Retry),
            (b"0A000", "internal", Remedy::NewSession),
            (b"25006", "unavailable", Remedy::NewSession),
            (b"26000", "unavailable", Remedy::OtherSession),
            (b"08006", "unavailable", Remedy::Lost),
            (b"57P01", "unavailable", Remedy::Lost),
            (b"53100", "unavailable", Remedy::None),
            (b"58030", "unavailable", Remedy::None),
            (b"42P01", "unavailable", Remedy::None),
            (b"23502", "unavailable", Remedy::OtherSession),
            (b"23514", "internal", Remedy::None),
            (b"XX001", "internal", Remedy::None),
            (b"P0001", "internal", Remedy::None),
        ] {
            assert_eq!(classified(code), (kind, remedy), "{}", SqlState(*code));
        }
    }

    #[test]
    fn without_a_code_the_connection_failed() {
        let closed = DieselError::DatabaseError(
            DatabaseErrorKind::UnableToSendCommand,
            Box::new("connection closed".to_owned()),
        );
        assert_eq!(classify(None, closed).1, Remedy::Lost);
        assert_eq!(classify(None, DieselError::NotFound).1, Remedy::None);
    }
}
