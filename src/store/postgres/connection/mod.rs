//! Connections to PostgreSQL, without libpq.
//!
//! [`PgConnector`] tries the hosts of the URL ([`host_attempts`]) and opens a session with one of them
//! ([`session_opener`]). A task drives the connection until the server has closed it ([`driver`]). Until then the
//! connection occupies a slot ([`slots`]), so that no server has more connections than allowed.

mod cancel;
mod command_client;
mod connector;
mod driver;
mod error;
mod host_attempts;
mod messages;
mod observed_stream;
mod occupied_slot;
mod pg_connection;
mod session_opener;
mod slots;
mod socket;
mod target_session_attrs;

pub(in crate::store) use command_client::CommandClient;
pub(crate) use connector::PgConnector;
pub(crate) use error::{ConnectError, PostgresError};
pub(crate) use pg_connection::PgConnection;
pub(crate) use target_session_attrs::TargetSessionAttrs;
