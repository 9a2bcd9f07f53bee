//! The latest events, which all readers at the head of the feed share.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::cursor::Cursor;
use crate::store::event::{ENVELOPE_BYTES, Event, PageSize};

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
            tail.bytes += size(&event);
            tail.events.push_back(Arc::new(event));
        }
        while tail.events.len() > MAX_EVENTS || tail.bytes > MAX_BYTES {
            let Some(event) = tail.events.pop_front() else {
                break;
            };
            tail.bytes -= size(&event);
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
                let fits = bytes == 0 || bytes + size(event) <= budget;
                bytes += size(event);
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

/// The bytes of an event, in memory and as JSON.
fn size(event: &Event) -> usize {
    let traceparent = event.traceparent.as_ref().map_or(0, String::len);
    usize::try_from(ENVELOPE_BYTES).unwrap_or(usize::MAX) + event.data.len() + traceparent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::cursor::Place;
    use uuid::Uuid;

    const PAGE: PageSize = PageSize {
        events: 10,
        bytes: 10_000,
    };

    fn cursor(position: i64) -> Cursor {
        Cursor(Some(Place {
            position,
            seq: 1,
            order_id: Uuid::from_u128(1),
            version: 1,
        }))
    }

    fn event(position: i64, length: usize) -> Event {
        Event {
            order_id: Uuid::from_u128(1),
            version: 1,
            occurred_at: chrono::Utc::now(),
            data: "x".repeat(length),
            traceparent: None,
            cursor: cursor(position),
        }
    }

    fn positions(found: Found) -> Vec<i64> {
        let Found::Events(events) = found else {
            panic!("{found:?}");
        };
        let position = |event: &Arc<Event>| event.cursor.0.unwrap().position;
        events.iter().map(position).collect()
    }

    #[test]
    fn readers_find_what_is_behind_their_place() {
        let ring = Ring::new();
        assert_eq!(ring.behind(cursor(5), PAGE), Found::Elsewhere);
        assert!(ring.start(cursor(5)) && !ring.start(cursor(6)));
        assert_eq!(ring.behind(cursor(5), PAGE), Found::Head);
        assert_eq!(ring.behind(cursor(4), PAGE), Found::Elsewhere);
        assert_eq!(ring.behind(cursor(6), PAGE), Found::Ahead);
        ring.extend((6..=20).map(|position| event(position, 10)).collect());
        assert_eq!(
            positions(ring.behind(cursor(5), PAGE)),
            (6..=15).collect::<Vec<_>>()
        );
        assert_eq!(positions(ring.behind(cursor(19), PAGE)), [20]);
        assert_eq!(ring.behind(cursor(20), PAGE), Found::Head);
        assert_eq!(ring.head(), Some(cursor(20)));
        // Between two events that are there: another history.
        let other = Cursor(Some(Place {
            version: 2,
            ..cursor(9).0.unwrap()
        }));
        assert_eq!(ring.behind(other, PAGE), Found::Elsewhere);
        ring.clear();
        assert_eq!(ring.behind(cursor(20), PAGE), Found::Elsewhere);
    }

    #[test]
    fn bytes_are_bounded_and_what_is_kept_has_no_gap() {
        let ring = Ring::new();
        ring.start(cursor(0));
        ring.extend(vec![event(1, 20_000), event(2, 9_000), event(3, 9_000)]);
        assert_eq!(positions(ring.behind(cursor(0), PAGE)), [1], "one at least");
        assert_eq!(positions(ring.behind(cursor(1), PAGE)), [2]);
        for position in 4..100 {
            ring.extend(vec![event(position, 100_000)]);
        }
        assert_eq!(ring.behind(cursor(0), PAGE), Found::Elsewhere);
        let tail = ring.tail.lock();
        let tail = tail.as_ref().unwrap();
        assert!(tail.bytes <= MAX_BYTES && tail.events.len() > 30);
        let first = tail.events.front().unwrap().cursor.0.unwrap().position;
        assert_eq!(tail.from, cursor(first - 1));
    }
}
