//! Reads the feed.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Integer, Nullable, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, Queryable};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::event_rows::{COLUMNS, EventColumns, EventSql, push_limit, push_walk};
use crate::store::StoreError;
use crate::store::cursor::{Cursor, EventKey, Evidence};
use crate::store::error::StoreFault;
use crate::store::event::{Event, EventPage, Feed, PageSize};
use crate::store::event_sql::PageLimits;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

/// SQL for the limit up to which readers may read. No event is added below this position any more.
///
/// Transactions do not commit in the order in which they take their ids. No transaction with an id below that of
/// the oldest running one (`pg_snapshot_xmin`, PostgreSQL manual, section 9.27.8) writes any more.
pub(super) const HORIZON: &str =
    "pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xid_offset";

impl Postgres {
    /// Reads the events after `after`, in the order of their commits, if reading may continue there. Without a
    /// cursor, reads from the oldest event.
    pub(super) async fn read_feed(
        &self,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Feed, StoreError> {
        let key = Cursor::key_of(after);
        let read = ReadFeed {
            after: key,
            limits: size.into(),
        };
        let rows: Vec<FeedRow> = self
            .run(QueryName::ReadFeed, move |connection| {
                let read = Prepared(read.clone());
                async move { read.load(connection).await }.boxed()
            })
            .await?;
        let first = rows.as_slice().first();
        let first = first.ok_or(StoreFault::NoFeedRow)?;
        let (evidence, waiting) = (first.evidence(key), first.waiting);
        let events = rows.into_iter().filter_map(|row| row.event);
        let page = EventPage::new(events.map(Event::from).collect(), waiting, size);
        Ok(Feed::new(after, evidence, page))
    }
}

/// Reads a page of the feed. The check of the cursor, the floor, the horizon and the events come from one
/// snapshot: between two statements the server may change, or retention may remove events.
#[derive(Clone)]
struct ReadFeed {
    after: EventKey,
    limits: PageLimits,
}

impl Statement for ReadFeed {
    type Database = Pg;
    type Id = Self;
    type Columns = (
        Nullable<BigInt>,
        Nullable<BigInt>,
        Nullable<SqlUuid>,
        Nullable<Integer>,
        Nullable<Timestamptz>,
        Nullable<Timestamptz>,
        BigInt,
        Nullable<EventSql>,
    );

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
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
        push_limit(out);
        out.push_sql("), page AS (");
        push_walk(out, "position, seq");
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
        self.limits.push_fits(out)?;
        out.push_sql(" ORDER BY number");
        Ok(())
    }
}

#[derive(Queryable)]
struct FeedRow {
    floor_position: Option<i64>,
    floor_seq: Option<i64>,
    floor_order_id: Option<Uuid>,
    floor_version: Option<i32>,
    floor_occurred_at: Option<DateTime<Utc>>,
    /// The time of the event that has the position, sequence, order and version of the cursor. It is compared in
    /// this process, because a cursor may have a time that the server rejects as out of range.
    present_occurred_at: Option<DateTime<Utc>>,
    waiting: i64,
    event: Option<EventColumns>,
}

impl FeedRow {
    /// The evidence in the row about the cursor `after`.
    fn evidence(&self, after: EventKey) -> Evidence {
        let floor = self.floor_position.zip(self.floor_seq);
        let event = self.floor_order_id.zip(self.floor_version);
        let floor = floor.zip(event).zip(self.floor_occurred_at);
        let present = self.present_occurred_at;
        Evidence {
            floor: floor.map(|(((position, seq), (order_id, version)), at)| EventKey {
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
