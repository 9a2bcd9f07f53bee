//! What happened to orders.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::cursor::{Cursor, Evidence};

/// A change of an order that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which order.
    pub order_id: Uuid,
    /// The version that it made.
    pub version: i32,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// The order after it, as JSON.
    pub data: String,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// The place behind it in the feed.
    pub cursor: Cursor,
}

impl Event {
    /// How many bytes the event has in JSON at most, with the comma before it.
    pub fn json_bytes(&self) -> usize {
        let envelope = usize::try_from(ENVELOPE_BYTES).unwrap_or(usize::MAX);
        let traceparent = self.traceparent.as_ref().map_or(0, String::len);
        envelope + self.data.len() + traceparent
    }
}

/// How much a page may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageSize {
    /// The most events, at most [`Self::MAX_EVENTS`].
    pub(super) events: u32,
    /// The most bytes of JSON. The first event is in the page however long it is.
    pub(super) bytes: u32,
}

impl PageSize {
    /// The most events of a page. It stands in the statements as a number: with a parameter, the database
    /// would plan for a tenth of the table.
    pub(super) const MAX_EVENTS: u32 = 100;

    /// A page of a response: 1 MiB with the brackets of the array.
    pub(super) fn of_response(events: u32) -> Self {
        Self {
            events: events.min(Self::MAX_EVENTS),
            bytes: (1 << 20) - 2,
        }
    }
}

/// What an event has in JSON beside its data and its traceparent, in bytes, at most: names, ids, time, comma
/// (`src/api/cloud_event.rs`).
pub(super) const ENVELOPE_BYTES: u32 = 448;

/// A page of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// The events, in their order.
    pub events: Vec<Event>,
    /// Whether there are more behind them now.
    pub more: bool,
}

impl EventPage {
    /// A page of what the database sent, which had `waiting` events to send, counted to one more than a
    /// page may hold. What a row says of its own length is not relied on.
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

/// What a reader of the feed gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feed {
    /// The next events, perhaps none yet.
    Page {
        /// The events.
        page: EventPage,
        /// Where to continue.
        next: Cursor,
    },
    /// Reading cannot continue at the cursor: its event, or some behind it that the reader has not seen,
    /// are not there any more.
    Expired {
        /// A cursor before all events that there are.
        oldest: Cursor,
    },
}

impl Feed {
    /// What the reader gets that asked for what lies behind `after`; without a cursor, for everything that
    /// there is.
    pub(super) fn new(after: Option<Cursor>, evidence: Evidence, page: EventPage) -> Self {
        let oldest = Cursor(evidence.floor);
        let expired = match after {
            Some(after) => !after.is_good(evidence),
            // Retention may have left some events below its floor; they are no place to begin at.
            None => page
                .events
                .first()
                .is_some_and(|first| first.cursor.in_feed() <= oldest.in_feed()),
        };
        if expired {
            return Self::Expired { oldest };
        }
        let after = after.unwrap_or(oldest);
        let next = page.events.last().map_or(after, |last| last.cursor);
        Self::Page { page, next }
    }
}
