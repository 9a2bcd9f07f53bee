//! Reads the feed.

use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, Text};
use diesel::sqlite;

use super::Sqlite;
use super::event_rows::{EVENT_COLUMNS, EventColumns, EventSql, event_key, push_page};
use super::rows::uuid;
use crate::domain::Tenant;
use crate::store::StoreError;
use crate::store::cursor::{EventKey, Evidence, Position};
use crate::store::error::StoreFault;
use crate::store::event::{Entry, Event, FeedRead, FeedState, PageSize, TenantEvent};
use crate::store::event_sql::PageLimits;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

impl Sqlite {
    /// Reads the events of a tenant after `after`, in the order of their commits, if reading may continue there.
    /// Without a position, reads from the oldest event. One statement reads all of it, and so one snapshot, as on
    /// PostgreSQL.
    pub(super) async fn read_feed(
        &self,
        tenant: Tenant,
        after: Option<Position>,
        size: PageSize,
    ) -> Result<FeedRead<Event>, StoreError> {
        let read = ReadFeed {
            tenant,
            after: Position::event_of(after),
            limits: size.into(),
        };
        let rows: Vec<Row> = self
            .read(QueryName::ReadFeed, move |connection| {
                Ok(Prepared(read).load(connection)?)
            })
            .await?;
        feed_read(rows, after, size, |row| row.event)
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
        let rows: Vec<Row> = self
            .read(QueryName::ReadFeed, move |connection| {
                Ok(Prepared(read).load(connection)?)
            })
            .await?;
        feed_read(rows, Some(after), size, |row| row)
    }

    /// The position of the last event of all tenants, or the highest floor if it is after that event.
    pub(super) async fn read_head(&self) -> Result<Position, StoreError> {
        let head: Option<(i64, Vec<u8>, i32, i64)> = self
            .read(QueryName::ReadFeed, |connection| {
                Ok(Prepared(ReadHead).get_result(connection).optional()?)
            })
            .await?;
        Ok(Position(match head {
            Some((seq, id, version, at)) => Some(event_key(seq, uuid(&id)?, version, at)),
            None => None,
        }))
    }
}

type Row = (StateColumns, EventColumns);

fn feed_read<E: Entry>(
    rows: Vec<Row>,
    after: Option<Position>,
    size: PageSize,
    entry: impl Fn(TenantEvent) -> E,
) -> Result<FeedRead<E>, StoreError> {
    let (mut state, mut events) = (None, Vec::with_capacity(rows.len()));
    for (row_state, row) in rows {
        state = state.or(Some(row_state));
        events.extend(row.event()?.map(&entry));
    }
    let state = state.ok_or(StoreFault::NoFeedRow)?;
    let state = FeedState {
        evidence: state.evidence()?,
        horizon: (0, state.horizon),
        key: state.cursor_key.unwrap_or_default().into(),
        waiting: state.waiting,
    };
    Ok(FeedRead::new(after, size, state, events))
}

