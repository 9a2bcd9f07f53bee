//! Events: the versions of orders, as the event log stores them.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::cursor::{Cursor, Evidence};

/// One version of an order that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The order.
    pub order_id: Uuid,
    /// The version.
    pub version: i32,
    /// When it was written.
    pub occurred_at: DateTime<Utc>,
    /// The order in this version, as JSON.
    pub data: String,
    /// The trace of the request (W3C Trace Context).
    pub traceparent: Option<String>,
    /// Its position in the feed. Reading continues after it.
    pub cursor: Cursor,
}

impl Event {
    /// An upper bound of its length in bytes as JSON, including the comma before it.
    pub fn json_bytes(&self) -> usize {
        let envelope = usize::try_from(ENVELOPE_BYTES).unwrap_or(usize::MAX);
        let traceparent = self.traceparent.as_ref().map_or(0, String::len);
        envelope + self.data.len() + traceparent
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

/// The maximum number of bytes that an event has as JSON besides its data and its traceparent: names, ids, time,
/// comma (`src/api/event_json.rs`).
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
    /// Creates a page from the rows that the database sent. `waiting` is the number of events that it found,
    /// counted up to one more than a page may hold. Does not rely on the lengths that the rows store.
    pub(super) fn new(mut events: Vec<Event>, waiting: i64, size: PageSize) -> Self {
        let mut bytes = 0_usize;
        let budget = usize::try_from(size.bytes).unwrap_or(usize::MAX);
        let fitting = events.iter().take_while(|event| {
            bytes = bytes.saturating_add(event.json_bytes());
            bytes <= budget
        });
        let fitting = fitting.count().max(1);
        events.truncate(fitting);
        let more = i64::try_from(events.len()).is_ok_and(|sent| waiting > sent);
        Self { events, more }
    }
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
    /// removed or lost.
    Expired {
        /// A cursor before the oldest event.
        oldest: Cursor,
    },
}

impl Feed {
    /// Creates the result of reading after `after`; without a cursor, from the oldest event.
    pub(super) fn new(after: Option<Cursor>, evidence: Evidence, page: EventPage) -> Self {
        let oldest = Cursor(evidence.floor);
        let expired = match after {
            Some(after) => !after.is_valid(evidence),
            // Retention may have left some events below its floor, where no reader may begin.
            None => page
                .events
                .first()
                .is_some_and(|first| first.cursor.ordering_key() <= oldest.ordering_key()),
        };
        if expired {
            return Self::Expired { oldest };
        }
        let after = after.unwrap_or(oldest);
        let next = page.events.last().map_or(after, |last| last.cursor);
        Self::Page { page, next }
    }
}
