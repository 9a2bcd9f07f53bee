//! The way to one database.

use std::sync::Arc;

use super::StoreError;
use super::postgres::PgConnector;
use super::sqlite::SqliteConnector;
use crate::config::{DatabaseKind, Settings};

/// The way to one database: it opens connections, migrates and checks. Cheap to clone.
#[derive(Clone)]
pub struct Connector(Way);

#[derive(Clone)]
pub(super) enum Way {
    Postgres(Arc<PgConnector>),
    Sqlite(Arc<SqliteConnector>),
}

impl Connector {
    /// The way to the database that the settings name. Opens nothing yet.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn new(settings: &Settings) -> Result<Self, StoreError> {
        let source = settings.database();
        let url = source
            .url()
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let timeout = settings.statement_timeout;
        Ok(Self(match url.kind() {
            DatabaseKind::Postgres => {
                let pool_size = settings.pool_max_size.get();
                let acquire_timeout = settings.pool_acquire_timeout;
                let connector = PgConnector::new(source, timeout, acquire_timeout, pool_size);
                Way::Postgres(Arc::new(connector))
            }
            DatabaseKind::Sqlite => Way::Sqlite(Arc::new(SqliteConnector::new(&url, timeout)?)),
        }))
    }

    /// Which database it is.
    pub fn kind(&self) -> DatabaseKind {
        match self.0 {
            Way::Postgres(_) => DatabaseKind::Postgres,
            Way::Sqlite(_) => DatabaseKind::Sqlite,
        }
    }

    pub(super) fn way(&self) -> &Way {
        &self.0
    }
}
