//! Reads the feed.

use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Binary, Integer};
use diesel::sqlite;

use super::Sqlite;
use super::event_rows::{EVENT_COLUMNS, Row, RowSql, page, push_page};
use crate::store::StoreError;
use crate::store::cursor::{Cursor, EventKey};
use crate::store::error::StoreFault;
use crate::store::event::{Feed, PageSize};
use crate::store::event_sql::PageLimits;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

impl Sqlite {
    /// Reads the events after `after`, in the order of their commits, if reading may continue there. Without a
    /// cursor, reads from the oldest event. One statement reads all of it, and so one snapshot, as on PostgreSQL.
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
        let rows: Vec<Row> = self
            .read(QueryName::ReadFeed, move |connection| {
                Ok(Prepared(read).load(connection)?)
            })
            .await?;
        let first = rows.as_slice().first().ok_or(StoreFault::NoFeedRow)?;
        let evidence = first.evidence()?;
        Ok(Feed::new(after, evidence, page(rows, size)?))
    }
}

/// Reads a page of the feed, with the state of the cursor.
struct ReadFeed {
    after: EventKey,
    limits: PageLimits,
}

impl Statement for ReadFeed {
    type Database = sqlite::Sqlite;
    type Id = Self;
    type Columns = RowSql;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, sqlite::Sqlite>) -> QueryResult<()> {
        out.push_sql("WITH next AS MATERIALIZED (SELECT * FROM events WHERE seq > ");
        out.push_bind_param::<BigInt, _>(&self.after.seq)?;
        push_page(out, "seq");
        out.push_sql(
            "SELECT floor_seq, floor_order_id, floor_version, floor_occurred_at,
                EXISTS (SELECT 1 FROM events WHERE seq = ",
        );
        out.push_bind_param::<BigInt, _>(&self.after.seq)?;
        out.push_sql(" AND order_id = ");
        out.push_bind_param::<Binary, _>(self.after.order_id.as_bytes().as_slice())?;
        out.push_sql(" AND version = ");
        out.push_bind_param::<Integer, _>(&self.after.version)?;
        out.push_sql(" AND occurred_at = ");
        out.push_bind_param::<BigInt, _>(&self.after.occurred_at)?;
        out.push_sql("), ");
        out.push_sql(EVENT_COLUMNS);
        out.push_sql(" FROM feed LEFT JOIN page ON ");
        self.limits.push_fits(out)?;
        out.push_sql(" ORDER BY number");
        Ok(())
    }
}
