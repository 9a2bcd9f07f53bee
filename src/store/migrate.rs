//! Migrations: embedded in the binary, applied under one lock, recorded where the `diesel` CLI
//! records them, so that both are interchangeable.

use std::time::Duration;

use diesel::backend::Backend;
use diesel::connection::SimpleConnection;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::MigrationHarness;

use super::StoreError;
use super::error::StoreFault;

/// How to migrate.
#[derive(Clone, Copy, Debug)]
pub struct MigrateOptions {
    /// How long to retry until the database responds.
    pub wait: Duration,
    /// How long one migration may wait for a lock (`lock_timeout`).
    pub lock_timeout: Duration,
}

impl Default for MigrateOptions {
    fn default() -> Self {
        Self {
            wait: Duration::ZERO,
            lock_timeout: Duration::from_secs(1),
        }
    }
}

/// Applies the pending migrations. `lock_timeout` bounds how long a migration in a transaction waits for a lock.
pub(super) fn apply<DB: Backend>(
    connection: &mut (impl MigrationHarness<DB> + SimpleConnection),
    source: impl MigrationSource<DB>,
    lock_timeout: Option<Duration>,
) -> Result<Vec<String>, StoreError> {
    let mut applied = Vec::new();
    let pending = connection.pending_migrations(source);
    for migration in pending.map_err(StoreFault::Migrations)? {
        let name = migration.name().to_string();
        log::info!(migration = name.as_str(); "applying migration");
        if let Some(limit) = lock_timeout {
            // `CREATE INDEX CONCURRENTLY` waits for every older transaction, and blocks no other statement
            // meanwhile. If the timeout ends it, it leaves an invalid index.
            let limit = if migration.metadata().run_in_transaction() {
                limit
            } else {
                Duration::ZERO
            };
            connection.batch_execute(&format!("SET lock_timeout = {}", limit.as_millis()))?;
        }
        if let Err(source) = connection.run_migration(&migration) {
            return Err(StoreFault::Migration { name, source }.into());
        }
        applied.push(name);
    }
    Ok(applied)
}

/// Runs work on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(super::panicked)?
}
