//! Opens connections to PostgreSQL, without libpq.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::Target;
use crate::config::DatabaseSource;
use crate::store::StoreError;
use crate::store::pool::Connect;

/// A connection and what drives it.
pub(super) type RawConnection = (
    tokio_postgres::Client,
    tokio_postgres::Connection<tokio_postgres::Socket, RustlsStream>,
);
type RustlsStream = <MakeRustlsConnect as MakeTlsConnect<tokio_postgres::Socket>>::Stream;

/// Opens connections to the database that the settings name at that moment.
pub(crate) struct PgConnector {
    source: DatabaseSource,
    statement_timeout: Duration,
}

impl PgConnector {
    pub(crate) fn new(source: DatabaseSource, statement_timeout: Duration) -> Self {
        Self {
            source,
            statement_timeout,
        }
    }

    /// Opens a connection with no time-outs set, as migrations need it.
    pub(crate) async fn connect_plain(&self) -> Result<AsyncPgConnection, StoreError> {
        let (client, connection) = self.connect_raw().await?;
        AsyncPgConnection::try_from_client_and_connection(client, connection)
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Opens a connection without Diesel, as notifications need it.
    pub(super) async fn connect_raw(&self) -> Result<RawConnection, StoreError> {
        let url = self.source.url().map_err(StoreError::Unavailable)?;
        let Target { mut config, tls } = Target::parse(&url).map_err(StoreError::Unavailable)?;
        // A peer that vanished without a word is noticed within about 20 s.
        config
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(3))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(20));
        let tls = MakeRustlsConnect::new(tls.client_config().map_err(StoreError::Unavailable)?);
        config
            .connect(tls)
            .await
            .map_err(|error| StoreError::Unavailable(chain(&error)))
    }
}

impl Connect for PgConnector {
    type Connection = AsyncPgConnection;

    async fn connect(&self) -> Result<AsyncPgConnection, StoreError> {
        let mut connection = self.connect_plain().await?;
        let timeout = self.statement_timeout.as_millis().max(1);
        // Untranslated messages tell errors apart (see error.rs), but only a superuser may ask.
        // A transaction of ours never idles; the last line makes a forgotten one harmless.
        let setup = format!(
            "SET statement_timeout = {timeout};
             SET idle_in_transaction_session_timeout = {timeout};
             SELECT set_config('lc_messages', 'C', false)
             FROM pg_roles WHERE rolname = current_user AND rolsuper"
        );
        connection
            .batch_execute(&setup)
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(connection)
    }
}

/// An error with its causes: tokio-postgres keeps the telling part in the source.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}
