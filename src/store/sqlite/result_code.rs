//! What a result code of SQLite means for a request (SQLite manual, "Result and Error Codes").

use std::ffi::c_int;
use std::time::Duration;

use libsqlite3_sys as ffi;

use super::handle::{Handle, message_of};
use crate::store::StoreError;

/// Codes that concern the database and not the statement.
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
    /// Does work on the connection, interrupts it after `timeout`, and classifies an error by its result
    /// code.
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

/// Replaces an unclassified error by what its result code means.
fn classify(code: Option<c_int>, error: StoreError) -> StoreError {
    let StoreError::Internal(text) = error else {
        return error;
    };
    let Some(code) = code.or_else(|| code_of(&text)) else {
        return StoreError::Internal(text);
    };
    // The extended part of the code makes no difference here.
    let primary = code & 0xff;
    let text = format!("SQLite result {code}: {text}");
    if TIMEOUT.contains(&primary) {
        StoreError::StatementTimeout
    } else if UNAVAILABLE.contains(&primary) {
        StoreError::Unavailable(text)
    } else {
        StoreError::Internal(text)
    }
}

/// The code that belongs to a message of SQLite.
///
/// If a query fails while Diesel fetches its rows, Diesel resets the statement, and with it the code, before
/// its instrumentation runs. Only SQLite's message remains, of which SQLite has one for each code.
fn code_of(message: &str) -> Option<c_int> {
    let mut known = UNAVAILABLE.iter().chain(&TIMEOUT).copied();
    known.find(|code| message_of(*code) == message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_classified_by_their_code() {
        let kind = |code: Option<c_int>, text: &str| {
            classify(code, StoreError::Internal(text.to_owned())).kind()
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
