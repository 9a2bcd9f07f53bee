//! Reads the event log.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{
    BigInt, Bool, Double, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use diesel::{QueryResult, Queryable};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use crate::store::StoreError;
use crate::store::cursor::{Cursor, Evidence, Place};
use crate::store::event::{ENVELOPE_BYTES, Event, EventPage, Feed, PageSize};
use crate::telemetry::QueryName;

/// SQL for how far a reader may go: below this position nothing is added any more.
///
/// Transactions commit in another order than they took their ids. Below the oldest that still runs
/// (`pg_snapshot_xmin`, PostgreSQL manual, section 9.27.8) none will write.
const HORIZON: &str = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xid_offset";

/// SQL for the columns of [`EventColumns`].
const COLUMNS: &str =
    "order_id, version, position, seq, occurred_at, data::text AS data, traceparent";

type EventSql = (
    SqlUuid,
    Integer,
    BigInt,
    BigInt,
    Timestamptz,
    Text,
    Nullable<Text>,
);

#[derive(Queryable)]
struct EventColumns {
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
            })),
        }
    }
}

/// SQL for the events of a walk along an index, numbered and with the bytes of the page so far. A window
/// function does not read the long values of its rows, which are stored apart; only those that are sent
/// are read.
fn push_walk(out: &mut AstPass<'_, '_, Pg>, order: &'static str) {
    out.push_sql("SELECT *, row_number() OVER walk AS number, sum(data_bytes + ");
    out.push_sql(&ENVELOPE_BYTES.to_string());
    out.push_sql(" + coalesce(octet_length(traceparent), 0)) OVER walk AS bytes FROM next WINDOW walk AS (ORDER BY ");
    out.push_sql(order);
    out.push_sql(" ROWS UNBOUNDED PRECEDING)");
}

fn push_limit(out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql(" LIMIT ");
    out.push_sql(&(PageSize::MAX_EVENTS + 1).to_string());
}

fn push_fits<'b>(
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
struct ReadFeed {
    after: Place,
    events: i64,
    bytes: i64,
}

impl QueryFragment<Pg> for ReadFeed {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH state AS MATERIALIZED (SELECT ");
        out.push_sql(HORIZON);
        out.push_sql(
            " AS horizon, floor_position, floor_seq, floor_order_id, floor_version FROM feed),
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
            ") SELECT floor_position, floor_seq, floor_order_id, floor_version,
            EXISTS (SELECT FROM events WHERE order_id = ",
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
        Bool,
        BigInt,
        Nullable<EventSql>,
    );
}

#[derive(Queryable)]
struct FeedRow {
    floor_position: Option<i64>,
    floor_seq: Option<i64>,
    floor_order_id: Option<Uuid>,
    floor_version: Option<i32>,
    present: bool,
    waiting: i64,
    event: Option<EventColumns>,
}

impl FeedRow {
    fn evidence(&self) -> Evidence {
        let floor = self.floor_position.zip(self.floor_seq);
        let event = self.floor_order_id.zip(self.floor_version);
        let floor = floor.zip(event);
        Evidence {
            floor: floor.map(|((position, seq), (order_id, version))| Place {
                position,
                seq,
                order_id,
                version,
            }),
            present: self.present,
        }
    }
}

/// Reads a page of the events of one order.
#[derive(Clone)]
struct ReadOrderEvents {
    id: Uuid,
    after: i32,
    events: i64,
    bytes: i64,
}

impl QueryFragment<Pg> for ReadOrderEvents {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH next AS MATERIALIZED (SELECT * FROM events WHERE order_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.id)?;
        out.push_sql(" AND version > ");
        out.push_bind_param::<Integer, _>(&self.after)?;
        out.push_sql(" ORDER BY version");
        push_limit(&mut out);
        out.push_sql("), page AS (");
        push_walk(&mut out, "version");
        out.push_sql(") SELECT (SELECT count(*) FROM next), ");
        out.push_sql(COLUMNS);
        out.push_sql(" FROM page WHERE ");
        push_fits(&mut out, &self.events, &self.bytes)?;
        out.push_sql(" ORDER BY number");
        Ok(())
    }
}

impl QueryId for ReadOrderEvents {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for ReadOrderEvents {
    type SqlType = (BigInt, EventSql);
}

impl Postgres {
    /// The events behind `after`, in the order of their commits, if reading may continue there; without
    /// a cursor, everything that there is.
    pub(in crate::store) async fn feed(
        &self,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Feed, StoreError> {
        let read = ReadFeed {
            after: after
                .and_then(|cursor| cursor.0)
                .unwrap_or(Place::BEGINNING),
            events: size.events.into(),
            bytes: size.bytes.into(),
        };
        let rows: Vec<FeedRow> = self
            .run(QueryName::ReadFeed, move |connection| {
                let read = read.clone();
                async move { read.load(connection).await }.boxed()
            })
            .await?;
        let first = rows.as_slice().first();
        let first = first.ok_or_else(|| StoreError::Internal("feed has no row".to_owned()))?;
        let (evidence, waiting) = (first.evidence(), first.waiting);
        let events = rows.into_iter().filter_map(|row| row.event);
        let page = EventPage::new(events.map(Event::from).collect(), waiting, size);
        Ok(Feed::new(after, evidence, page))
    }

    /// Age in seconds of the first event that readers do not get yet, because a transaction that began
    /// before it still runs; 0 when there is none. One step along an index, however much is held back.
    pub(in crate::store) async fn feed_lag(&self) -> Result<f64, StoreError> {
        self.run(QueryName::FeedLag, |connection| {
            async move { FeedLag.get_result(connection).await }.boxed()
        })
        .await
    }

    /// The events of one order behind a version, oldest first.
    pub(in crate::store) async fn order_events(
        &self,
        id: Uuid,
        after: i32,
        size: PageSize,
    ) -> Result<EventPage, StoreError> {
        let read = ReadOrderEvents {
            id,
            after,
            events: size.events.into(),
            bytes: size.bytes.into(),
        };
        let rows: Vec<(i64, EventColumns)> = self
            .run(QueryName::ReadOrderEvents, move |connection| {
                let read = read.clone();
                async move { read.load(connection).await }.boxed()
            })
            .await?;
        let waiting = rows.as_slice().first().map_or(0, |(waiting, _)| *waiting);
        let events = rows.into_iter().map(|(_, event)| event.into()).collect();
        Ok(EventPage::new(events, waiting, size))
    }
}

struct FeedLag;

impl QueryFragment<Pg> for FeedLag {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT coalesce(greatest(extract(epoch FROM now() - (SELECT occurred_at FROM events
                WHERE position >= (SELECT ",
        );
        out.push_sql(HORIZON);
        out.push_sql(" FROM feed) ORDER BY position, seq LIMIT 1)), 0), 0)::float8");
        Ok(())
    }
}

impl QueryId for FeedLag {
    type QueryId = Self;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for FeedLag {
    type SqlType = Double;
}
