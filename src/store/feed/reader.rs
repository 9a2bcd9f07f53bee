//! The position of one stream in the feed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::OpenStream;
use super::recent::Lookup;
use crate::store::StoreError;
use crate::store::cursor::Cursor;
use crate::store::event::{Event, Feed, PageSize};

/// How long a reader waits for a change of the recent events before it reads from the database.
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
    after: Option<Cursor>,
}

/// The result of reading after the position of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextEvents {
    /// The next events; none if the reader is at the head.
    Events(Vec<Arc<Event>>),
    /// Reading cannot continue here; see [`Feed::Expired`].
    Expired {
        /// A cursor before the oldest event.
        oldest: Cursor,
    },
}

impl FeedReader {
    pub(super) fn new(stream: OpenStream, after: Option<Cursor>) -> Self {
        let changed = stream.feed.recent.subscribe();
        Self {
            stream,
            changed,
            after,
        }
    }

    /// The position after the last event that was read; none before the first read.
    pub fn cursor(&self) -> Option<Cursor> {
        self.after
    }

    /// The next events, without waiting for any.
    ///
    /// # Errors
    /// [`StoreError`]; the reader keeps its position.
    pub async fn try_next(&mut self) -> Result<NextEvents, StoreError> {
        // Before the read, so that a change during it counts for the next one.
        self.changed.mark_unchanged();
        match self.in_recent() {
            Lookup::Events(events) => Ok(self.advance(events)),
            Lookup::Head => Ok(NextEvents::Events(Vec::new())),
            Lookup::PastHead | Lookup::Missing => self.in_database().await,
        }
    }

    /// The next events, at least one; waits while there are none.
    ///
    /// # Errors
    /// [`StoreError`]; the reader keeps its position.
    pub async fn next(&mut self) -> Result<NextEvents, StoreError> {
        loop {
            // If the reader is ahead, the task at the head is about to read the events that the reader has read.
            if self.in_recent() == Lookup::PastHead && self.wait().await {
                continue;
            }
            let next = self.try_next().await?;
            if next != NextEvents::Events(Vec::new()) {
                return Ok(next);
            }
            self.wait().await;
        }
    }

    /// Waits until the recent events change. Returns false at the timeout.
    async fn wait(&mut self) -> bool {
        let changed = tokio::time::timeout(CHANGE_TIMEOUT, self.changed.changed()).await;
        changed.is_ok()
    }

    fn in_recent(&self) -> Lookup {
        match self.after {
            Some(after) => self.stream.feed.recent.events_after(after, PAGE),
            None => Lookup::Missing,
        }
    }

    async fn in_database(&mut self) -> Result<NextEvents, StoreError> {
        let OpenStream { feed, caller, .. } = &self.stream;
        match feed.page(caller, self.after, PAGE).await? {
            Feed::Expired { oldest } => Ok(NextEvents::Expired { oldest }),
            Feed::Page { page, next } => {
                if !page.more && feed.recent.start(next) {
                    feed.head_reached.notify_one();
                }
                self.after = Some(next);
                Ok(NextEvents::Events(
                    page.events.into_iter().map(Arc::new).collect(),
                ))
            }
        }
    }

    fn advance(&mut self, events: Vec<Arc<Event>>) -> NextEvents {
        self.after = events.last().map(|event| event.cursor).or(self.after);
        NextEvents::Events(events)
    }
}
