//! Finds the end of the feed of all tenants.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Integer, Timestamptz, Uuid as SqlUuid};
use diesel::{OptionalExtension as _, QueryResult, Queryable};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::feed::{HIGHEST_FLOOR, HORIZON};
use crate::store::StoreError;
use crate::store::cursor::{EventKey, Position};
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

impl Postgres {
    /// The position of the last event of all tenants that readers may read, or the highest floor if it is after that
    /// event.
    pub(super) async fn read_head(&self) -> Result<Position, StoreError> {
        let head: Option<HeadRow> = self
            .run(QueryName::ReadFeed, |connection| {
                async move { Prepared(ReadHead).get_result(connection).await.optional() }.boxed()
            })
            .await?;
        Ok(Position(head.map(EventKey::from)))
    }
}

struct ReadHead;

impl Statement for ReadHead {
    type Database = Pg;
    type Id = Self;
    type Columns = (BigInt, BigInt, SqlUuid, Integer, Timestamptz);

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "WITH last AS MATERIALIZED (SELECT position, seq, order_id, version, occurred_at FROM events
                WHERE position < (SELECT ",
        );
        out.push_sql(HORIZON);
        out.push_sql(
            " FROM feed) ORDER BY position DESC, seq DESC LIMIT 1), floor AS MATERIALIZED (",
        );
        out.push_sql(HIGHEST_FLOOR);
        out.push_sql(
            ") SELECT * FROM (SELECT * FROM last UNION ALL SELECT * FROM floor) AS heads
            ORDER BY position DESC, seq DESC LIMIT 1",
        );
        Ok(())
    }
}

#[derive(Queryable)]
struct HeadRow {
    position: i64,
    seq: i64,
    order_id: Uuid,
    version: i32,
    occurred_at: DateTime<Utc>,
}

impl From<HeadRow> for EventKey {
    fn from(row: HeadRow) -> Self {
        Self {
            position: row.position,
            seq: row.seq,
            order_id: row.order_id,
            version: row.version,
            occurred_at: row.occurred_at.timestamp_micros(),
        }
    }
}
