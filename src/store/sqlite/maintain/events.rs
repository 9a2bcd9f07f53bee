//! Removes events.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;

use super::super::schema::events;
use super::BATCH;
use crate::store::StoreError;

/// Removes the first events if they were recorded before `before`, and raises the floors of their tenants to the last
/// of them. Stops at the first event that stays. Returns the number of removed events.
pub(super) fn remove(
    connection: &mut SqliteConnection,
    before: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let before = before.timestamp_micros();
    let first: Vec<(i64, i64)> = events::table
        .select((events::seq, events::recorded_at))
        .order(events::seq)
        .limit(BATCH)
        .load(connection)?;
    let expired = first
        .into_iter()
        .take_while(|(_, recorded_at)| *recorded_at < before);
    let Some((last, _)) = expired.last() else {
        return Ok(0);
    };
    sql_query(
        "INSERT INTO feed_floors (tenant, seq, order_id, version, occurred_at)
        SELECT tenant, seq, order_id, version, occurred_at FROM events
            WHERE seq IN (SELECT max(seq) FROM events WHERE seq <= ? GROUP BY tenant)
        ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq, order_id = excluded.order_id,
            version = excluded.version, occurred_at = excluded.occurred_at
        WHERE feed_floors.seq < excluded.seq",
    )
    .bind::<BigInt, _>(last)
    .execute(connection)?;
    let removed = diesel::delete(events::table.filter(events::seq.le(last))).execute(connection)?;
    Ok(u64::try_from(removed).unwrap_or_default())
}
