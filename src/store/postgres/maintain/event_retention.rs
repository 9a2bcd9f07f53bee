//! Removes events: months as partitions, and the events of the default partition in batches.
//!
//! Before events of a tenant are removed, its floor is raised to the last of them, so that a reader that has not read
//! them is told so (`store/cursor.rs`). An event that is written later must not come before a floor, and no event may
//! reach a partition after its floors were raised. Both follow from one rule: the last event of the partition is below
//! the horizon, so every transaction that could write an event before it has ended; and when the partition is detached,
//! which no writer can do anything about, this event still is its last.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::QueryableByName;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};

use super::super::feed::HORIZON;
use super::brief_lock::{BriefLock, with_brief_lock};
use super::event_rows::{remove_below_floors, remove_from_default};
use super::partition_sql::Month;
use super::partitions::{Events, Partition, attached};
use super::session::Session;
use crate::store::StoreError;
use crate::store::maintain::Run;

/// How often the floors of a partition are raised again because of a late event.
const MAX_ROUNDS: u32 = 3;
/// The number of tenants whose floors one transaction raises, and the number of events that one transaction removes.
pub(super) const BATCH: i64 = 500;
/// How long it may take to remove the files of a partition.
const DROP_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The comment of a partition that was detached in order to be removed.
const REMOVED: &str = "order-service maintain: detached by EVENT_RETENTION, to be dropped";

/// SQL that raises floors, after a query for the events up to which they rise. A floor is never lowered.
pub(super) const RAISE: &str =
    "ON CONFLICT (tenant) DO UPDATE SET position = excluded.position, seq = excluded.seq,
        order_id = excluded.order_id, version = excluded.version, occurred_at = excluded.occurred_at
    WHERE (feed_floors.position, feed_floors.seq) < (excluded.position, excluded.seq)";
/// The columns of a floor.
pub(super) const FLOOR: &str = "tenant, position, seq, order_id, version, occurred_at";

/// The last event of a partition.
#[derive(Clone, Copy, Debug, QueryableByName)]
struct LastEvent {
    #[diesel(sql_type = BigInt)]
    position: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    /// Whether it is below the horizon.
    #[diesel(sql_type = Bool)]
    settled: bool,
}

/// Removes the months that ended at or before `before`.
pub(super) async fn remove(
    session: &mut Session,
    before: DateTime<Utc>,
    run: &mut Run,
) -> Result<(), StoreError> {
    let events = Events::read(session).await?;
    drop_detached(session, &events, run).await?;
    let limit = Month::of(before).start();
    let (months, removed_before) = (
        attached(session).await?,
        run.report.partitions_removed.len(),
    );
    let expired = months
        .iter()
        .filter(|p| p.ends.is_some_and(|ends| ends <= before));
    for partition in expired {
        if run.is_stopped() {
            return Ok(());
        }
        remove_partition(session, &events, partition, run).await?;
    }
    if let Some(default) = &events.default {
        remove_from_default(session, default, limit, run).await?;
    }
    if run.report.partitions_removed.len() > removed_before || run.report.events_removed > 0 {
        remove_below_floors(session, limit, run).await?;
    }
    Ok(())
}

/// Drops the partitions that a run has detached before it was killed.
async fn drop_detached(
    session: &mut Session,
    events: &Events,
    run: &mut Run,
) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Detached {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let detached: Vec<Detached> = session
        .rows(|| {
            sql_query(
                "SELECT oid::regclass::text AS name FROM pg_class
                WHERE relnamespace = $1::regnamespace AND relkind = 'r' AND NOT relispartition
                    AND relname ~ '^events_' AND obj_description(oid, 'pg_class') = $2",
            )
            .bind::<Text, _>(events.schema.clone())
            .bind::<Text, _>(REMOVED.to_owned())
        })
        .await?;
    for table in detached {
        drop_table(session, &table.name, run).await?;
    }
    Ok(())
}

/// Drops a partition that was detached. No statement of the service uses it any more.
async fn drop_table(session: &mut Session, name: &str, run: &mut Run) -> Result<(), StoreError> {
    let drop = format!("SET LOCAL statement_timeout = 0; DROP TABLE {name}");
    match session.execute_within(&drop, DROP_TIMEOUT).await {
        Ok(()) => {
            log::info!(partition = name; "removed a partition");
            let name = name.rsplit('.').next().unwrap_or(name);
            run.report.partitions_removed.push(name.to_owned());
            Ok(())
        }
        Err((StoreError::LockTimeout, _)) => {
            run.postpone(name, "it is detached, and another session reads it");
            Ok(())
        }
        Err((error, _)) => Err(error),
    }
}

