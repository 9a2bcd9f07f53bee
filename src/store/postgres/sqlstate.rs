//! What an SQLSTATE means for a request (PostgreSQL manual, "PostgreSQL Error Codes").

use std::fmt;

use diesel::result::Error as DieselError;

use crate::store::StoreError;

/// The code of an error: a class of two characters and three more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SqlState(pub(super) [u8; 5]);

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// What may be done about a statement that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    None,
    /// The same again after a pause: the server undid it because of another transaction.
    Repeat,
    /// The same on another session: this one lacks what it needs, and nothing was done.
    OtherSession,
    /// The same on a session that is opened after this: all that are open now lack it.
    NewSession,
    /// The session is lost, and nobody knows what became of the statement.
    Lost,
}

/// Which error a failed statement is, and what may be done about it.
pub(super) fn judge(code: Option<SqlState>, error: DieselError) -> (StoreError, Remedy) {
    let Some(code) = code else {
        let error = StoreError::from(error);
        // Without an error of the server only the way to it can have failed.
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
        b"40001" | b"40P01" => unavailable(Remedy::Repeat),
        // "Cached plan must not change result type": of all that this service sends, only a statement
        // prepared before a migration is a feature that is not supported.
        b"0A000" => internal(Remedy::NewSession),
        // The server has become read-only, as a primary does that was demoted.
        b"25006" => unavailable(Remedy::NewSession),
        // A pooler that gives each transaction another session: the statement is not prepared there,
        // or another process has prepared one of that name.
        [b'2', b'6', ..] | b"42P05" => unavailable(Remedy::OtherSession),
        // The connection failed, somewhere behind a pooler perhaps; the server or an administrator
        // ended the session (57P01 to 57P05), or it idled in a transaction.
        [b'0', b'8', ..] | [b'5', b'7', b'P', ..] | b"25P03" => unavailable(Remedy::Lost),
        // No room on disk, no memory, too many connections; an error of the file system.
        [b'5', b'3', ..] | [b'5', b'8', ..] => unavailable(Remedy::None),
        // The login, and the database itself.
        [b'2', b'8', ..] | b"3D000" => unavailable(Remedy::None),
        // A table, column, function, type or schema is missing, or the right to it. All statements
        // are fixed, so it is the database that lacks something: a migration, a grant.
        b"42P01" | b"42703" | b"42883" | b"42704" | b"3F000" | b"42501" => {
            unavailable(Remedy::None)
        }
        // No value of ours is NULL where the table wants one, but the position of an event is when the row
        // of the table `feed` is missing.
        b"23502" => unavailable(Remedy::None),
        // Constraints, values, corruption (XX001, XX002), and what nobody thought of. It says nothing
        // about other statements.
        _ => internal(Remedy::None),
    };
    let error = ServerError {
        code,
        source: error,
    };
    let error = if is_outage {
        StoreError::unavailable(error)
    } else {
        StoreError::internal(error)
    };
    (error, remedy)
}

/// An error that the server sent.
#[derive(Debug, thiserror::Error)]
#[error("SQLSTATE {code}: {source}")]
struct ServerError {
    code: SqlState,
    source: DieselError,
}

/// An error of tokio-postgres with its code and its causes: it keeps the telling part in the source.
pub(super) fn describe(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    match error.code() {
        Some(code) => format!("SQLSTATE {}: {text}", code.code()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::result::DatabaseErrorKind;

    #[test]
    fn errors_are_told_apart_by_their_code_alone() {
        let judged = |code: &[u8; 5]| {
            // A message that says something else, and not in English.
            let message = Box::new("Anweisung wird abgebrochen".to_owned());
            let error = DieselError::DatabaseError(DatabaseErrorKind::Unknown, message);
            let (error, remedy) = judge(Some(SqlState(*code)), error);
            (error.kind(), remedy)
        };
        for (code, kind, remedy) in [
            (b"57014", "statement_timeout", Remedy::None),
            (b"55P03", "lock_timeout", Remedy::None),
            (b"40001", "unavailable", Remedy::Repeat),
            (b"40P01", "unavailable", Remedy::Repeat),
            (b"0A000", "internal", Remedy::NewSession),
            (b"25006", "unavailable", Remedy::NewSession),
            (b"26000", "unavailable", Remedy::OtherSession),
            (b"08006", "unavailable", Remedy::Lost),
            (b"57P01", "unavailable", Remedy::Lost),
            (b"53100", "unavailable", Remedy::None),
            (b"58030", "unavailable", Remedy::None),
            (b"42P01", "unavailable", Remedy::None),
            (b"23502", "unavailable", Remedy::None),
            (b"23514", "internal", Remedy::None),
            (b"XX001", "internal", Remedy::None),
            (b"P0001", "internal", Remedy::None),
        ] {
            assert_eq!(judged(code), (kind, remedy), "{}", SqlState(*code));
        }
    }

    #[test]
    fn without_a_code_the_way_to_the_server_failed() {
        let closed = DieselError::DatabaseError(
            DatabaseErrorKind::UnableToSendCommand,
            Box::new("connection closed".to_owned()),
        );
        assert_eq!(judge(None, closed).1, Remedy::Lost);
        assert_eq!(judge(None, DieselError::NotFound).1, Remedy::None);
    }
}
