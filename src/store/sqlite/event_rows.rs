//! Events as rows of SQLite, and the SQL that the statements that read them share.

use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use diesel::sqlite;
use uuid::Uuid;

use super::rows::{time, uuid};
use crate::store::StoreError;
use crate::store::cursor::EventKey;
use crate::store::event::{ENVELOPE_BYTES, Event, PageSize, TenantEvent};
use crate::store::event_type::StoredEventType;

/// A row of a page. A page of the feed that has no events has one row with only the state.
#[derive(Queryable)]
pub(super) struct EventColumns {
    tenant: Option<String>,
    seq: Option<i64>,
    order_id: Option<Vec<u8>>,
    version: Option<i32>,
    event_type: Option<StoredEventType>,
    occurred_at: Option<i64>,
    data: Option<String>,
    traceparent: Option<String>,
    authtype: Option<String>,
    authid: Option<String>,
}

pub(super) type EventSql = (
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<Binary>,
    Nullable<Integer>,
    Nullable<Text>,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
    Nullable<Text>,
);

/// SQL for the columns of [`EventColumns`].
pub(super) const EVENT_COLUMNS: &str =
    "tenant, seq, order_id, version, event_type, occurred_at, data, traceparent, authtype, authid";

impl EventColumns {
    /// The event, unless the row has none.
    pub(super) fn event(self) -> Result<Option<TenantEvent>, StoreError> {
        let key = self.seq.zip(self.order_id).zip(self.version);
        let owner = self.tenant.zip(self.authtype.zip(self.event_type));
        let Some(((((seq, id), version), (at, data)), (tenant, (authtype, event_type)))) =
            key.zip(self.occurred_at.zip(self.data)).zip(owner)
        else {
            return Ok(None);
        };
        let order_id = uuid(&id)?;
        let event = Event {
            order_id,
            version,
            event_type: event_type.0,
            occurred_at: time(at)?,
            data,
            traceparent: self.traceparent,
            authtype,
            authid: self.authid,
            key: event_key(seq, order_id, version, at),
        };
        Ok(Some(TenantEvent { tenant, event }))
    }
}

/// SQLite has one writer at a time, so the sequence alone is the order of the commits.
pub(super) fn event_key(seq: i64, order_id: Uuid, version: i32, occurred_at: i64) -> EventKey {
    EventKey {
        position: 0,
        seq,
        order_id,
        version,
        occurred_at,
    }
}

/// SQL that ends `next`, a walk along an index, and numbers its rows as `page`, with the bytes so far.
pub(super) fn push_page(out: &mut AstPass<'_, '_, sqlite::Sqlite>, order: &str) {
    out.push_sql(&format!(
        " ORDER BY {order} LIMIT {limit}), page AS (
            SELECT *, row_number() OVER walk AS number,
                sum(data_bytes + {ENVELOPE_BYTES} + ifnull(length(traceparent), 0)
                    + 2 * ifnull(length(CAST(authid AS BLOB)), 0)) OVER walk AS bytes
            FROM next WINDOW walk AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING)) ",
        limit = PageSize::MAX_EVENTS + 1,
    ));
}
