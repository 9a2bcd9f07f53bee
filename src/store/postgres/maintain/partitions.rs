//! Creates the partitions that will be needed, and finishes what an interrupted run has left.
//!
//! No statement holds a lock for long that writers wait for. A partition is created as a table of its own, which needs
//! no such lock, and then attached (PostgreSQL manual, "Table Partitioning", "Partition Maintenance"). To attach it,
//! PostgreSQL locks the default partition and checks that it has no rows of the month. If the default partition is
//! large, a constraint that was validated before takes the place of this check.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use diesel::dsl::sql;
use diesel::sql_types::{BigInt, Bool, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};

use super::brief_lock::with_brief_lock;
use super::partition_sql::{BOUNDS, Month, create_table, sql_time};
use super::session::Session;
use super::statistics;
use crate::store::StoreError;
use crate::store::error::StoreFault;
use crate::store::maintain::Run;

/// The number of months after this one that have a partition. A run that fails for weeks does no harm.
const MONTHS_AHEAD: usize = 3;
/// The length up to which PostgreSQL reads the default partition in a few milliseconds.
const SMALL_DEFAULT_BYTES: i64 = 1 << 20;
/// The constraint that lets partitions be attached without reading the default partition.
const CONSTRAINT: &str = "events_default_before";
/// The constraint rejects rows from a time on for which there is no partition yet. This is the time that remains to
/// attach one, and if the run is killed, for the next run to remove the constraint.
const CONSTRAINT_MARGIN: TimeDelta = TimeDelta::days(3);
/// How long validating the constraint may take. Writers and readers do not wait for it, but new events reach the
/// readers of the feed only after it.
const VALIDATION_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A partition of `events`.
#[derive(Clone, Debug, QueryableByName)]
pub(super) struct Partition {
    /// The name of the table, as SQL.
    #[diesel(sql_type = Text)]
    pub(super) name: String,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub(super) starts: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub(super) ends: Option<DateTime<Utc>>,
}

impl Partition {
    fn overlaps(&self, month: Month) -> bool {
        self.starts.is_none_or(|starts| starts < month.end())
            && self.ends.is_none_or(|ends| ends > month.start())
    }
}

/// The table `events` and its default partition.
#[derive(Clone, Debug, QueryableByName)]
pub(super) struct Events {
    /// The schema, as SQL.
    #[diesel(sql_type = Text)]
    pub(super) schema: String,
    /// The default partition, as SQL.
    #[diesel(sql_type = Nullable<Text>)]
    pub(super) default: Option<String>,
    #[diesel(sql_type = Timestamptz)]
    pub(super) now: DateTime<Utc>,
}

impl Events {
    pub(super) async fn read(session: &mut Session) -> Result<Self, StoreError> {
        let events = session.row(|| {
            sql_query(
                "SELECT quote_ident(nspname) AS schema, nullif(partdefid, 0)::regclass::text AS \"default\",
                    clock_timestamp() AS now
                FROM pg_partitioned_table JOIN pg_class ON pg_class.oid = partrelid
                JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE partrelid = 'events'::regclass",
            )
        });
        let missing = StoreFault::Corrupt("partitioning of events");
        Ok(events.await?.ok_or(missing)?)
    }
}

/// The partitions except the default partition, by their bounds.
pub(super) async fn attached(session: &mut Session) -> Result<Vec<Partition>, StoreError> {
    let mut partitions: Vec<Partition> = session.rows(|| sql_query(BOUNDS)).await?;
    partitions.sort_by_key(|partition| partition.starts);
    Ok(partitions)
}

/// Creates the partitions of this month and of the next months, and corrects those that were created by hand.
pub(super) async fn prepare(session: &mut Session, run: &mut Run) -> Result<(), StoreError> {
    create_missing(session, run).await?;
    statistics::remove(session, run).await
}

async fn create_missing(session: &mut Session, run: &mut Run) -> Result<(), StoreError> {
    let events = Events::read(session).await?;
    if let Some(default) = &events.default {
        drop_constraint(session, default, run).await?;
    }
    let attached = attached(session).await?;
    let mut month = Month::of(events.now);
    let mut missing = Vec::new();
    for _ in 0..=MONTHS_AHEAD {
        if !attached.iter().any(|partition| partition.overlaps(month)) {
            missing.push(month);
        }
        month = month.next();
    }
    if missing.is_empty() {
        return Ok(());
    }
    match &events.default {
        Some(default) if size(session, default).await? > SMALL_DEFAULT_BYTES => {
            attach_beside_rows(session, &events, default, &missing, run).await
        }
        _ => attach_each(session, &events, &missing, run).await,
    }
}

/// The length of a table, without its long values, which no check reads.
async fn size(session: &mut Session, table: &str) -> Result<i64, StoreError> {
    let size = format!("pg_relation_size('{table}')");
    let size = session.row(|| diesel::select(sql::<BigInt>(&size)));
    Ok(size.await?.unwrap_or_default())
}

