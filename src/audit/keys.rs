//! Checks the primary keys and unique indexes of the database.

use super::kind::Kind;
use super::report::Report;

/// The primary keys and unique indexes of the tables that have a tenant.
#[derive(Debug)]
pub(crate) struct DatabaseKeys {
    pub(crate) database: Database,
    pub(crate) keys: Vec<DatabaseKey>,
}

/// Which keys there must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Database {
    Postgres,
    Sqlite,
}

/// A primary key or unique index.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseKey {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    /// Whether the database enforces it.
    pub(crate) is_valid: bool,
}

/// The keys that both databases have.
const REQUIRED: [(&str, &[&str]); 6] = [
    ("orders", &["tenant", "id"]),
    ("orders", &["tenant", "external_id"]),
    ("order_items", &["tenant", "order_id", "line"]),
    ("idempotency_keys", &["tenant", "key_hash"]),
    ("idempotency_keys", &["tenant", "order_id"]),
    ("archived_orders", &["tenant", "order_id"]),
];

/// The table of events is partitioned on PostgreSQL, so its key also has the column of the partitions.
const EVENTS_POSTGRES: &[&str] = &["tenant", "order_id", "version", "recorded_at"];
const EVENTS_SQLITE: &[&str] = &["tenant", "order_id", "version"];

/// Checks that every key begins with the tenant, and that no key is missing.
pub(super) fn check(keys: &DatabaseKeys, report: &mut Report) {
    for key in &keys.keys {
        report.checked.keys += 1;
        if key.columns.first().is_none_or(|column| column != "tenant") {
            report.add(Kind::KeyWithoutTenant, None, None, || {
                format!(
                    "{} of {} has {}",
                    key.name,
                    key.table,
                    key.columns.join(", ")
                )
            });
        }
    }
    let events = match keys.database {
        Database::Postgres => EVENTS_POSTGRES,
        Database::Sqlite => EVENTS_SQLITE,
    };
    for (table, columns) in REQUIRED.into_iter().chain([("events", events)]) {
        let found = keys
            .keys
            .iter()
            .any(|key| key.table == table && key.is_valid && key.columns.iter().eq(columns.iter()));
        if !found {
            report.add(Kind::MissingKey, None, None, || {
                format!("{table} has no valid key of {}", columns.join(", "))
            });
        }
    }
}
