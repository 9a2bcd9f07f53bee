//! Events as rows of SQLite, and the SQL that the statements that read them share.

use diesel::prelude::*;
use diesel::query_builder::AstPass;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, Text};
use diesel::sqlite;
use uuid::Uuid;

use super::rows::{time, uuid};
use crate::store::StoreError;
use crate::store::cursor::{Cursor, EventKey, Evidence};
use crate::store::event::{ENVELOPE_BYTES, Event, EventPage, PageSize};

/// Creates a page from these rows.
pub(super) fn page(rows: Vec<Row>, size: PageSize) -> Result<EventPage, StoreError> {
    let waiting = rows.as_slice().first().map_or(0, |row| row.waiting);
    let events = rows
        .into_iter()
        .map(Row::event)
        .filter_map(Result::transpose);
    Ok(EventPage::new(
        events.collect::<Result<_, _>>()?,
        waiting,
        size,
    ))
}

/// A row of a page. For the feed it also has the floor, and whether the event of the cursor is present. A feed
/// without events has one row with only these columns.
#[derive(Queryable)]
pub(super) struct Row {
    floor_seq: Option<i64>,
    floor_order_id: Option<Vec<u8>>,
    floor_version: Option<i32>,
    floor_occurred_at: Option<i64>,
    present: bool,
    waiting: i64,
    seq: Option<i64>,
    order_id: Option<Vec<u8>>,
    version: Option<i32>,
    occurred_at: Option<i64>,
    data: Option<String>,
    traceparent: Option<String>,
}

pub(super) type RowSql = (
    Nullable<BigInt>,
    Nullable<Binary>,
    Nullable<Integer>,
    Nullable<BigInt>,
    Bool,
    BigInt,
    Nullable<BigInt>,
    Nullable<Binary>,
    Nullable<Integer>,
    Nullable<BigInt>,
    Nullable<Text>,
    Nullable<Text>,
);

impl Row {
    pub(super) fn evidence(&self) -> Result<Evidence, StoreError> {
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

    /// The event, unless the row has none.
    fn event(self) -> Result<Option<Event>, StoreError> {
        let key = self.seq.zip(self.order_id).zip(self.version);
        let Some((((seq, id), version), (at, data))) = key.zip(self.occurred_at.zip(self.data))
        else {
            return Ok(None);
        };
        let order_id = uuid(&id)?;
        Ok(Some(Event {
            order_id,
            version,
            occurred_at: time(at)?,
            data,
            traceparent: self.traceparent,
            cursor: Cursor(Some(event_key(seq, order_id, version, at))),
        }))
    }
}

/// SQLite has one writer at a time, so the sequence alone is the order of the commits.
fn event_key(seq: i64, order_id: Uuid, version: i32, occurred_at: i64) -> EventKey {
    EventKey {
        position: 0,
        seq,
        order_id,
        version,
        occurred_at,
    }
}

/// SQL for the columns of [`Row`] from `waiting` on.
pub(super) const EVENT_COLUMNS: &str =
    "(SELECT count(*) FROM next), seq, order_id, version, occurred_at, data, traceparent";

/// SQL that ends `next`, a walk along an index, and numbers its rows as `page`, with the bytes so far.
pub(super) fn push_page(out: &mut AstPass<'_, '_, sqlite::Sqlite>, order: &str) {
    out.push_sql(&format!(
        " ORDER BY {order} LIMIT {limit}), page AS (
            SELECT *, row_number() OVER walk AS number,
                sum(data_bytes + {ENVELOPE_BYTES} + ifnull(length(traceparent), 0)) OVER walk AS bytes
            FROM next WINDOW walk AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING)) ",
        limit = PageSize::MAX_EVENTS + 1,
    ));
}
