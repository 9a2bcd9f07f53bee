//! The names, bounds and settings of the partitions of `events`.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, NaiveTime, Utc};

/// The storage parameters of a partition, which it does not inherit (PostgreSQL manual, "CREATE TABLE", "Storage
/// Parameters").
///
/// Rows are inserted and rarely updated (by an erasure). So a vacuum finds no dead rows, and its work is to mark pages
/// as visible to all and to freeze them. By default, a partition would be vacuumed when a fifth of it is new, and
/// frozen only when its rows are 50 million transactions old, all at once. With these parameters it is vacuumed more
/// often and frozen at once. When the month is over, almost nothing is left to do, and no vacuum against the
/// wraparound of transaction ids reads the partition later.
///
/// The partitions that the migration creates have the same parameters; a test compares them.
pub(super) const STORAGE: &str =
    "autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_freeze_min_age = 0";

/// Columns with personal data, which must have no statistics. A partition does not inherit this either.
pub(super) const COLUMNS_WITHOUT_STATISTICS: [&str; 3] = ["data", "traceparent", "authid"];

/// SQL for the partitions of `events` with their bounds, as `name`, `starts` and `ends`, without the default partition.
/// `NULL` is a bound that the partition does not have.
pub(super) const BOUNDS: &str = r"SELECT child.oid::regclass::text AS name,
        substring(bound FROM 'FROM \(''([^'']*)''\)')::timestamptz AS starts,
        substring(bound FROM 'TO \(''([^'']*)''\)')::timestamptz AS ends
    FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
    CROSS JOIN LATERAL (SELECT pg_get_expr(child.relpartbound, child.oid) AS bound) AS expressions
    WHERE inhparent = 'events'::regclass AND bound <> 'DEFAULT'";

/// A month in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Month(NaiveDate);

impl Month {
    pub(super) fn of(time: DateTime<Utc>) -> Self {
        let date = time.date_naive();
        Self(date.with_day(1).unwrap_or(date))
    }

    pub(super) fn next(self) -> Self {
        Self(
            self.0
                .checked_add_months(Months::new(1))
                .unwrap_or(NaiveDate::MAX),
        )
    }

    pub(super) fn start(self) -> DateTime<Utc> {
        self.0.and_time(NaiveTime::MIN).and_utc()
    }

    pub(super) fn end(self) -> DateTime<Utc> {
        self.next().start()
    }

    /// The name of its partition.
    pub(super) fn table(self) -> String {
        self.0.format("events_%Y_%m").to_string()
    }

    /// The bounds of its partition, as SQL.
    pub(super) fn bounds(self) -> String {
        let (start, end) = (sql_time(self.start()), sql_time(self.end()));
        format!("FOR VALUES FROM ({start}) TO ({end})")
    }
}

/// A time as an SQL literal.
pub(super) fn sql_time(time: DateTime<Utc>) -> String {
    format!("'{}+00'", time.format("%Y-%m-%d %H:%M:%S%.6f"))
}

/// SQL that creates a table that can become a partition, with the settings of one.
pub(super) fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (LIKE events INCLUDING ALL);
        ALTER TABLE {table} SET ({STORAGE});
        {}",
        without_statistics(table)
    )
}

/// SQL that prevents statistics of the columns with personal data of a table.
pub(super) fn without_statistics(table: &str) -> String {
    COLUMNS_WITHOUT_STATISTICS
        .map(|column| format!("ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0;"))
        .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_partition_contains_its_month() {
        let december = Month::of("2026-12-31T23:59:59.999999Z".parse().unwrap());
        assert_eq!(december.table(), "events_2026_12");
        assert_eq!(december.next().table(), "events_2027_01");
        assert_eq!(
            december.bounds(),
            "FOR VALUES FROM ('2026-12-01 00:00:00.000000+00') TO ('2027-01-01 00:00:00.000000+00')"
        );
    }
}
