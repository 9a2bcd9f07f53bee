//! The statement that reads the feed, and what it shares with others that read the event log.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, Queryable};
use uuid::Uuid;

use crate::store::cursor::{Cursor, Evidence, Place};
use crate::store::event::{ENVELOPE_BYTES, Event, PageSize};

/// SQL for how far a reader may go: below this position nothing is added any more.
///
/// Transactions commit in another order than they took their ids. Below the oldest that still runs
/// (`pg_snapshot_xmin`, PostgreSQL manual, section 9.27.8) none will write.
pub(super) const HORIZON: &str =
    "pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xid_offset";

/// SQL for the columns of [`EventColumns`].
pub(super) const COLUMNS: &str =
    "order_id, version, position, seq, occurred_at, data::text AS data, traceparent";

pub(super) type EventSql = (
    SqlUuid,
    Integer,
    BigInt,
    BigInt,
    Timestamptz,
    Text,
    Nullable<Text>,
);

#[derive(Queryable)]
pub(super) struct EventColumns {
    order_id: Uuid,
    version: i32,
    position: i64,
    seq: i64,
    occurred_at: DateTime<Utc>,
    data: String,
    traceparent: Option<String>,
}

impl From<EventColumns> for Event {
    fn from(row: EventColumns) -> Self {
        Self {
            order_id: row.order_id,
            version: row.version,
            occurred_at: row.occurred_at,
            data: row.data,
            traceparent: row.traceparent,
            cursor: Cursor(Some(Place {
                position: row.position,
                seq: row.seq,
                order_id: row.order_id,
                version: row.version,
                occurred_at: row.occurred_at.timestamp_micros(),
            })),
        }
    }
}

/// SQL for the events of a walk along an index, numbered and with the bytes of the page so far. A window
/// function does not read the long values of its rows, which are stored apart; only those that are sent
/// are read.
pub(super) fn push_walk(out: &mut AstPass<'_, '_, Pg>, order: &'static str) {
    out.push_sql("SELECT *, row_number() OVER walk AS number, sum(data_bytes + ");
    out.push_sql(&ENVELOPE_BYTES.to_string());
    out.push_sql(" + coalesce(octet_length(traceparent), 0)) OVER walk AS bytes FROM next WINDOW walk AS (ORDER BY ");
    out.push_sql(order);
    out.push_sql(" ROWS UNBOUNDED PRECEDING)");
}

pub(super) fn push_limit(out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql(" LIMIT ");
    out.push_sql(&(PageSize::MAX_EVENTS + 1).to_string());
}

pub(super) fn push_fits<'b>(
    out: &mut AstPass<'_, 'b, Pg>,
    events: &'b i64,
    bytes: &'b i64,
) -> QueryResult<()> {
    out.push_sql("number <= ");
    out.push_bind_param::<BigInt, _>(events)?;
    out.push_sql(" AND (number = 1 OR bytes <= ");
    out.push_bind_param::<BigInt, _>(bytes)?;
    out.push_sql(")");
    Ok(())
}

/// Reads a page of the feed. The check of the cursor, the floor, the horizon and the events are of one
/// snapshot: between two statements the server may change, or retention remove something.
#[derive(Clone)]
pub(super) struct ReadFeed {
    pub(super) after: Place,
    pub(super) events: i64,
    pub(super) bytes: i64,
}

impl QueryFragment<Pg> for ReadFeed {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH state AS MATERIALIZED (SELECT ");
        out.push_sql(HORIZON);
        out.push_sql(
            " AS horizon, floor_position, floor_seq, floor_order_id, floor_version, floor_occurred_at
            FROM feed),
            next AS MATERIALIZED (SELECT * FROM events WHERE (position, seq) > (",
        );
        out.push_bind_param::<BigInt, _>(&self.after.position)?;
        out.push_sql(", ");
        out.push_bind_param::<BigInt, _>(&self.after.seq)?;
        out.push_sql(") AND position < (SELECT horizon FROM state) ORDER BY position, seq");
        push_limit(&mut out);
        out.push_sql("), page AS (");
        push_walk(&mut out, "position, seq");
        out.push_sql(
            ") SELECT floor_position, floor_seq, floor_order_id, floor_version, floor_occurred_at,
            (SELECT occurred_at FROM events WHERE order_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.after.order_id)?;
        out.push_sql(" AND version = ");
        out.push_bind_param::<Integer, _>(&self.after.version)?;
        out.push_sql(" AND position = ");
        out.push_bind_param::<BigInt, _>(&self.after.position)?;
        out.push_sql(" AND seq = ");
        out.push_bind_param::<BigInt, _>(&self.after.seq)?;
        out.push_sql("), (SELECT count(*) FROM next), ");
        out.push_sql(COLUMNS);
        out.push_sql(" FROM state LEFT JOIN page ON ");
        push_fits(&mut out, &self.events, &self.bytes)?;
        out.push_sql(" ORDER BY number");
        Ok(())
    }
}

impl QueryId for ReadFeed {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for ReadFeed {
    type SqlType = (
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<SqlUuid>,
        Nullable<Integer>,
        Nullable<Timestamptz>,
        Nullable<Timestamptz>,
        BigInt,
        Nullable<EventSql>,
    );
}

#[derive(Queryable)]
pub(super) struct FeedRow {
    floor_position: Option<i64>,
    floor_seq: Option<i64>,
    floor_order_id: Option<Uuid>,
    floor_version: Option<i32>,
    floor_occurred_at: Option<DateTime<Utc>>,
    /// When the event happened that has the position, sequence, order and version of the cursor. It is
    /// compared here: a cursor may hold a time that the server refuses as out of range.
    present_occurred_at: Option<DateTime<Utc>>,
    pub(super) waiting: i64,
    pub(super) event: Option<EventColumns>,
}

impl FeedRow {
    /// What the row says about the cursor `after`.
    pub(super) fn evidence(&self, after: Place) -> Evidence {
        let floor = self.floor_position.zip(self.floor_seq);
        let event = self.floor_order_id.zip(self.floor_version);
        let floor = floor.zip(event).zip(self.floor_occurred_at);
        let present = self.present_occurred_at;
        Evidence {
            floor: floor.map(|(((position, seq), (order_id, version)), at)| Place {
                position,
                seq,
                order_id,
                version,
                occurred_at: at.timestamp_micros(),
            }),
            present: present.is_some_and(|at| at.timestamp_micros() == after.occurred_at),
        }
    }
}