async fn remove_partition(
    session: &mut Session,
    events: &Events,
    partition: &Partition,
    run: &mut Run,
) -> Result<(), StoreError> {
    let name = &partition.name;
    for _ in 0..MAX_ROUNDS {
        let last = last_event(session, name).await?;
        if last.is_some_and(|last| !last.settled) {
            break;
        }
        if last.is_some() && !raise_floors(session, name, run).await? {
            return Ok(());
        }
        match detach(session, events, name, last, run).await? {
            Detach::Done => return drop_table(session, name, run).await,
            Detach::Locked => {
                run.postpone(name, "the table events is locked");
                return Ok(());
            }
            Detach::NewEvent => {}
        }
    }
    run.postpone(name, "a transaction that began in this month still runs");
    Ok(())
}

async fn last_event(session: &mut Session, name: &str) -> Result<Option<LastEvent>, StoreError> {
    session
        .row(|| {
            sql_query(format!(
                "SELECT position, seq, coalesce(position < (SELECT {HORIZON} FROM feed), false) AS settled FROM {name}
                ORDER BY position DESC, seq DESC LIMIT 1"
            ))
        })
        .await
}

/// Raises the floor of each tenant to its last event in the partition. Returns false if the run must end.
async fn raise_floors(
    session: &mut Session,
    name: &str,
    run: &mut Run,
) -> Result<bool, StoreError> {
    #[derive(QueryableByName)]
    struct Last {
        #[diesel(sql_type = Nullable<Text>)]
        tenant: Option<String>,
    }
    // One step along the index finds the next tenant, and one its last event.
    let sql = format!(
        "WITH RECURSIVE tenants (tenant, number) AS (
            (SELECT tenant, 1 FROM {name} WHERE tenant > $1 ORDER BY tenant LIMIT 1)
            UNION ALL
            SELECT next.tenant, number + 1 FROM tenants CROSS JOIN LATERAL
                (SELECT tenant FROM {name} AS e WHERE e.tenant > tenants.tenant ORDER BY e.tenant LIMIT 1) AS next
            WHERE number < {BATCH}),
        raised AS (INSERT INTO feed_floors ({FLOOR})
            SELECT last.* FROM tenants CROSS JOIN LATERAL (SELECT {FLOOR} FROM {name} AS e
                WHERE e.tenant = tenants.tenant ORDER BY position DESC, seq DESC LIMIT 1) AS last
            {RAISE})
        SELECT max(tenant) AS tenant FROM tenants"
    );
    let mut after = String::new();
    loop {
        let last = session.row(|| sql_query(&sql).bind::<Text, _>(after.clone()));
        let Some(Last { tenant: Some(last) }) = last.await? else {
            return Ok(true);
        };
        after = last;
        if !run.pause().await {
            return Ok(false);
        }
    }
}

/// The result of an attempt to detach a partition.
enum Detach {
    Done,
    /// Another transaction holds a lock.
    Locked,
    /// The partition has an event after the last one known.
    NewEvent,
}

/// Detaches a partition if `last` is its last event.
async fn detach(
    session: &mut Session,
    events: &Events,
    name: &str,
    last: Option<LastEvent>,
    run: &mut Run,
) -> Result<Detach, StoreError> {
    let (position, seq) = last.map_or((i64::MIN, i64::MIN), |last| (last.position, last.seq));
    let tables: Vec<&str> = std::iter::once(name)
        .chain(events.default.as_deref())
        .collect();
    let detach = format!(
        "ALTER TABLE events DETACH PARTITION {name};
        COMMENT ON TABLE {name} IS '{REMOVED}';
        DO $$ BEGIN
            IF EXISTS (SELECT FROM {name} WHERE (position, seq) > ({position}, {seq})) THEN
                RAISE EXCEPTION 'an event was added' USING ERRCODE = 'serialization_failure';
            END IF;
        END $$"
    );
    Ok(
        match with_brief_lock(session, &tables, &detach, run).await? {
            BriefLock::Done => Detach::Done,
            BriefLock::Timeout => Detach::Locked,
            BriefLock::Conflict => Detach::NewEvent,
        },
    )
}
