//! What kind of server a URL asks for (`target_session_attrs`), and whether this is one.

use std::future::{Future, poll_fn};
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{Client, Connection, SimpleQueryMessage};

use super::super::sqlstate::describe;

/// What the server must be (PostgreSQL manual, section 34.1.2, `target_session_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    /// A standby if any of the hosts is one, else any.
    PreferStandby,
}

impl Wanted {
    /// The words of a URL.
    pub(crate) const WORDS: [(&str, Self); 6] = [
        ("any", Self::Any),
        ("read-write", Self::ReadWrite),
        ("read-only", Self::ReadOnly),
        ("primary", Self::Primary),
        ("standby", Self::Standby),
        ("prefer-standby", Self::PreferStandby),
    ];

    /// What to look for in turn, each among all hosts.
    pub(crate) fn rounds(self) -> &'static [Self] {
        match self {
            Self::Any => &[Self::Any],
            Self::ReadWrite => &[Self::ReadWrite],
            Self::ReadOnly => &[Self::ReadOnly],
            Self::Primary => &[Self::Primary],
            Self::Standby => &[Self::Standby],
            Self::PreferStandby => &[Self::Standby, Self::Any],
        }
    }

    /// Asks a server what it is.
    ///
    /// # Errors
    /// Why this server will not do, or that it could not be asked.
    pub(crate) async fn check<S, T>(
        self,
        client: &Client,
        connection: &mut Connection<S, T>,
    ) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let (question, good, otherwise) = match self {
            Self::Any => return Ok(()),
            Self::ReadWrite => (READ_ONLY, "off", "the session is read-only"),
            Self::ReadOnly => (READ_ONLY, "on", "the session is not read-only"),
            Self::Primary => (IN_RECOVERY, "f", "the server is a standby"),
            Self::Standby | Self::PreferStandby => {
                (IN_RECOVERY, "t", "the server is not a standby")
            }
        };
        let asking = async {
            let rows = client.simple_query(question).await;
            rows.map_err(|error| describe(&error))
        };
        let rows = driven(connection, asking).await?;
        let answer = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        match answer {
            Some(answer) if answer == good => Ok(()),
            Some(_) => Err(otherwise.to_owned()),
            None => Err("the server does not say what it is".to_owned()),
        }
    }
}

/// `on` or `off`; `on` on a standby as well.
const READ_ONLY: &str = "SHOW transaction_read_only";
/// `t` or `f`.
const IN_RECOVERY: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// Does some work on a connection that nobody drives yet.
async fn driven<S, T, R>(
    connection: &mut Connection<S, T>,
    work: impl Future<Output = Result<R, String>>,
) -> Result<R, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let ended = poll_fn(|cx| {
        loop {
            match ready!(connection.poll_message(cx)) {
                // Notices of the server.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(describe(&error)),
                None => return Poll::Ready("the server ended the connection".to_owned()),
            }
        }
    });
    tokio::select! {
        done = work => done,
        error = ended => Err(error),
    }
}