/// Attaches partitions while the default partition is small.
async fn attach_each(
    session: &mut Session,
    events: &Events,
    months: &[Month],
    run: &mut Run,
) -> Result<(), StoreError> {
    for month in months {
        if let Some(default) = &events.default {
            let (start, end) = (sql_time(month.start()), sql_time(month.end()));
            let has_rows = format!(
                "EXISTS (SELECT FROM {default} WHERE recorded_at >= {start} AND recorded_at < {end})"
            );
            let has_rows = session.row(|| diesel::select(sql::<Bool>(&has_rows)));
            if has_rows.await? == Some(true) {
                run.postpone(
                    &month.table(),
                    "the default partition has events of this month",
                );
                continue;
            }
        }
        attach(session, events, *month, run).await?;
    }
    Ok(())
}

/// Attaches partitions while the default partition is large. Its rows stay where they are, and so do those that are
/// written until the first of these partitions begins.
async fn attach_beside_rows(
    session: &mut Session,
    events: &Events,
    default: &str,
    missing: &[Month],
    run: &mut Run,
) -> Result<(), StoreError> {
    let earliest = events.now + CONSTRAINT_MARGIN;
    let (late, in_time): (Vec<_>, Vec<_>) = missing
        .iter()
        .copied()
        .partition(|month: &Month| month.start() < earliest);
    for month in late {
        run.postpone(
            &month.table(),
            "the default partition may receive events of this month",
        );
    }
    let Some(first) = in_time.first() else {
        return Ok(());
    };
    let before = sql_time(first.start());
    let add = format!(
        "ALTER TABLE {default} ADD CONSTRAINT {CONSTRAINT} CHECK (recorded_at < {before}) NOT VALID"
    );
    if !with_brief_lock(session, &[default], &add, run)
        .await?
        .is_done()
    {
        run.postpone(&first.table(), "the default partition is locked");
        return Ok(());
    }
    log::info!(partition = default; "reading the default partition; new events reach readers after it");
    let validate = format!(
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '3s'; ALTER TABLE {default} VALIDATE CONSTRAINT {CONSTRAINT}"
    );
    let validated = session.execute_within(&validate, VALIDATION_TIMEOUT).await;
    let attached = match validated {
        Ok(()) => {
            let mut result = Ok(());
            for month in in_time {
                result = attach(session, events, month, run).await;
                if result.is_err() {
                    break;
                }
            }
            result
        }
        Err((error, _)) => Err(error),
    };
    // Also after an error: from a time on for which there is no partition, the constraint would reject rows.
    drop_constraint(session, default, run).await?;
    attached
}

/// Removes the constraint of this run, or of one that was killed.
async fn drop_constraint(
    session: &mut Session,
    default: &str,
    run: &mut Run,
) -> Result<(), StoreError> {
    let exists = format!(
        "EXISTS (SELECT FROM pg_constraint WHERE conrelid = '{default}'::regclass AND conname = '{CONSTRAINT}')"
    );
    let exists = session.row(|| diesel::select(sql::<Bool>(&exists)));
    if exists.await? != Some(true) {
        return Ok(());
    }
    let drop = format!("ALTER TABLE {default} DROP CONSTRAINT {CONSTRAINT}");
    if !with_brief_lock(session, &[default], &drop, run)
        .await?
        .is_done()
    {
        // The constraint would reject events of a later month without a partition, so the run must be repeated soon.
        log::error!(default; "the default partition is locked, and keeps a constraint of this run");
        return Err(StoreError::LockTimeout);
    }
    Ok(())
}

/// Creates the partition of a month and attaches it.
async fn attach(
    session: &mut Session,
    events: &Events,
    month: Month,
    run: &mut Run,
) -> Result<(), StoreError> {
    let name = month.table();
    let table = format!("{}.{name}", events.schema);
    // A run that was killed may have left the table.
    session.execute_sql(&create_table(&table)).await?;
    let has_rows = format!("EXISTS (SELECT FROM {table})");
    let has_rows = session.row(|| diesel::select(sql::<Bool>(&has_rows)));
    if has_rows.await? == Some(true) {
        run.postpone(&name, "a table with this name has rows and is no partition");
        return Ok(());
    }
    let sql = format!(
        "ALTER TABLE events ATTACH PARTITION {table} {}",
        month.bounds()
    );
    let default: Vec<&str> = events.default.as_deref().into_iter().collect();
    if with_brief_lock(session, &default, &sql, run)
        .await?
        .is_done()
    {
        log::info!(partition = name.as_str(); "created a partition");
        run.report.partitions_created.push(name);
    } else {
        run.postpone(&name, "the table events is locked");
    }
    Ok(())
}
