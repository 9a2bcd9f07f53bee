//! Events as rows of PostgreSQL, and the SQL that the statements that read them share.

use chrono::{DateTime, Utc};
use diesel::Queryable;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use crate::store::cursor::EventKey;
use crate::store::event::{ENVELOPE_BYTES, Event, PageSize};
use crate::store::event_type::StoredEventType;

/// SQL for the columns of [`EventColumns`].
pub(super) const COLUMNS: &str = "order_id, version, position, seq, event_type, occurred_at, data::text AS data, traceparent, authtype, authid";

pub(super) type EventSql = (
    SqlUuid,
    Integer,
    BigInt,
    BigInt,
    Text,
    Timestamptz,
    Text,
    Nullable<Text>,
    Text,
    Nullable<Text>,
);

#[derive(Queryable)]
pub(super) struct EventColumns {
    order_id: Uuid,
    version: i32,
    position: i64,
    seq: i64,
    event_type: StoredEventType,
    occurred_at: DateTime<Utc>,
    data: String,
    traceparent: Option<String>,
    authtype: String,
    authid: Option<String>,
}

impl From<EventColumns> for Event {
    fn from(row: EventColumns) -> Self {
        Self {
            order_id: row.order_id,
            version: row.version,
            event_type: row.event_type.0,
            occurred_at: row.occurred_at,
            data: row.data,
            traceparent: row.traceparent,
            authtype: row.authtype,
            authid: row.authid,
            key: EventKey {
                position: row.position,
                seq: row.seq,
                order_id: row.order_id,
                version: row.version,
                occurred_at: row.occurred_at.timestamp_micros(),
            },
        }
    }
}

/// SQL for the events of a walk along an index, with a number and the bytes of the page so far. A window function
/// does not read the long values of its rows, which are stored separately: only those that are sent are read.
pub(super) fn push_walk(out: &mut AstPass<'_, '_, Pg>, order: &'static str) {
    out.push_sql("SELECT *, row_number() OVER walk AS number, sum(data_bytes + ");
    out.push_sql(&ENVELOPE_BYTES.to_string());
    out.push_sql(
        " + coalesce(octet_length(traceparent), 0) + 2 * coalesce(octet_length(authid), 0)",
    );
    out.push_sql(") OVER walk AS bytes FROM next WINDOW walk AS (ORDER BY ");
    out.push_sql(order);
    out.push_sql(" ROWS UNBOUNDED PRECEDING)");
}

pub(super) fn push_limit(out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql(" LIMIT ");
    out.push_sql(&(PageSize::MAX_EVENTS + 1).to_string());
}
