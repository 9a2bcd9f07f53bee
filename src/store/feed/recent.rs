//! The latest events, which all readers at the head of the feed share.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::cursor::Cursor;
use crate::store::event::{Event, PageSize};

/// The most events and bytes of them that are kept. A reader that falls further behind reads pages from
/// the database.
const MAX_EVENTS: usize = 4096;
const MAX_BYTES: usize = 4 << 20;

/// The latest events, without a gap from one place to the last event that was read. Empty as long as
/// nobody reads at the head.
pub(super) struct Ring {
    tail: Mutex<Option<Tail>>,
    changed: watch::Sender<()>,
}

struct Tail {
    /// The place before the first event.
    from: Cursor,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

/// What the ring has for a reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The events behind its place, at least one.
    Events(Vec<Arc<Event>>),
    /// Its place is the last that was read.
    Head,
    /// Its place is behind the last that was read.
    Ahead,
    /// Its place is not in the ring.
    Elsewhere,
}

impl Ring {
    pub(super) fn new() -> Self {
        Self {
            tail: Mutex::new(None),
            changed: watch::Sender::new(()),
        }
    }

    /// Something to wait on for readers: changes whenever they should look again.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The last place that was read; `None` before the start.
    pub(super) fn head(&self) -> Option<Cursor> {
        self.tail.lock().as_ref().map(Tail::head)
    }

    /// Starts the ring at this place, behind which nothing was when it was read, unless it has been
    /// started. True if this started it.
    pub(super) fn start(&self, from: Cursor) -> bool {
        let mut tail = self.tail.lock();
        let starts = tail.is_none();
        tail.get_or_insert_with(|| Tail {
            from,
            events: VecDeque::new(),
            bytes: 0,
        });
        starts
    }

    /// Appends what was read behind the head.
    pub(super) fn extend(&self, events: Vec<Event>) {
        let mut tail = self.tail.lock();
        let Some(tail) = tail.as_mut() else {
            return;
        };
        for event in events {
            tail.bytes += event.json_bytes();
            tail.events.push_back(Arc::new(event));
        }
        while tail.events.len() > MAX_EVENTS || tail.bytes > MAX_BYTES {
            let Some(event) = tail.events.pop_front() else {
                break;
            };
            tail.bytes -= event.json_bytes();
            tail.from = event.cursor;
        }
        self.changed.send_replace(());
    }

    /// Empties the ring: its head is gone from the database, or nobody reads at the head.
    pub(super) fn clear(&self) {
        *self.tail.lock() = None;
        self.changed.send_replace(());
    }

    /// What is behind `after`.
    pub(super) fn behind(&self, after: Cursor, limit: PageSize) -> Found {
        let tail = self.tail.lock();
        let Some(tail) = tail.as_ref() else {
            return Found::Elsewhere;
        };
        let start = if after == tail.from {
            0
        } else {
            match tail
                .events
                .binary_search_by(|event| event.cursor.cmp(&after))
            {
                Ok(at) => at + 1,
                Err(_) if after > tail.head() => return Found::Ahead,
                Err(_) => return Found::Elsewhere,
            }
        };
        let mut bytes = 0;
        let budget = usize::try_from(limit.bytes).unwrap_or(usize::MAX);
        let events: Vec<_> = tail
            .events
            .range(start..)
            .take(usize::try_from(limit.events).unwrap_or(usize::MAX))
            .take_while(|event| {
                // The first, however long it is.
                let fits = bytes == 0 || bytes + event.json_bytes() <= budget;
                bytes += event.json_bytes();
                fits
            })
            .map(Arc::clone)
            .collect();
        if events.is_empty() {
            Found::Head
        } else {
            Found::Events(events)
        }
    }
}

impl Tail {
    fn head(&self) -> Cursor {
        self.events.back().map_or(self.from, |event| event.cursor)
    }
}

#[cfg(test)]
mod tests;
