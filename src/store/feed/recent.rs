//! The most recent events, which all readers at the head of the feed share.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::cursor::Cursor;
use crate::store::event::{Event, PageSize};

/// The maximum number of events, and of bytes of events, that are kept. A reader that falls further behind reads
/// pages from the database.
const MAX_EVENTS: usize = 4096;
const MAX_BYTES: usize = 4 << 20;

/// The most recent events, without a gap up to the last event that was read. Empty while no stream is at the
/// head.
pub(super) struct RecentEvents {
    run: Mutex<Option<EventRun>>,
    changed: watch::Sender<()>,
}

/// Consecutive events.
struct EventRun {
    /// The position before the first event.
    start: Cursor,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

/// The result of looking up a position in the recent events.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// The events after the position, at least one.
    Events(Vec<Arc<Event>>),
    /// The position is the head: the reader has read all of the events.
    Head,
    /// The position is past the head: the reader has read more from the database.
    PastHead,
    /// The position is not among the events.
    Missing,
}

impl RecentEvents {
    pub(super) fn new() -> Self {
        Self {
            run: Mutex::new(None),
            changed: watch::Sender::new(()),
        }
    }

    /// A receiver that changes whenever readers should read again.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The position after the last event that was read; `None` before the start.
    pub(super) fn head(&self) -> Option<Cursor> {
        self.run.lock().as_ref().map(EventRun::head)
    }

    /// Starts at this position, which was the head when it was read, unless another reader has started. Returns
    /// true if this call started.
    pub(super) fn start(&self, head: Cursor) -> bool {
        let mut run = self.run.lock();
        let starts = run.is_none();
        run.get_or_insert_with(|| EventRun {
            start: head,
            events: VecDeque::new(),
            bytes: 0,
        });
        starts
    }

    /// Appends the events that were read after the head.
    pub(super) fn extend(&self, events: Vec<Event>) {
        let mut run = self.run.lock();
        let Some(run) = run.as_mut() else {
            return;
        };
        for event in events {
            run.bytes += event.json_bytes();
            run.events.push_back(Arc::new(event));
        }
        while run.events.len() > MAX_EVENTS || run.bytes > MAX_BYTES {
            let Some(event) = run.events.pop_front() else {
                break;
            };
            run.bytes -= event.json_bytes();
            run.start = event.cursor;
        }
        self.changed.send_replace(());
    }

    /// Removes all events: the head has expired, or no stream is left.
    pub(super) fn clear(&self) {
        *self.run.lock() = None;
        self.changed.send_replace(());
    }

    /// The events after `after`, at most a page of this size.
    pub(super) fn events_after(&self, after: Cursor, size: PageSize) -> Lookup {
        let run = self.run.lock();
        let Some(run) = run.as_ref() else {
            return Lookup::Missing;
        };
        let start = if after == run.start {
            0
        } else {
            match run
                .events
                .binary_search_by(|event| event.cursor.cmp(&after))
            {
                Ok(at) => at + 1,
                Err(_) if after > run.head() => return Lookup::PastHead,
                Err(_) => return Lookup::Missing,
            }
        };
        let mut bytes = 0;
        let budget = usize::try_from(size.bytes).unwrap_or(usize::MAX);
        let events: Vec<_> = run
            .events
            .range(start..)
            .take(usize::try_from(size.events).unwrap_or(usize::MAX))
            .take_while(|event| {
                // The first event always fits.
                let fits = bytes == 0 || bytes + event.json_bytes() <= budget;
                bytes += event.json_bytes();
                fits
            })
            .map(Arc::clone)
            .collect();
        if events.is_empty() {
            Lookup::Head
        } else {
            Lookup::Events(events)
        }
    }
}

impl EventRun {
    fn head(&self) -> Cursor {
        self.events.back().map_or(self.start, |event| event.cursor)
    }
}

#[cfg(test)]
mod tests;
