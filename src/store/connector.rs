//! The database that the settings name.

use std::sync::Arc;
use std::time::Duration;

use super::StoreError;
use super::backend::Driver;
use super::import::OrderImport;
use super::maintain::{MaintainOptions, Maintained};
use super::migrate::MigrateOptions;
use super::postgres::PgConnector;
use super::sqlite::{MissingFile, SqliteConnector};
use crate::config::{DatabaseKind, Settings};
use crate::domain::Tenant;

/// The database that the settings name, before the store opens it. Cheap to clone.
#[derive(Clone)]
pub struct Connector(Arc<dyn Driver>);

impl Connector {
    /// Reads the URL of the database. Opens nothing yet. An SQLite file that does not exist is created later.
    ///
    /// # Errors
    /// When the URL cannot be read, or an SQLite file cannot be opened as it demands.
    pub fn new(settings: &Settings) -> Result<Self, StoreError> {
        Self::with(settings, MissingFile::Create)
    }

    /// As [`Self::new`], for a command that uses a database and does not create one.
    ///
    /// # Errors
    /// As for [`Self::new`], and when the SQLite file does not exist.
    pub fn existing(settings: &Settings) -> Result<Self, StoreError> {
        Self::with(settings, MissingFile::Reject)
    }

    fn with(settings: &Settings, missing: MissingFile) -> Result<Self, StoreError> {
        let source = settings.database();
        let url = source.url().map_err(StoreError::unavailable)?;
        let timeout = settings.statement_timeout;
        Ok(Self(match url.kind() {
            DatabaseKind::Postgres => {
                let pool_size = settings.pool_max_size.get();
                let acquire_timeout = settings.pool_acquire_timeout;
                let connector = PgConnector::new(source, timeout, acquire_timeout, pool_size);
                Arc::new(connector)
            }
            DatabaseKind::Sqlite => Arc::new(SqliteConnector::new(&url, timeout, missing)?),
        }))
    }

    /// The kind of database.
    pub fn kind(&self) -> DatabaseKind {
        self.0.kind()
    }

    /// Applies every pending migration and returns their names, oldest first.
    ///
    /// # Errors
    /// When the database does not respond in time or a migration fails. Earlier migrations stay applied.
    pub async fn migrate(&self, options: MigrateOptions) -> Result<Vec<String>, StoreError> {
        self.0.migrate(options).await
    }

    /// The names of the migrations that are not applied yet, oldest first.
    ///
    /// # Errors
    /// When the database does not respond within `wait`, or an unreleased build made its schema.
    pub async fn pending(&self, wait: Duration) -> Result<Vec<String>, StoreError> {
        self.0.pending_migrations(wait).await
    }

    /// Prepares partitions and applies retention, once. Does nothing if another process does so.
    ///
    /// # Errors
    /// When the database does not respond, or its lock cannot be taken. Other errors are part of the result.
    pub async fn maintain(&self, options: MaintainOptions) -> Result<Maintained, StoreError> {
        self.0.maintain(options).await
    }

    /// Prepares an import of orders of this tenant. Opens nothing yet.
    pub fn import(&self, tenant: Tenant) -> Box<dyn OrderImport> {
        self.driver().import(tenant)
    }

    pub(super) fn driver(&self) -> Arc<dyn Driver> {
        Arc::clone(&self.0)
    }
}
