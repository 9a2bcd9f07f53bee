//! Reads the events of one order.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Integer, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::event_rows::{COLUMNS, EventColumns, EventSql, push_limit, push_walk};
use crate::store::StoreError;
use crate::store::event::{EventPage, PageSize};
use crate::store::event_sql::PageLimits;
use crate::store::order_id::time_of;
use crate::store::order_key::OrderKey;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

/// How far the clock of a process, from which an order has its id, may be ahead of that of the database.
const CLOCK_DIFFERENCE: TimeDelta = TimeDelta::days(31);

/// The time before which no event of the order was recorded.
pub(super) fn recorded_from(order_id: Uuid) -> DateTime<Utc> {
    time_of(order_id) - CLOCK_DIFFERENCE
}

impl Postgres {
    /// Reads the events of one order after a version, oldest first.
    pub(super) async fn read_order_events(
        &self,
        order: OrderKey,
        after: i32,
        size: PageSize,
    ) -> Result<EventPage, StoreError> {
        let read = ReadOrderEvents {
            recorded_from: recorded_from(order.id),
            order,
            after,
            limits: size.into(),
        };
        let rows: Vec<(i64, EventColumns)> = self
            .run(QueryName::ReadOrderEvents, move |connection| {
                let read = Prepared(read.clone());
                async move { read.load(connection).await }.boxed()
            })
            .await?;
        let waiting = rows.as_slice().first().map_or(0, |(waiting, _)| *waiting);
        let events = rows.into_iter().map(|(_, event)| event.into()).collect();
        Ok(EventPage::new(events, waiting, size))
    }
}

/// Reads a page of the events of one order.
#[derive(Clone)]
struct ReadOrderEvents {
    order: OrderKey,
    after: i32,
    /// No event of the order was recorded before.
    recorded_from: DateTime<Utc>,
    limits: PageLimits,
}

impl Statement for ReadOrderEvents {
    type Database = Pg;
    type Id = Self;
    type Columns = (BigInt, EventSql);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH next AS MATERIALIZED (SELECT * FROM events WHERE tenant = ");
        out.push_bind_param::<Text, _>(self.order.tenant.as_str())?;
        out.push_sql(" AND order_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.order.id)?;
        out.push_sql(" AND version > ");
        out.push_bind_param::<Integer, _>(&self.after)?;
        // Partitions of earlier months are not read.
        out.push_sql(" AND recorded_at >= ");
        out.push_bind_param::<Timestamptz, _>(&self.recorded_from)?;
        out.push_sql(" ORDER BY version");
        push_limit(out);
        out.push_sql("), page AS (");
        push_walk(out, "version");
        out.push_sql(") SELECT (SELECT count(*) FROM next), ");
        out.push_sql(COLUMNS);
        out.push_sql(" FROM page WHERE ");
        self.limits.push_fits(out)?;
        out.push_sql(" ORDER BY number");
        Ok(())
    }
}
