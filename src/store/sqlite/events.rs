//! Reads the events of one order.

use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Binary, Integer, Text};
use diesel::{SqliteConnection, sqlite};
use uuid::Uuid;

use super::Sqlite;
use super::event_rows::{EVENT_COLUMNS, EventColumns, EventSql, push_page};
use super::rows::time;
use super::schema::events;
use crate::store::StoreError;
use crate::store::event::{EventPage, LastEvent, PageSize};
use crate::store::event_sql::PageLimits;
use crate::store::order_key::OrderKey;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

impl Sqlite {
    /// Reads the events of one order after a version, oldest first.
    pub(super) async fn read_order_events(
        &self,
        order: OrderKey,
        after: i32,
        size: PageSize,
    ) -> Result<EventPage, StoreError> {
        let read = ReadOrderEvents {
            order,
            after,
            limits: size.into(),
        };
        let rows: Vec<(i64, EventColumns)> = self
            .read(QueryName::ReadOrderEvents, move |connection| {
                Ok(Prepared(read).load(connection)?)
            })
            .await?;
        let waiting = rows.as_slice().first().map_or(0, |(waiting, _)| *waiting);
        let mut events = Vec::with_capacity(rows.len());
        for (_, row) in rows {
            events.extend(row.event()?.map(|row| row.event));
        }
        Ok(EventPage::new(events, waiting, size))
    }
}

/// Reads a page of the events of one order.
struct ReadOrderEvents {
    order: OrderKey,
    after: i32,
    limits: PageLimits,
}

impl Statement for ReadOrderEvents {
    type Database = sqlite::Sqlite;
    type Id = Self;
    type Columns = (BigInt, EventSql);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, sqlite::Sqlite>) -> QueryResult<()> {
        out.push_sql("WITH next AS MATERIALIZED (SELECT * FROM events WHERE tenant = ");
        out.push_bind_param::<Text, _>(self.order.tenant.as_str())?;
        out.push_sql(" AND order_id = ");
        out.push_bind_param::<Binary, _>(self.order.id.as_bytes().as_slice())?;
        out.push_sql(" AND version > ");
        out.push_bind_param::<Integer, _>(&self.after)?;
        push_page(out, "version");
        out.push_sql("SELECT (SELECT count(*) FROM next), ");
        out.push_sql(EVENT_COLUMNS);
        out.push_sql(" FROM page WHERE ");
        self.limits.push_fits(out)?;
        out.push_sql(" ORDER BY number");
        Ok(())
    }
}

/// The last stored event of an order.
pub(super) fn find_last_event(
    connection: &mut SqliteConnection,
    tenant: &str,
    order_id: &Uuid,
) -> Result<Option<LastEvent>, StoreError> {
    let last: Option<(i32, i64, String)> = events::table
        .filter(events::tenant.eq(tenant))
        .filter(events::order_id.eq(order_id.as_bytes().as_slice()))
        .order(events::version.desc())
        .select((events::version, events::occurred_at, events::data))
        .first(connection)
        .optional()?;
    last.map(|(version, occurred_at, data)| {
        Ok(LastEvent {
            version,
            occurred_at: time(occurred_at)?,
            data,
        })
    })
    .transpose()
}
