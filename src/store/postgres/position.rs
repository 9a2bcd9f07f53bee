//! The positions of new events in the feed.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::Bool;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use super::connection::{CommandClient, PgConnection};
use crate::store::StoreError;
use crate::store::error::StoreFault;
use crate::store::statement::{Prepared, Statement};

/// SQL for whether an event that is written now comes after all others, of all tenants, given the row of `feed`. It
/// does not in a database that was restored from a dump and has not been migrated since. No event of a transaction
/// that has ended has a position at or after `pg_snapshot_xmax` (PostgreSQL manual, section 9.27.8).
pub(super) const FEED_IS_CURRENT: &str = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint + xid_offset
        > greatest((SELECT max(position) FROM events), (SELECT max(position) FROM feed_floors), -1)";

/// SQL for the position in the feed of the events of the current transaction. It is NULL, which the table rejects, if
/// the row of the feed is missing. [`check_feed`] must have succeeded on the connection.
pub(super) const POSITION: &str =
    "(SELECT pg_current_xact_id()::text::bigint + xid_offset FROM feed)";

/// Checks, once for each connection, that the events that it writes come after all others. A session stays in one
/// database, whose positions only increase. Each statement that writes would spend more time on the last position of
/// all partitions than on its rows.
pub(super) async fn check_feed(
    connection: &mut PgConnection,
) -> QueryResult<Result<(), StoreError>> {
    if connection.is_feed_checked() {
        return Ok(Ok(()));
    }
    let inner: &mut AsyncPgConnection = connection;
    let behind: bool = Prepared(FeedIsBehind).get_result(inner).await?;
    if behind {
        return Ok(Err(StoreFault::FeedBehind.into()));
    }
    connection.feed_checked();
    Ok(Ok(()))
}

/// [`check_feed`] for the connection of a command that writes events.
pub(super) async fn check_feed_of_command(client: &CommandClient) -> Result<(), StoreError> {
    let behind = client
        .query_one(&format!("SELECT {}", feed_is_behind()), &[])
        .await?;
    if behind.try_get(0)? {
        return Err(StoreFault::FeedBehind.into());
    }
    Ok(())
}

/// SQL for whether an event that is written now would reach no reader.
fn feed_is_behind() -> String {
    format!("EXISTS (SELECT FROM feed WHERE NOT ({FEED_IS_CURRENT}))")
}

struct FeedIsBehind;

impl Statement for FeedIsBehind {
    type Database = Pg;
    type Id = Self;
    type Columns = Bool;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(&feed_is_behind());
        Ok(())
    }
}
