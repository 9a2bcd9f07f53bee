//! Reads the event log.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, Text};
use uuid::Uuid;

use super::Sqlite;
use super::rows::{time, uuid};
use crate::store::StoreError;
use crate::store::cursor::{Cursor, EventKey, Evidence};
use crate::store::error::Fault;
use crate::store::event::{ENVELOPE_BYTES, Event, EventPage, Feed, PageSize};
use crate::telemetry::QueryName;

/// A row of a page; for the feed also what it says of the cursor, in each row and in a row of its own
/// when there is no event.
#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<BigInt>)]
    floor_seq: Option<i64>,
    #[diesel(sql_type = Nullable<Binary>)]
    floor_order_id: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Integer>)]
    floor_version: Option<i32>,
    #[diesel(sql_type = Nullable<BigInt>)]
    floor_occurred_at: Option<i64>,
    #[diesel(sql_type = Bool)]
    present: bool,
    #[diesel(sql_type = BigInt)]
    waiting: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    seq: Option<i64>,
    #[diesel(sql_type = Nullable<Binary>)]
    order_id: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Integer>)]
    version: Option<i32>,
    #[diesel(sql_type = Nullable<BigInt>)]
    occurred_at: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    data: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    traceparent: Option<String>,
}

impl Row {
    fn evidence(&self) -> Result<Evidence, StoreError> {
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

/// SQL that reads a page from `next`, a walk along an index in this order. `?1` events and `?2` bytes
/// at most.
fn page(next: &str, order: &str, state: &str) -> String {
    format!(
        "WITH next AS MATERIALIZED (SELECT * FROM events WHERE {next} ORDER BY {order} LIMIT {limit}),
        page AS (
            SELECT *, row_number() OVER walk AS number,
                sum(data_bytes + {ENVELOPE_BYTES} + ifnull(length(traceparent), 0)) OVER walk AS bytes
            FROM next WINDOW walk AS (ORDER BY {order} ROWS UNBOUNDED PRECEDING))
        SELECT {state}, (SELECT count(*) FROM next) AS waiting,
            seq, order_id, version, occurred_at, data, traceparent",
        limit = PageSize::MAX_EVENTS + 1,
    )
}

const FITS: &str = "number <= ?1 AND (number = 1 OR bytes <= ?2)";

impl Sqlite {
    /// The events behind `after`, in the order of their commits, if reading may continue there; without
    /// a cursor, everything that there is. One statement, so one snapshot, as on PostgreSQL.
    pub(super) async fn read_feed(
        &self,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Feed, StoreError> {
        let place = after
            .and_then(|cursor| cursor.0)
            .unwrap_or(EventKey::BEGINNING);
        let rows = self
            .read(QueryName::ReadFeed, move |connection| {
                let state = "floor_seq, floor_order_id, floor_version, floor_occurred_at,
                    EXISTS (SELECT 1 FROM events WHERE seq = ?3 AND order_id = ?4 AND version = ?5
                        AND occurred_at = ?6) AS present";
                let sql = page("seq > ?3", "seq", state);
                diesel::sql_query(format!(
                    "{sql} FROM feed LEFT JOIN page ON {FITS} ORDER BY number"
                ))
                .bind::<BigInt, _>(i64::from(size.events))
                .bind::<BigInt, _>(i64::from(size.bytes))
                .bind::<BigInt, _>(place.seq)
                .bind::<Binary, _>(place.order_id.as_bytes().as_slice())
                .bind::<Integer, _>(place.version)
                .bind::<BigInt, _>(place.occurred_at)
                .load::<Row>(connection)
                .map_err(StoreError::from)
            })
            .await?;
        let first = rows.as_slice().first().ok_or(Fault::NoFeedRow)?;
        let evidence = first.evidence()?;
        Ok(Feed::new(after, evidence, events(rows, size)?))
    }

    /// The events of one order behind a version, oldest first.
    pub(super) async fn read_order_events(
        &self,
        id: Uuid,
        after: i32,
        size: PageSize,
    ) -> Result<EventPage, StoreError> {
        let rows = self
            .read(QueryName::ReadOrderEvents, move |connection| {
                let state = "NULL AS floor_seq, NULL AS floor_order_id, NULL AS floor_version,
                    NULL AS floor_occurred_at, 0 AS present";
                let sql = page("order_id = ?3 AND version > ?4", "version", state);
                diesel::sql_query(format!("{sql} FROM page WHERE {FITS} ORDER BY number"))
                    .bind::<BigInt, _>(i64::from(size.events))
                    .bind::<BigInt, _>(i64::from(size.bytes))
                    .bind::<Binary, _>(id.as_bytes().as_slice())
                    .bind::<Integer, _>(after)
                    .load::<Row>(connection)
                    .map_err(StoreError::from)
            })
            .await?;
        events(rows, size)
    }
}

fn events(rows: Vec<Row>, size: PageSize) -> Result<EventPage, StoreError> {
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
