//! Migrations of SQLite.

use diesel::{QueryDsl as _, QueryableByName, RunQueryDsl as _, SqliteConnection};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::SqliteConnector;
use crate::store::StoreError;
use crate::store::migrate::{apply, blocking};
use crate::store::schema_state::{SchemaState, applied_table};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

impl SqliteConnector {
    /// Applies every pending migration and returns their names, oldest first.
    pub(super) async fn apply_migrations(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connect_blocking()?;
        blocking(move || {
            // One transaction around all of them is the lock.
            connection.immediate_transaction(|connection| {
                schema_state(connection)?.pending()?;
                apply(connection, MIGRATIONS, None)
            })
        })
        .await
    }

    /// The names of the migrations that are not applied yet, oldest first.
    pub(super) async fn list_pending(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connect_blocking()?;
        blocking(move || schema_state(&mut connection)?.pending()).await
    }
}

/// The state of the schema. Changes nothing, unlike Diesel's harness, which would create its table.
pub(super) fn schema_state(connection: &mut SqliteConnection) -> Result<SchemaState, StoreError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        found: i64,
    }
    let table: Row = diesel::sql_query(
        "SELECT count(*) AS found FROM sqlite_master WHERE name = '__diesel_schema_migrations'",
    )
    .get_result(connection)?;
    let applied: Vec<String> = if table.found > 0 {
        applied_table::table
            .select(applied_table::version)
            .load(connection)?
    } else {
        Vec::new()
    };
    SchemaState::new::<diesel::sqlite::Sqlite>(&MIGRATIONS, applied)
}
