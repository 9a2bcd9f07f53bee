//! Reads the event log.

use chrono::{DateTime, Utc};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Double, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use crate::store::StoreError;
use crate::store::event::{Cursor, Event};
use crate::telemetry::QueryName;

#[derive(QueryableByName)]
struct EventRow {
    #[diesel(sql_type = SqlUuid)]
    order_id: Uuid,
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = BigInt)]
    position: i64,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Timestamptz)]
    occurred_at: DateTime<Utc>,
    #[diesel(sql_type = Text)]
    data: String,
    #[diesel(sql_type = Nullable<Text>)]
    traceparent: Option<String>,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        Self {
            order_id: row.order_id,
            version: row.version,
            occurred_at: row.occurred_at,
            data: row.data,
            traceparent: row.traceparent,
            cursor: Cursor {
                position: row.position,
                seq: row.seq,
            },
        }
    }
}

impl Postgres {
    /// The events behind `after`, in the order of their commits.
    ///
    /// Transactions commit in another order than they took their ids. Below the oldest that still
    /// runs (`pg_snapshot_xmin`, PostgreSQL manual, section 9.27.8) nothing is added any more, so a
    /// reader who stops there misses nothing.
    pub(in crate::store) async fn feed(
        &self,
        after: Cursor,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let rows: Vec<EventRow> = self
            .run(QueryName::ReadFeed, move |connection| {
                diesel::sql_query(
                    "SELECT order_id, version, position, seq, occurred_at, data::text AS data, traceparent
                     FROM events
                     WHERE (position, seq) > ($1, $2) AND position <
                        (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xid_offset FROM feed)
                     ORDER BY position, seq
                     LIMIT $3",
                )
                .bind::<BigInt, _>(after.position)
                .bind::<BigInt, _>(after.seq)
                .bind::<BigInt, _>(i64::from(limit))
                .load(connection)
                .boxed()
            })
            .await?;
        Ok(rows.into_iter().map(Event::from).collect())
    }

    /// Age in seconds of the oldest event that readers do not get yet, because a transaction that
    /// began before it still runs; 0 when there is none.
    pub(in crate::store) async fn feed_lag(&self) -> Result<f64, StoreError> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Double)]
            lag: f64,
        }
        let row: Row = self
            .run(QueryName::FeedLag, |connection| {
                diesel::sql_query(
                    "SELECT coalesce(greatest(extract(epoch FROM now() - min(occurred_at)), 0), 0)::float8 AS lag
                     FROM events WHERE position >=
                        (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xid_offset FROM feed)",
                )
                .get_result(connection)
                .boxed()
            })
            .await?;
        Ok(row.lag)
    }

    /// The events of one order behind a version, oldest first.
    pub(in crate::store) async fn order_events(
        &self,
        id: Uuid,
        after: i32,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        let rows: Vec<EventRow> = self
            .run(QueryName::ReadOrderEvents, move |connection| {
                diesel::sql_query(
                    "SELECT order_id, version, position, seq, occurred_at, data::text AS data, traceparent
                     FROM events WHERE order_id = $1 AND version > $2 ORDER BY version LIMIT $3",
                )
                .bind::<SqlUuid, _>(id)
                .bind::<Integer, _>(after)
                .bind::<BigInt, _>(i64::from(limit))
                .load(connection)
                .boxed()
            })
            .await?;
        Ok(rows.into_iter().map(Event::from).collect())
    }
}
