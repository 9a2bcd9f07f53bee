//! Removes events one by one: those of the default partition, and those that a floor leaves behind.

use chrono::{DateTime, Utc};
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};

use super::super::feed::HORIZON;
use super::event_retention::{BATCH, FLOOR, RAISE};
use super::session::Session;
use crate::store::StoreError;
use crate::store::maintain::Run;

/// The number of tenants whose floors one transaction compares with their events.
const TENANTS: i64 = 100;

/// Removes the first events of the default partition that were recorded before `limit`, and raises the floors in the
/// same transactions. Stops at the first event that stays.
pub(super) async fn remove_from_default(
    session: &mut Session,
    default: &str,
    limit: DateTime<Utc>,
    run: &mut Run,
) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Removed {
        #[diesel(sql_type = BigInt)]
        count: i64,
        #[diesel(sql_type = Nullable<BigInt>)]
        position: Option<i64>,
        #[diesel(sql_type = Nullable<BigInt>)]
        seq: Option<i64>,
    }
    // The walk begins after the last batch, because the index has the entries of removed events until a vacuum.
    let sql = format!(
        "WITH batch AS MATERIALIZED (SELECT {FLOOR}, recorded_at FROM {default}
            WHERE (position, seq) > ($1, $2) AND position < (SELECT {HORIZON} FROM feed)
            ORDER BY position, seq LIMIT {BATCH}),
        kept AS (SELECT position, seq FROM batch WHERE recorded_at >= $3 ORDER BY position, seq LIMIT 1),
        expired AS MATERIALIZED (SELECT * FROM batch WHERE NOT EXISTS
            (SELECT FROM kept WHERE (kept.position, kept.seq) <= (batch.position, batch.seq))),
        raised AS (INSERT INTO feed_floors ({FLOOR})
            SELECT DISTINCT ON (tenant) {FLOOR} FROM expired ORDER BY tenant, position DESC, seq DESC {RAISE}),
        removed AS (DELETE FROM {default} AS e USING expired WHERE e.tenant = expired.tenant
            AND e.order_id = expired.order_id AND e.version = expired.version AND e.recorded_at = expired.recorded_at)
        SELECT (SELECT count(*) FROM expired) AS count, last.position, last.seq FROM (VALUES (1)) AS one
            LEFT JOIN (SELECT position, seq FROM expired ORDER BY position DESC, seq DESC LIMIT 1) AS last ON true"
    );
    let (mut position, mut seq) = (i64::MIN, i64::MIN);
    loop {
        let removed = session.row(|| {
            sql_query(&sql)
                .bind::<BigInt, _>(position)
                .bind::<BigInt, _>(seq)
                .bind::<Timestamptz, _>(limit)
        });
        let Some(Removed {
            count,
            position: Some(last_position),
            seq: Some(last_seq),
        }) = removed.await?
        else {
            return Ok(());
        };
        (position, seq) = (last_position, last_seq);
        run.report.events_removed += u64::try_from(count).unwrap_or_default();
        run.log_progress("removing events", run.report.events_removed);
        if !run.pause().await {
            return Ok(());
        }
    }
}

/// Removes events that were recorded from `limit` on and come before the floor of their tenant. Such an event was
/// written around the end of a month: its transaction began later than one that took a later position. No reader can
/// begin before it. Without it, the events of an order that are left have no gap.
pub(super) async fn remove_below_floors(
    session: &mut Session,
    limit: DateTime<Utc>,
    run: &mut Run,
) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Removed {
        #[diesel(sql_type = Nullable<Text>)]
        tenant: Option<String>,
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let sql = format!(
        "WITH floors AS MATERIALIZED (SELECT tenant, position, seq FROM feed_floors
            WHERE tenant > $1 ORDER BY tenant LIMIT {TENANTS}),
        below AS MATERIALIZED (SELECT e.* FROM floors CROSS JOIN LATERAL
            (SELECT tenant, order_id, version, recorded_at FROM events WHERE events.tenant = floors.tenant
                AND (events.position, events.seq) <= (floors.position, floors.seq) AND recorded_at >= $2
            ORDER BY events.position, events.seq LIMIT {BATCH}) AS e),
        removed AS (DELETE FROM events AS e USING below WHERE e.tenant = below.tenant
            AND e.order_id = below.order_id AND e.version = below.version AND e.recorded_at = below.recorded_at)
        SELECT (SELECT max(tenant) FROM floors) AS tenant, (SELECT count(*) FROM below) AS count"
    );
    let mut after = String::new();
    loop {
        let removed = session.row(|| {
            sql_query(&sql)
                .bind::<Text, _>(after.clone())
                .bind::<Timestamptz, _>(limit)
        });
        let Some(Removed {
            tenant: Some(last),
            count,
        }) = removed.await?
        else {
            return Ok(());
        };
        run.report.events_removed += u64::try_from(count).unwrap_or_default();
        // The same tenants again until nothing is left of them.
        if count == 0 {
            after = last;
        }
        if !run.pause().await {
            return Ok(());
        }
    }
}
