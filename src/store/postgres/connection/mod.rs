//! Connections to PostgreSQL.

mod connector;
mod host_attempts;
mod observed_stream;
mod session;
mod slots;
mod socket;
mod target_session_attrs;

pub(crate) use connector::PgConnector;
pub(crate) use session::PgConnection;
pub(crate) use target_session_attrs::Wanted;
