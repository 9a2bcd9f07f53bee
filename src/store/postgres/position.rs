//! The positions of new events in the feed.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Bool, Nullable};
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
/// the row of the feed is missing, or is not the one that [`check_feed`] has seen on this connection: a restored dump
/// writes the row anew.
pub(super) const POSITION: &str =
    "(SELECT CASE WHEN xmin::text = current_setting('order_service.feed', true)
        THEN pg_current_xact_id()::text::bigint + xid_offset END FROM feed)";

/// SQL for whether the events that are written now come after all others. If so, the session remembers the transaction
/// that has written the row of the feed (`xmin`; PostgreSQL manual, section 5.5). NULL without a row.
fn check_sql() -> String {
    format!(
        "(SELECT CASE WHEN {FEED_IS_CURRENT}
            THEN set_config('order_service.feed', xmin::text, false) IS NOT NULL ELSE false END FROM feed)"
    )
}

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
    let current: Option<bool> = Prepared(CheckFeed).get_result(inner).await?;
    let checked = result(current);
    if checked.is_ok() {
        connection.feed_checked();
    }
    Ok(checked)
}

/// [`check_feed`] for the connection of a command that writes events.
pub(super) async fn check_feed_of_command(client: &CommandClient) -> Result<(), StoreError> {
    let row = client
        .query_one(&format!("SELECT {}", check_sql()), &[])
        .await?;
    result(row.try_get(0)?)
}

fn result(current: Option<bool>) -> Result<(), StoreError> {
    match current {
        Some(true) => Ok(()),
        Some(false) => Err(StoreFault::FeedBehind.into()),
        None => Err(StoreError::unavailable(StoreFault::NoFeedRow)),
    }
}

struct CheckFeed;

impl Statement for CheckFeed {
    type Database = Pg;
    type Id = Self;
    type Columns = Nullable<Bool>;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(&check_sql());
        Ok(())
    }
}
