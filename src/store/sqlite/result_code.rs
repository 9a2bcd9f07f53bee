//! The meaning of a result code of SQLite for a request (SQLite manual, "Result and Error Codes").

use std::ffi::c_int;
use std::time::Duration;

use diesel::result::Error as DieselError;
use libsqlite3_sys as ffi;

use super::handle::{Handle, message_of};
use crate::store::{Cause, StoreError};

/// Codes that concern the database, not the statement.
const UNAVAILABLE: [c_int; 9] = [
    // A full disk, no memory, no access to the file or to its locks.
    ffi::SQLITE_FULL,
    ffi::SQLITE_IOERR,
    ffi::SQLITE_NOMEM,
    ffi::SQLITE_READONLY,
    ffi::SQLITE_CANTOPEN,
    ffi::SQLITE_PERM,
    ffi::SQLITE_AUTH,
    ffi::SQLITE_PROTOCOL,
    // The file is not a database. (SQLITE_CORRUPT may concern one page only, and does not affect
    // statements that do not need it.)
    ffi::SQLITE_NOTADB,
];

/// Codes of a statement that took too long, or that waited too long for a lock: the busy timeout is the
/// statement timeout.
const TIMEOUT: [c_int; 3] = [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED, ffi::SQLITE_INTERRUPT];

impl Handle {
    /// Runs work on the connection, interrupts it after `timeout`, and classifies an error by its result code.
    pub(in crate::store) fn run<T>(
        &self,
        timeout: Duration,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.begin(timeout);
        let result = work();
        let code = self.end();
        result.map_err(|error| classify(code, error))
    }
}

/// An error of SQLite with its extended result code.
#[derive(Debug, thiserror::Error)]
#[error("SQLite result {code}: {cause}")]
struct ResultCode {
    code: c_int,
    cause: Cause,
}

/// Classifies an error by the result code.
fn classify(code: Option<c_int>, error: StoreError) -> StoreError {
    let StoreError::Internal(cause) = error else {
        return error;
    };
    let Some(code) = code.or_else(|| code_of(&cause)) else {
        return StoreError::Internal(cause);
    };
    // The extended part makes no difference here.
    let primary = code & 0xff;
    let error = ResultCode { code, cause };
    if TIMEOUT.contains(&primary) {
        StoreError::StatementTimeout
    } else if UNAVAILABLE.contains(&primary) {
        StoreError::unavailable(error)
    } else {
        StoreError::internal(error)
    }
}

/// The code of an error of which only SQLite's message is left. When a query fails after its first step, Diesel
/// resets it and clears its parameters, which clears the code, before it reports the end of the query. SQLite has
/// one fixed message for each code (`sqlite3_errstr`).
fn code_of(cause: &Cause) -> Option<c_int> {
    let Some(DieselError::DatabaseError(_, information)) = cause.error().downcast_ref() else {
        return None;
    };
    let mut known = UNAVAILABLE.iter().chain(&TIMEOUT).copied();
    known.find(|code| message_of(*code) == information.message())
}

#[cfg(test)]
mod tests {
    use super::*;
    use diesel::result::DatabaseErrorKind;

    #[test]
    fn errors_are_classified_by_their_code() {
        let kind = |code: Option<c_int>, text: &str| {
            let message = Box::new(text.to_owned());
            let error = DieselError::DatabaseError(DatabaseErrorKind::Unknown, message);
            classify(code, error.into()).kind()
        };
        assert_eq!(kind(Some(ffi::SQLITE_FULL), "x"), "unavailable");
        assert_eq!(kind(Some(ffi::SQLITE_IOERR_WRITE), "x"), "unavailable");
        assert_eq!(kind(Some(ffi::SQLITE_READONLY_DBMOVED), "x"), "unavailable");
        assert_eq!(
            kind(Some(ffi::SQLITE_BUSY_SNAPSHOT), "x"),
            "statement_timeout"
        );
        assert_eq!(kind(Some(ffi::SQLITE_INTERRUPT), "x"), "statement_timeout");
        assert_eq!(kind(Some(ffi::SQLITE_CONSTRAINT_CHECK), "x"), "internal");
        assert_eq!(kind(Some(ffi::SQLITE_CORRUPT), "x"), "internal");
        assert_eq!(kind(None, &message_of(ffi::SQLITE_IOERR)), "unavailable");
        assert_eq!(kind(None, "no such table: orders"), "internal");
        let known = classify(Some(ffi::SQLITE_FULL), StoreError::Overloaded);
        assert_eq!(known, StoreError::Overloaded);
    }
}