/// Ends a statement that has the floor as `floors`: the columns of [`Row`].
fn push_select<'b>(
    after: &'b EventKey,
    tenant: Option<&'b Tenant>,
    limits: &'b PageLimits,
    floor: impl FnOnce(&mut AstPass<'_, 'b, sqlite::Sqlite>) -> QueryResult<()>,
    out: &mut AstPass<'_, 'b, sqlite::Sqlite>,
) -> QueryResult<()> {
    out.push_sql(
        "SELECT ifnull((SELECT max(seq) FROM events), 0),
            CASE WHEN number > 1 THEN NULL ELSE cursor_key END, floors.seq, floors.order_id,
            floors.version, floors.occurred_at, EXISTS (SELECT 1 FROM events WHERE seq = ",
    );
    out.push_bind_param::<BigInt, _>(&after.seq)?;
    out.push_sql(" AND order_id = ");
    out.push_bind_param::<Binary, _>(after.order_id.as_bytes().as_slice())?;
    out.push_sql(" AND version = ");
    out.push_bind_param::<Integer, _>(&after.version)?;
    out.push_sql(" AND occurred_at = ");
    out.push_bind_param::<BigInt, _>(&after.occurred_at)?;
    if let Some(tenant) = tenant {
        out.push_sql(" AND tenant = ");
        out.push_bind_param::<Text, _>(tenant.as_str())?;
    }
    out.push_sql("), (SELECT count(*) FROM next), ");
    for (i, column) in EVENT_COLUMNS.split(", ").enumerate() {
        out.push_sql(if i > 0 { ", page." } else { "page." });
        out.push_sql(column);
    }
    out.push_sql(" FROM feed LEFT JOIN ");
    floor(out)?;
    out.push_sql(" LEFT JOIN page ON ");
    limits.push_fits(out)?;
    out.push_sql(" ORDER BY number");
    Ok(())
}

/// Reads a page of the feed of a tenant, with the state of the position.
struct ReadFeed {
    tenant: Tenant,
    after: EventKey,
    limits: PageLimits,
}

impl Statement for ReadFeed {
    type Database = sqlite::Sqlite;
    type Id = Self;
    type Columns = (StateSql, EventSql);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, sqlite::Sqlite>) -> QueryResult<()> {
        out.push_sql("WITH next AS MATERIALIZED (SELECT * FROM events WHERE tenant = ");
        out.push_bind_param::<Text, _>(self.tenant.as_str())?;
        out.push_sql(" AND seq > ");
        out.push_bind_param::<BigInt, _>(&self.after.seq)?;
        push_page(out, "seq");
        let floor = |out: &mut AstPass<'_, 'b, sqlite::Sqlite>| {
            out.push_sql("feed_floors AS floors ON floors.tenant = ");
            out.push_bind_param::<Text, _>(self.tenant.as_str())
        };
        push_select(&self.after, Some(&self.tenant), &self.limits, floor, out)
    }
}

/// Reads a page of the events of all tenants, as [`ReadFeed`] reads those of one.
struct ReadTail {
    after: EventKey,
    limits: PageLimits,
}

impl Statement for ReadTail {
    type Database = sqlite::Sqlite;
    type Id = Self;
    type Columns = (StateSql, EventSql);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, sqlite::Sqlite>) -> QueryResult<()> {
        out.push_sql("WITH next AS MATERIALIZED (SELECT * FROM events WHERE seq > ");
        out.push_bind_param::<BigInt, _>(&self.after.seq)?;
        push_page(out, "seq");
        let floor = |out: &mut AstPass<'_, 'b, sqlite::Sqlite>| {
            out.push_sql("(SELECT * FROM feed_floors ORDER BY seq DESC LIMIT 1) AS floors ON true");
            Ok(())
        };
        push_select(&self.after, None, &self.limits, floor, out)
    }
}

/// Finds the end of the feed of all tenants.
struct ReadHead;

impl Statement for ReadHead {
    type Database = sqlite::Sqlite;
    type Id = Self;
    type Columns = (BigInt, Binary, Integer, BigInt);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, sqlite::Sqlite>) -> QueryResult<()> {
        out.push_sql(
            "SELECT * FROM (
                SELECT * FROM (SELECT seq, order_id, version, occurred_at FROM events ORDER BY seq DESC LIMIT 1)
                UNION ALL
                SELECT * FROM (SELECT seq, order_id, version, occurred_at FROM feed_floors ORDER BY seq DESC LIMIT 1))
            ORDER BY seq DESC LIMIT 1",
        );
        Ok(())
    }
}

type StateSql = (
    BigInt,
    Nullable<Binary>,
    Nullable<BigInt>,
    Nullable<Binary>,
    Nullable<Integer>,
    Nullable<BigInt>,
    Bool,
    BigInt,
);

/// The state of the feed, which every row of a page has.
#[derive(Queryable)]
struct StateColumns {
    /// The last sequence of all events.
    horizon: i64,
    /// Only the first row has it.
    cursor_key: Option<Vec<u8>>,
    floor_seq: Option<i64>,
    floor_order_id: Option<Vec<u8>>,
    floor_version: Option<i32>,
    floor_occurred_at: Option<i64>,
    present: bool,
    waiting: i64,
}

impl StateColumns {
    fn evidence(&self) -> Result<Evidence, StoreError> {
        let event = self.floor_order_id.as_ref().zip(self.floor_version);
        let floor = self.floor_seq.zip(event).zip(self.floor_occurred_at);
        let floor = match floor {
            Some(((seq, (id, version)), at)) => Some(event_key(seq, uuid(id)?, version, at)),
            None => None,
        };
        Ok(Evidence {
            floor,
            present: self.present,
        })
    }
}
