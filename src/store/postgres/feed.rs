//! Reads the feed.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{QueryResult, Queryable};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::event_rows::{COLUMNS, EventColumns, EventSql, push_limit, push_walk};
use super::plan::push_unknown;
use crate::domain::Tenant;
use crate::store::StoreError;
use crate::store::cursor::{EventKey, Evidence, Position};
use crate::store::error::StoreFault;
use crate::store::event::{Entry, Event, FeedRead, FeedState, PageSize, TenantEvent};
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
    /// Reads the events of a tenant after `after`, in the order of their commits, if reading may continue there.
    /// Without a position, reads from the oldest event.
    pub(super) async fn read_feed(
        &self,
        tenant: Tenant,
        after: Option<Position>,
        size: PageSize,
    ) -> Result<FeedRead<Event>, StoreError> {
        let key = Position::event_of(after);
        let read = ReadFeed {
            tenant,
            after: key,
            limits: size.into(),
        };
        let rows: Vec<(StateColumns, Option<EventColumns>)> = self
            .run(QueryName::ReadFeed, move |connection| {
                let read = Prepared(read.clone());
                async move { read.load(connection).await }.boxed()
            })
            .await?;
        let rows = rows.into_iter();
        feed_read(
            rows.map(|(state, event)| (state, event.map(Event::from))),
            after,
            size,
        )
    }

    /// Reads the events of all tenants after `after`, as [`Self::read_feed`] reads those of one.
    pub(super) async fn read_tail(
        &self,
        after: Position,
        size: PageSize,
    ) -> Result<FeedRead<TenantEvent>, StoreError> {
        let read = ReadTail {
            after: Position::event_of(Some(after)),
            limits: size.into(),
        };
        let rows: Vec<(StateColumns, Option<String>, Option<EventColumns>)> = self
            .run(QueryName::ReadFeed, move |connection| {
                let read = Prepared(read.clone());
                async move { read.load(connection).await }.boxed()
            })
            .await?;
        let rows = rows.into_iter().map(|(state, tenant, event)| {
            let event = tenant.zip(event).map(|(tenant, event)| TenantEvent {
                tenant,
                event: event.into(),
            });
            (state, event)
        });
        feed_read(rows, Some(after), size)
    }
}

/// The result of a page whose rows all have the state of the feed.
fn feed_read<E: Entry>(
    rows: impl ExactSizeIterator<Item = (StateColumns, Option<E>)>,
    after: Option<Position>,
    size: PageSize,
) -> Result<FeedRead<E>, StoreError> {
    let (mut state, mut events) = (None, Vec::with_capacity(rows.len()));
    for (row_state, event) in rows {
        state = state.or(Some(row_state));
        events.extend(event);
    }
    let state = state.ok_or(StoreFault::NoFeedRow)?;
    Ok(state.into_read(after, events, size))
}

/// The columns of the feed that every row of a page has, with the names of `state`. Only the first row has the key.
const STATE: &str =
    "horizon, CASE WHEN number > 1 THEN NULL ELSE cursor_key END, floor_position, floor_seq,
            floor_order_id, floor_version, floor_occurred_at, ";
/// SQL for the floor of a row of `feed_floors`, with the names of `state`.
const FLOOR: &str = "floors.position AS floor_position, floors.seq AS floor_seq, floors.order_id AS floor_order_id,
                floors.version AS floor_version, floors.occurred_at AS floor_occurred_at FROM feed LEFT JOIN ";

type StateSql = (
    BigInt,
    Nullable<Binary>,
    Nullable<BigInt>,
    Nullable<BigInt>,
    Nullable<SqlUuid>,
    Nullable<Integer>,
    Nullable<Timestamptz>,
    Nullable<Timestamptz>,
    BigInt,
);

/// Writes the statement that reads a page of the events of a tenant, or of all tenants. The check of the position, the
/// floor, the horizon and the events come from one snapshot: between two statements the server may change, or retention
/// may remove events. For all tenants, the floor is the highest of all: no event after it has been removed.
fn push_page<'b>(
    tenant: Option<&'b Tenant>,
    after: &'b EventKey,
    limits: &'b PageLimits,
    out: &mut AstPass<'_, 'b, Pg>,
) -> QueryResult<()> {
    out.push_sql("WITH state AS MATERIALIZED (SELECT ");
    out.push_sql(HORIZON);
    out.push_sql(" AS horizon, cursor_key, ");
    out.push_sql(FLOOR);
    if let Some(tenant) = tenant {
        out.push_sql("feed_floors AS floors ON floors.tenant = ");
        out.push_bind_param::<Text, _>(tenant.as_str())?;
    } else {
        out.push_sql("(");
        out.push_sql(HIGHEST_FLOOR);
        out.push_sql(") AS floors ON true");
    }
    out.push_sql("), next AS MATERIALIZED (SELECT * FROM events WHERE ");
    push_tenant(tenant, out)?;
    push_range(after, out)?;
    out.push_sql("), page AS (");
    push_walk(out, "position, seq");
    out.push_sql(") SELECT ");
    out.push_sql(STATE);
    out.push_sql("(SELECT occurred_at FROM events WHERE ");
    push_tenant(tenant, out)?;
    push_same_event(after, out)?;
    out.push_sql("), (SELECT count(*) FROM next), ");
    if tenant.is_none() {
        out.push_sql("tenant, ");
    }
    out.push_sql(COLUMNS);
    out.push_sql(" FROM state LEFT JOIN page ON ");
    limits.push_fits(out)?;
    out.push_sql(" ORDER BY number");
    Ok(())
}

