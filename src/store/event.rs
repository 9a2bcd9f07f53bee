//! Events: the versions of orders, as the event log stores them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::cursor::{Cursor, EventKey, Evidence, Position, SortKey};
use super::cursor_key::KeyBytes;
use crate::domain::EventType;
use crate::order_json;

/// One version of an order that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The order.
    pub order_id: Uuid,
    /// The version.
    pub version: i32,
    /// The kind of change.
    pub event_type: EventType,
    /// When it was written.
    pub occurred_at: DateTime<Utc>,
    /// The order in this version, as JSON.
    pub data: String,
    /// The trace of the request (W3C Trace Context).
    pub traceparent: Option<String>,
    /// What kind of caller made the change (CloudEvents auth context extension).
    pub authtype: String,
    /// Who made the change; `None` without credentials.
    pub authid: Option<String>,
    /// Its position in the feed. Reading continues after it.
    pub(super) key: EventKey,
}

impl Event {
    /// An upper bound of its length in bytes as JSON, including the comma before it.
    pub fn json_bytes(&self) -> usize {
        let envelope = usize::try_from(ENVELOPE_BYTES).unwrap_or(usize::MAX);
        let traceparent = self.traceparent.as_ref().map_or(0, String::len);
        // It has no control characters, so JSON needs at most two bytes for one.
        let authid = self.authid.as_ref().map_or(0, |id| 2 * id.len());
        envelope + self.data.len() + traceparent + authid
    }
}

impl Event {
    /// Returns the event without personal data, as the database has it after the erasure of its order, whose event is
    /// `erased`.
    pub(super) fn redacted_by(&self, erased: &Self) -> Self {
        let pseudonym = order_json::customer_of(&erased.data);
        let pseudonym = pseudonym.ok().flatten().unwrap_or_default();
        Self {
            // A stored event is always an order. Nothing of another text may stay.
            data: order_json::redacted(&self.data, &pseudonym).unwrap_or_else(|_| "{}".to_owned()),
            traceparent: None,
            authid: None,
            authtype: self.authtype.clone(),
            ..*self
        }
    }
}

/// The last event of an order that was archived and removed.
pub(super) struct LastEvent {
    pub(super) version: i32,
    pub(super) occurred_at: DateTime<Utc>,
    pub(super) data: String,
}

/// An event, with the tenant to which it belongs.
pub(super) struct TenantEvent {
    pub(super) tenant: String,
    pub(super) event: Event,
}

/// An event of a stream, with its cursor. Streams share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEvent {
    /// The event.
    pub event: Event,
    /// The cursor after it.
    pub cursor: Cursor,
}

/// A row of a page of events.
pub(super) trait Entry {
    fn event(&self) -> &Event;
}

impl Entry for Event {
    fn event(&self) -> &Event {
        self
    }
}

impl Entry for TenantEvent {
    fn event(&self) -> &Event {
        &self.event
    }
}

/// The maximum size of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageSize {
    /// The maximum number of events, at most [`Self::MAX_EVENTS`].
    pub(super) events: u32,
    /// The maximum number of bytes of JSON. The first event is always included, whatever its length.
    pub(super) bytes: u32,
}

impl PageSize {
    /// The maximum number of events of a page. The statements contain it as a literal: with a parameter, the
    /// database would plan for a tenth of the table.
    pub(super) const MAX_EVENTS: u32 = 100;

    /// The size of the page of a response: 1 MiB with the brackets of the array.
    pub(super) fn for_response(events: u32) -> Self {
        Self {
            events: events.min(Self::MAX_EVENTS),
            bytes: (1 << 20) - 2,
        }
    }
}

/// The maximum number of bytes that an event has as JSON besides its data, its traceparent and its `authid`: names,
/// ids, time, comma (`src/api/event_json.rs`).
pub(super) const ENVELOPE_BYTES: u32 = 448;

/// A page of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The events, in their order.
    pub events: Vec<Event>,
    /// Whether more events follow now.
    pub more: bool,
}

impl EventPage {
    /// Creates a page from the rows that the database sent; see [`fit`].
    pub(super) fn new(mut events: Vec<Event>, waiting: i64, size: PageSize) -> Self {
        let more = fit(&mut events, waiting, size);
        Self { events, more }
    }
}

/// Removes the events that do not fit into a page of this size, and returns whether more events follow. `waiting` is
/// the number of events that the database found, counted up to one more than a page may hold. Does not rely on the
/// lengths that the rows store.
fn fit<E: Entry>(events: &mut Vec<E>, waiting: i64, size: PageSize) -> bool {
    let mut bytes = 0_usize;
    let budget = usize::try_from(size.bytes).unwrap_or(usize::MAX);
    let fitting = events.iter().take_while(|entry| {
        bytes = bytes.saturating_add(entry.event().json_bytes());
        bytes <= budget
    });
    let fitting = fitting.count().max(1);
    events.truncate(fitting);
    i64::try_from(events.len()).is_ok_and(|sent| waiting > sent)
}

/// The result of reading the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The next events, perhaps none yet.
    Page {
        /// The events.
        page: EventPage,
        /// Where to continue.
        next: Cursor,
    },
    /// Reading cannot continue at the cursor: its event, or later ones that the reader has not seen, have been
    /// removed or lost; or the cursor is not one of this feed.
    Expired {
        /// A cursor before the oldest event.
        oldest: Cursor,
    },
}

/// The state of the feed in the snapshot from which a page was read.
pub(super) struct FeedState {
    pub(super) evidence: Evidence,
    /// The sort key up to which readers may read.
    pub(super) horizon: SortKey,
    /// The key of the cursors of this database.
    pub(super) key: KeyBytes,
    /// The number of events that were found, counted up to one more than a page may hold.
    pub(super) waiting: i64,
}

/// What a statement has read from the feed.
pub(super) struct FeedRead<E> {
    /// `None` if reading cannot continue at the position.
    pub(super) page: Option<FeedPage<E>>,
    /// The position before the oldest event.
    pub(super) floor: Position,
    /// The key of the cursors of this database.
    pub(super) key: KeyBytes,
}

/// A page of the feed.
pub(super) struct FeedPage<E> {
    pub(super) events: Vec<E>,
    /// Whether more events follow now.
    pub(super) more: bool,
    /// The position after the last event, or the one that was given if there is none.
    pub(super) next: Position,
    /// All events up to here have been read. This is after `next` when readers may read further than the last
    /// event.
    pub(super) read_up_to: SortKey,
}

impl<E: Entry> FeedRead<E> {
    /// Creates the result of reading a page after `after`; without a position, from the oldest event.
    pub(super) fn new(
        after: Option<Position>,
        size: PageSize,
        state: FeedState,
        mut events: Vec<E>,
    ) -> Self {
        let more = fit(&mut events, state.waiting, size);
        let evidence = state.evidence;
        let floor = Position(evidence.floor);
        let last = |entry: &E| Position(Some(entry.event().key));
        let expired = match after {
            Some(after) => !after.is_valid(evidence),
            // Retention may have left some events below its floor, where no reader may begin.
            None => events
                .first()
                .is_some_and(|first| last(first).sort_key() <= floor.sort_key()),
        };
        let next = events.last().map_or(after.unwrap_or(floor), last);
        let read_up_to = if more {
            next.sort_key()
        } else {
            next.sort_key().max(state.horizon)
        };
        let page = FeedPage {
            events,
            more,
            next,
            read_up_to,
        };
        Self {
            page: (!expired).then_some(page),
            floor,
            key: state.key,
        }
    }
}
