//! The position of one stream in the feed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::recent::Lookup;
use super::{After, FeedReading, OpenStream};
use crate::store::StoreError;
use crate::store::admission::Permit;
use crate::store::cursor::{Cursor, Position, SortKey};
use crate::store::cursor_key::CursorKey;
use crate::store::event::{PageSize, StreamEvent};

/// How long a reader waits for a change of the recent events before it looks again.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(1);

/// Small, because every stream may hold a page that its client is slow to read.
const PAGE: PageSize = PageSize {
    events: 32,
    bytes: 64 << 10,
};

/// A reader with its position in the feed. It holds at most one page: 32 events and 64 KiB of JSON, or one
/// event that is longer.
pub struct FeedReader {
    stream: OpenStream,
    changed: watch::Receiver<()>,
    at: Place,
    /// The permit for the first read.
    opening: Option<Permit>,
}

/// How far a reader has read.
enum Place {
    /// Nothing has been read, and this is the cursor that the client has sent.
    Unread(Option<Cursor>),
    /// Events have been read up to `read_up_to`, and the last of them is at `position`.
    Read {
        cursor: Cursor,
        position: Position,
        read_up_to: SortKey,
        /// The key of the database from which they were read.
        key: Arc<CursorKey>,
    },
}

/// The result of reading after the position of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextEvents {
    /// The next events; none if the reader is at the head.
    Events(Vec<Arc<StreamEvent>>),
    /// Reading cannot continue here; see [`Feed::Expired`](crate::store::Feed::Expired).
    Expired {
        /// A cursor before the oldest event.
        oldest: Cursor,
    },
}

impl FeedReader {
    pub(super) fn new(stream: OpenStream, after: Option<Cursor>, opening: Permit) -> Self {
        Self {
            changed: stream.recent.subscribe(),
            stream,
            at: Place::Unread(after),
            opening: Some(opening),
        }
    }

    /// The cursor after the last event that was read; none before the first read, unless the client sent one.
    pub fn cursor(&self) -> Option<Cursor> {
        match self.at {
            Place::Unread(cursor) => cursor,
            Place::Read { cursor, .. } => Some(cursor),
        }
    }

    /// The next events, without waiting for any.
    ///
    /// # Errors
    /// [`StoreError`]; the reader keeps its position.
    pub async fn try_next(&mut self) -> Result<NextEvents, StoreError> {
        // Before the read, so that a change during it counts for the next one.
        self.changed.mark_unchanged();
        self.resume();
        let next = self.read().await;
        self.opening = None;
        next
    }

    async fn read(&mut self) -> Result<NextEvents, StoreError> {
        let lookup = match &self.at {
            Place::Read {
                read_up_to, key, ..
            } => self.stream.recent.events_after(*read_up_to, key, PAGE),
            Place::Unread(_) => Lookup::Missing,
        };
        match lookup {
            Lookup::Events(events) => {
                if let Some(last) = events.last() {
                    self.at.advance(last);
                }
                Ok(NextEvents::Events(events))
            }
            Lookup::Head => Ok(NextEvents::Events(Vec::new())),
            Lookup::Missing => self.in_database().await,
        }
    }

    /// The next events, at least one; waits while there are none.
    ///
    /// # Errors
    /// [`StoreError`]; the reader keeps its position.
    pub async fn next(&mut self) -> Result<NextEvents, StoreError> {
        loop {
            let next = self.try_next().await?;
            if next != NextEvents::Events(Vec::new()) {
                return Ok(next);
            }
            // At the timeout it looks again, in case that the recent events have been cleared.
            let _ = tokio::time::timeout(CHANGE_TIMEOUT, self.changed.changed()).await;
        }
    }

    /// A client that reconnects soon needs no page from the database: if the event of its cursor is among the recent
    /// events, it is still in the feed.
    fn resume(&mut self) {
        let OpenStream {
            feed,
            caller,
            recent,
            ..
        } = &self.stream;
        if let Place::Unread(Some(cursor)) = self.at
            && let Some(key) = feed.key.get()
            && let Some(position) = key.open(&caller.tenant, &cursor)
            && recent.contains(position)
        {
            self.at = Place::Read {
                cursor,
                position,
                read_up_to: position.sort_key(),
                key,
            };
        }
    }

    async fn in_database(&mut self) -> Result<NextEvents, StoreError> {
        let OpenStream { feed, caller, .. } = &self.stream;
        let tenant = &caller.tenant;
        let after = match self.at {
            Place::Unread(cursor) => After::Cursor(cursor),
            Place::Read { position, .. } => After::Position(position),
        };
        let FeedReading { page, key, floor } = feed.page(caller, after, PAGE).await?;
        let Some(page) = page else {
            let oldest = key.seal(tenant, floor)?;
            return Ok(NextEvents::Expired { oldest });
        };
        let events = page.events.into_iter().map(|event| {
            let cursor = key.seal(tenant, Position(Some(event.key)))?;
            Ok(Arc::new(StreamEvent { event, cursor }))
        });
        let events = events.collect::<Result<Vec<_>, StoreError>>()?;
        if !page.more {
            feed.head_reached.notify_one();
        }
        self.at = Place::Read {
            cursor: key.seal(tenant, page.next)?,
            position: page.next,
            read_up_to: page.read_up_to,
            key,
        };
        Ok(NextEvents::Events(events))
    }
}

impl Place {
    /// Continues after an event of the recent events.
    fn advance(&mut self, last: &StreamEvent) {
        if let Self::Read {
            cursor,
            position,
            read_up_to,
            ..
        } = self
        {
            *cursor = last.cursor;
            *position = Position(Some(last.event.key));
            *read_up_to = position.sort_key();
        }
    }
}
