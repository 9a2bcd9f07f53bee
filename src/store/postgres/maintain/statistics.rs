//! Removes statistics of columns with personal data.
//!
//! A partition that was created by hand does not inherit that these columns have none, and `pg_stats` then has some of
//! their values.

use diesel::sql_types::{Bool, Text};
use diesel::{QueryableByName, sql_query};

use super::brief_lock::with_brief_lock;
use super::partition_sql::{COLUMNS_WITHOUT_STATISTICS, without_statistics};
use super::session::Session;
use crate::store::StoreError;
use crate::store::maintain::Run;

/// A partition that has statistics, or will have them.
#[derive(QueryableByName)]
struct Partition {
    /// The name of the table, as SQL.
    #[diesel(sql_type = Text)]
    name: String,
    /// Whether `ANALYZE` collects statistics.
    #[diesel(sql_type = Bool)]
    collects: bool,
    /// Whether statistics are stored.
    #[diesel(sql_type = Bool)]
    stores: bool,
}

/// `ALTER COLUMN TYPE` removes the stored statistics of a column (PostgreSQL source, `ATExecAlterColumnType`). With the
/// same type it changes nothing else, and reads no row. A partition cannot be altered alone.
const REMOVE_STORED: &str =
    "ALTER TABLE events ALTER COLUMN data TYPE json, ALTER COLUMN traceparent TYPE text,
    ALTER COLUMN authid TYPE auth_id";

/// Removes the statistics of columns with personal data from all partitions, and prevents new ones.
pub(super) async fn remove(session: &mut Session, run: &mut Run) -> Result<(), StoreError> {
    let columns = COLUMNS_WITHOUT_STATISTICS.join(",");
    // Since PostgreSQL 17, the default of `attstattarget` is NULL. The subquery looks up one column at a time: a join
    // would read all of `pg_stats`.
    let sql = format!(
        "SELECT child.oid::regclass::text AS name, bool_or(coalesce(attstattarget, -1) <> 0) AS collects,
            bool_or((SELECT count(*) FROM pg_stats WHERE schemaname = nspname AND tablename = relname
                AND pg_stats.attname = a.attname) > 0) AS stores
        FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
            JOIN pg_namespace AS namespace ON namespace.oid = relnamespace
            JOIN pg_attribute AS a ON a.attrelid = child.oid AND a.attname = ANY ('{{{columns}}}')
        WHERE inhparent = 'events'::regclass GROUP BY child.oid"
    );
    let partitions: Vec<Partition> = session.rows(|| sql_query(&sql)).await?;
    let found = partitions
        .iter()
        .filter(|each| each.collects || each.stores);
    let mut cleaned: Vec<&str> = Vec::new();
    for Partition { name, collects, .. } in found {
        let prevent = without_statistics(name);
        if !collects
            || with_brief_lock(session, &[name], &prevent, run)
                .await?
                .is_done()
        {
            cleaned.push(name);
        } else {
            run.postpone(name, "it has statistics of personal data, and is locked");
        }
    }
    let all: Vec<&str> = partitions.iter().map(|each| each.name.as_str()).collect();
    if partitions.iter().any(|each| each.stores)
        && !with_brief_lock(session, &all, REMOVE_STORED, run)
            .await?
            .is_done()
    {
        run.postpone(
            "events",
            "statistics of personal data are stored, and the table is locked",
        );
        return Ok(());
    }
    for name in cleaned {
        log::warn!(partition = name; "removed statistics of personal data; the partition was not created by order-service");
        let name = name.rsplit('.').next().unwrap_or(name);
        run.report.statistics_removed.push(name.to_owned());
    }
    Ok(())
}
