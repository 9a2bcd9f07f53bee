//! Reads the events of one order.

use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Binary, Integer};
use diesel::sqlite;
use uuid::Uuid;

use super::Sqlite;
use super::event_rows::{EVENT_COLUMNS, Row, RowSql, page, push_page};
use crate::store::StoreError;
use crate::store::event::{EventPage, PageSize};
use crate::store::event_sql::PageLimits;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

impl Sqlite {
    /// Reads the events of one order after a version, oldest first.
    pub(super) async fn read_order_events(
        &self,
        id: Uuid,
        after: i32,
        size: PageSize,
    ) -> Result<EventPage, StoreError> {
        let read = ReadOrderEvents {
            id,
            after,
            limits: size.into(),
        };
        let rows: Vec<Row> = self
            .read(QueryName::ReadOrderEvents, move |connection| {
                Ok(Prepared(read).load(connection)?)
            })
            .await?;
        page(rows, size)
    }
}

/// Reads a page of the events of one order.
struct ReadOrderEvents {
    id: Uuid,
    after: i32,
    limits: PageLimits,
}

impl Statement for ReadOrderEvents {
    type Database = sqlite::Sqlite;
    type Id = Self;
    type Columns = RowSql;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, sqlite::Sqlite>) -> QueryResult<()> {
        out.push_sql("WITH next AS MATERIALIZED (SELECT * FROM events WHERE order_id = ");
        out.push_bind_param::<Binary, _>(self.id.as_bytes().as_slice())?;
        out.push_sql(" AND version > ");
        out.push_bind_param::<Integer, _>(&self.after)?;
        push_page(out, "version");
        out.push_sql("SELECT NULL, NULL, NULL, NULL, 0, ");
        out.push_sql(EVENT_COLUMNS);
        out.push_sql(" FROM page WHERE ");
        self.limits.push_fits(out)?;
        out.push_sql(" ORDER BY number");
        Ok(())
    }
}
