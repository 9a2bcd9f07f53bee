//! Opens connections to PostgreSQL, without libpq.

use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};

use super::hosts::{self, RawConnection};
use super::url::Target;
use crate::config::DatabaseSource;
use crate::store::StoreError;
use crate::store::pool::Connect;

/// Opens connections to the database that the settings name at that moment.
pub(crate) struct PgConnector {
    source: DatabaseSource,
    statement_timeout: Duration,
    /// How long opening a connection may take.
    patience: Duration,
}

impl PgConnector {
    /// Opens connections whose statements end after `statement_timeout`. Whoever wants one waits for
    /// `acquire_timeout`; the last host of the URL is tried before that is over.
    pub(crate) fn new(
        source: DatabaseSource,
        statement_timeout: Duration,
        acquire_timeout: Duration,
    ) -> Self {
        Self {
            source,
            statement_timeout,
            patience: acquire_timeout * 4 / 5,
        }
    }

    /// Opens a connection with no time-outs set, as migrations need it.
    pub(crate) async fn connect_plain(&self) -> Result<AsyncPgConnection, StoreError> {
        let (client, connection) = self.connect_raw().await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                log::debug!(error:%; "a database connection ended");
            }
        });
        AsyncPgConnection::try_from(client)
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    /// Opens a connection without Diesel, as notifications need it.
    pub(super) async fn connect_raw(&self) -> Result<RawConnection, StoreError> {
        let url = self.source.url().map_err(StoreError::Unavailable)?;
        let target = Target::parse(&url).map_err(StoreError::Unavailable)?;
        hosts::connect(&target, self.patience)
            .await
            .map_err(StoreError::Unavailable)
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
