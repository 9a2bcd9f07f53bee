//! Errors of opening a connection. Each message contains that of its cause, because the log has one line for it.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use thiserror::Error;

use super::slots::Address;
use crate::store::StoreError;
use crate::store::postgres::tls::TlsConfigError;
use crate::store::postgres::url::{Endpoint, UrlError};

/// Why no connection could be opened.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// The settings have no URL now.
    #[error("{0}")]
    Settings(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
    #[error(transparent)]
    Hosts(#[from] HostsError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("no connection is free")]
    NoSlot,
    #[error("no response within {0:?}")]
    NoResponse(Duration),
    /// The statements that set the session up failed.
    #[error("{0}")]
    Setup(#[source] diesel::result::Error),
    /// The same, with the code that the server reported.
    #[error("SQLSTATE {code}: {source}")]
    SetupWithCode {
        code: String,
        source: diesel::result::Error,
    },
    /// The statements that set up the session of a command failed.
    #[error("{0}")]
    SetupOfCommand(#[source] PostgresError),
    /// Diesel rejected the connection.
    #[error("{0}")]
    Diesel(#[source] diesel::ConnectionError),
}

impl ConnectError {
    /// Whether a server has rejected the user or the password (class 28 of the SQLSTATE).
    pub(super) fn is_rejected_login(&self) -> bool {
        let Self::Hosts(HostsError(errors)) = self else {
            return false;
        };
        errors.iter().any(|error| match error {
            HostError::Session {
                source: SessionError::Postgres(PostgresError(error)),
                ..
            } => error
                .code()
                .is_some_and(|code| code.code().starts_with("28")),
            _ => false,
        })
    }
}

impl From<ConnectError> for StoreError {
    fn from(error: ConnectError) -> Self {
        Self::unavailable(error)
    }
}

/// Why none of the hosts in the URL could be used: one error for each attempt.
#[derive(Debug, Error)]
pub(crate) struct HostsError(pub(super) Vec<HostError>);

impl fmt::Display for HostsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

/// Why an attempt at one host, or at one of its addresses, failed.
#[derive(Debug, Error)]
pub(crate) enum HostError {
    #[error("{0}: the name was not looked up in time")]
    LookUpTimeout(Endpoint),
    #[error("{endpoint}: {source}")]
    LookUp {
        endpoint: Endpoint,
        source: io::Error,
    },
    #[error("{0}: the name has no address")]
    NoAddress(Endpoint),
    #[error("{}: {source}", at(endpoint, address))]
    Session {
        endpoint: Endpoint,
        address: Address,
        source: SessionError,
    },
}

/// Both the name and the address, if they differ.
fn at(endpoint: &Endpoint, address: &Address) -> String {
    let (name, address) = (endpoint.to_string(), address.to_string());
    if name == address {
        name
    } else {
        format!("{name} ({address})")
    }
}

/// Why no session could be opened at one address.
#[derive(Debug, Error)]
pub(crate) enum SessionError {
    #[error("this process has as many connections to it as it may have")]
    NoSlot,
    #[error("no session within {0:.1?}")]
    Timeout(Duration),
    #[error("{0}")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error("the server closed the connection")]
    Closed,
    #[error("the session is read-only")]
    ReadOnly,
    #[error("the session is not read-only")]
    NotReadOnly,
    #[error("the server is a standby")]
    Standby,
    #[error("the server is not a standby")]
    NotStandby,
    #[error("the server does not report what it is")]
    Unreported,
}

/// An error of tokio-postgres, whose own message omits the SQLSTATE and the cause.
#[derive(Debug, Error)]
pub(crate) struct PostgresError(#[source] pub(crate) tokio_postgres::Error);

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.0.code() {
            write!(f, "SQLSTATE {}: ", code.code())?;
        }
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let part = error.to_string();
            // Some errors of other crates contain the message of their cause.
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            cause = error.source();
        }
        f.write_str(&text)
    }
}