/// SQL for whether a row belongs to the tenant, before further conditions.
fn push_tenant<'b>(tenant: Option<&'b Tenant>, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    if let Some(tenant) = tenant {
        out.push_sql("tenant = ");
        out.push_bind_param::<Text, _>(tenant.as_str())?;
        out.push_sql(" AND ");
    }
    Ok(())
}

/// SQL for whether an event is after `after`, and readers may read it.
fn push_range<'b>(after: &'b EventKey, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql("(position, seq) > (");
    push_unknown::<BigInt, _>(&after.position, out)?;
    out.push_sql(", ");
    push_unknown::<BigInt, _>(&after.seq, out)?;
    out.push_sql(") AND position < (SELECT horizon FROM state) ORDER BY position, seq");
    push_limit(out);
    Ok(())
}

/// SQL for whether a row is the event `after`, apart from its time.
fn push_same_event<'b>(after: &'b EventKey, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
    out.push_sql("order_id = ");
    out.push_bind_param::<SqlUuid, _>(&after.order_id)?;
    out.push_sql(" AND version = ");
    out.push_bind_param::<Integer, _>(&after.version)?;
    out.push_sql(" AND position = ");
    out.push_bind_param::<BigInt, _>(&after.position)?;
    out.push_sql(" AND seq = ");
    out.push_bind_param::<BigInt, _>(&after.seq)?;
    Ok(())
}

/// Reads a page of the feed of a tenant.
#[derive(Clone)]
struct ReadFeed {
    tenant: Tenant,
    after: EventKey,
    limits: PageLimits,
}

impl Statement for ReadFeed {
    type Database = Pg;
    type Id = Self;
    type Columns = (StateSql, Nullable<EventSql>);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push_page(Some(&self.tenant), &self.after, &self.limits, out)
    }
}

/// Reads a page of the events of all tenants.
#[derive(Clone)]
struct ReadTail {
    after: EventKey,
    limits: PageLimits,
}

impl Statement for ReadTail {
    type Database = Pg;
    type Id = Self;
    type Columns = (StateSql, Nullable<Text>, Nullable<EventSql>);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        push_page(None, &self.after, &self.limits, out)
    }
}

/// SQL for the highest floor of all tenants.
pub(super) const HIGHEST_FLOOR: &str =
    "SELECT position, seq, order_id, version, occurred_at FROM feed_floors
            ORDER BY position DESC, seq DESC LIMIT 1";

#[derive(Queryable)]
struct StateColumns {
    horizon: i64,
    cursor_key: Option<Vec<u8>>,
    floor_position: Option<i64>,
    floor_seq: Option<i64>,
    floor_order_id: Option<Uuid>,
    floor_version: Option<i32>,
    floor_occurred_at: Option<DateTime<Utc>>,
    /// The time of the event that has the position, sequence, order and version of the reader. It is compared in
    /// this process, because a cursor may have a time that the server rejects as out of range.
    present_occurred_at: Option<DateTime<Utc>>,
    waiting: i64,
}

impl StateColumns {
    fn into_read<E: Entry>(
        self,
        after: Option<Position>,
        events: Vec<E>,
        size: PageSize,
    ) -> FeedRead<E> {
        let floor = self.floor_position.zip(self.floor_seq);
        let event = self.floor_order_id.zip(self.floor_version);
        let floor = floor.zip(event).zip(self.floor_occurred_at);
        let evidence = Evidence {
            floor: floor.map(|(((position, seq), (order_id, version)), at)| EventKey {
                position,
                seq,
                order_id,
                version,
                occurred_at: at.timestamp_micros(),
            }),
            present: self
                .present_occurred_at
                .is_some_and(|at| at.timestamp_micros() == Position::event_of(after).occurred_at),
        };
        let state = FeedState {
            evidence,
            // Events at the horizon itself may still be written.
            horizon: (self.horizon, i64::MIN),
            key: self.cursor_key.unwrap_or_default().into(),
            waiting: self.waiting,
        };
        FeedRead::new(after, size, state, events)
    }
}
