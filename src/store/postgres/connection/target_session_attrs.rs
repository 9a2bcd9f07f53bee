//! The kind of server that a URL requires (`target_session_attrs`), and the check of a server.

use std::future::{Future, poll_fn};
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{Client, Connection, SimpleQueryMessage};

use super::error::{PostgresError, SessionError};

/// The kind of server to connect to (PostgreSQL manual, section 34.1.2, `target_session_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetSessionAttrs {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    /// A standby if any of the hosts is one, otherwise any server.
    PreferStandby,
}

impl TargetSessionAttrs {
    /// The values in a URL.
    pub(crate) const VALUES: [(&'static str, Self); 6] = [
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];

    /// The kinds to look for, in turn, each among all hosts.
    pub(super) fn rounds(self) -> &'static [Self] {
        match self {
            Self::Any => &[Self::Any],
            Self::ReadWrite => &[Self::ReadWrite],
            Self::ReadOnly => &[Self::ReadOnly],
            Self::Primary => &[Self::Primary],
            Self::Standby => &[Self::Standby],
            Self::PreferStandby => &[Self::Standby, Self::Any],
        }
    }

    /// Checks that the server is of this kind, on a connection that no task drives yet.
    pub(super) async fn check<S, T>(
        self,
        client: &Client,
        connection: &mut Connection<S, T>,
    ) -> Result<(), SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let (query, required, mismatch) = match self {
            Self::Any => return Ok(()),
            Self::ReadWrite => (READ_ONLY, "off", SessionError::ReadOnly),
            Self::ReadOnly => (READ_ONLY, "on", SessionError::NotReadOnly),
            Self::Primary => (IN_RECOVERY, "f", SessionError::Standby),
            Self::Standby | Self::PreferStandby => (IN_RECOVERY, "t", SessionError::NotStandby),
        };
        let rows = driving(connection, client.simple_query(query)).await?;
        let value = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        match value {
            Some(value) if value == required => Ok(()),
            Some(_) => Err(mismatch),
            None => Err(SessionError::Unreported),
        }
    }
}

/// `on` or `off`. It is also `on` on a standby.
const READ_ONLY: &str = "SHOW transaction_read_only";
/// `t` or `f`.
const IN_RECOVERY: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// Drives the connection until `query` is done.
async fn driving<S, T, R>(
    connection: &mut Connection<S, T>,
    query: impl Future<Output = Result<R, tokio_postgres::Error>>,
) -> Result<R, SessionError>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let ended = poll_fn(|cx| {
        loop {
            match ready!(connection.poll_message(cx)) {
                // A notice from the server.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(PostgresError(error).into()),
                None => return Poll::Ready(SessionError::Closed),
            }
        }
    });
    tokio::select! {
        done = query => Ok(done.map_err(PostgresError)?),
        error = ended => Err(error),
    }
}
