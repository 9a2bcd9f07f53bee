//! A connection for Diesel.

use std::ops::{Deref, DerefMut};

use diesel_async::pooled_connection::PoolableConnection as _;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};

use super::driver::ConnectionGuard;
use crate::store::pool::{ConnectionPermits, Poolable};
use crate::store::postgres::sqlstate::SqlState;

/// Diesel's connection, with two properties that it lacks: the SQLSTATE of an error, and whether a statement was
/// interrupted.
pub(crate) struct PgConnection {
    /// Declared before the guard, so that it is dropped first and no further message follows.
    inner: AsyncPgConnection,
    guard: ConnectionGuard,
    info: SessionInfo,
    in_statement: bool,
    feed_checked: bool,
}

/// Properties of a session that do not change.
pub(super) struct SessionInfo {
    /// The encoding of the database.
    pub(super) encoding: String,
    /// How often the URL had named another database until the session was opened.
    pub(super) generation: u64,
}

impl PgConnection {
    pub(super) fn new(inner: AsyncPgConnection, guard: ConnectionGuard, info: SessionInfo) -> Self {
        Self {
            inner,
            guard,
            info,
            in_statement: false,
            feed_checked: false,
        }
    }

    /// Records that a statement begins, and clears the error of the previous one. The connection counts as broken
    /// until the statement ends.
    pub(in crate::store) fn begin_statement(&mut self) {
        self.guard.state.clear_error();
        self.in_statement = true;
    }

    /// Records that the statement has ended, and returns the code of the server's error, if there is
    /// one.
    pub(crate) fn end_statement(&mut self) -> Option<SqlState> {
        self.in_statement = false;
        self.guard.state.sqlstate()
    }

    /// Records that the statement has succeeded.
    pub(in crate::store) fn statement_succeeded(&mut self) {
        self.in_statement = false;
    }

    /// Whether events that are written on the connection come after all others.
    pub(in crate::store) fn is_feed_checked(&self) -> bool {
        self.feed_checked
    }

    /// Records that events that are written on the connection come after all others.
    pub(in crate::store) fn feed_checked(&mut self) {
        self.feed_checked = true;
    }

    /// The encoding of the database, if it cannot represent all orders.
    pub(in crate::store) fn unsupported_encoding(&self) -> Option<&str> {
        let encoding = self.info.encoding.as_str();
        (encoding != "UTF8").then_some(encoding)
    }

    /// Diesel's connection, for work that needs to own it, and the rest, which keeps it open.
    pub(in crate::store) fn into_parts(self) -> (AsyncPgConnection, PgSession) {
        let Self {
            inner, guard, info, ..
        } = self;
        (inner, PgSession { guard, info })
    }
}

/// A connection without that of Diesel.
pub(in crate::store) struct PgSession {
    guard: ConnectionGuard,
    info: SessionInfo,
}

impl PgSession {
    /// The connection with that of Diesel, with which it was before.
    pub(in crate::store) fn with(self, inner: AsyncPgConnection) -> PgConnection {
        PgConnection::new(inner, self.guard, self.info)
    }
}

impl Poolable for PgConnection {
    fn is_broken(&mut self) -> bool {
        self.in_statement || self.inner.is_broken()
    }

    fn close(mut self, permits: Option<ConnectionPermits>) {
        self.guard.give_up(permits);
    }

    fn generation(&self) -> u64 {
        self.info.generation
    }

    async fn responds(&mut self) -> bool {
        // An empty statement makes a round trip, and the server plans nothing for it.
        self.begin_statement();
        let response = self.inner.batch_execute("").await;
        self.end_statement();
        response.is_ok()
    }
}

impl Deref for PgConnection {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.inner
    }
}

impl DerefMut for PgConnection {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.inner
    }
}
