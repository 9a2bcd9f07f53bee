//! One stream's place in the feed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Stream;
use super::recent::Found;
use crate::store::StoreError;
use crate::store::cursor::Cursor;
use crate::store::event::{Event, Feed, PageSize};

/// How long a reader waits for the ring to reach its place, or to change at all, before it looks by itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// Few, as every stream may hold a page that its client is slow to take.
const PAGE: PageSize = PageSize {
    events: 32,
    bytes: 64 << 10,
};

/// A reader with its place in the feed. It holds no more than one page: 32 events and 64 KiB of JSON, or
/// one event that is longer.
pub struct FeedReader {
    stream: Stream,
    changed: watch::Receiver<()>,
    after: Option<Cursor>,
}

/// What a reader found behind its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The next events, perhaps none yet.
    Events(Vec<Arc<Event>>),
    /// Reading cannot continue here; see [`Feed::Expired`].
    Expired {
        /// A cursor before all events that there are.
        oldest: Cursor,
    },
}

impl FeedReader {
    pub(super) fn new(stream: Stream, after: Option<Cursor>) -> Self {
        let changed = stream.0.ring.subscribe();
        Self {
            stream,
            changed,
            after,
        }
    }

    /// The place behind the last event that was read; none before the first look.
    pub fn cursor(&self) -> Option<Cursor> {
        self.after
    }

    /// The next events, if there are any now.
    ///
    /// # Errors
    /// [`StoreError`]; the reader keeps its place.
    pub async fn look(&mut self) -> Result<Look, StoreError> {
        // Before the look, so that a change during it counts for the next one.
        self.changed.mark_unchanged();
        match self.in_ring() {
            Found::Events(events) => Ok(self.advance(events)),
            Found::Head => Ok(Look::Events(Vec::new())),
            Found::Ahead | Found::Elsewhere => self.in_database().await,
        }
    }

    /// The next events, at least one; waits while there are none.
    ///
    /// # Errors
    /// [`StoreError`]; the reader keeps its place.
    pub async fn next(&mut self) -> Result<Look, StoreError> {
        loop {
            let found = self.in_ring();
            // The task that fills the ring is about to read what this reader has read already.
            let look = if found == Found::Ahead && self.wait().await {
                continue;
            } else {
                self.look().await?
            };
            if look != Look::Events(Vec::new()) {
                return Ok(look);
            }
            self.wait().await;
        }
    }

    /// Waits until the ring changes. False if it did not for long.
    async fn wait(&mut self) -> bool {
        let changed = tokio::time::timeout(PATIENCE, self.changed.changed()).await;
        changed.is_ok()
    }

    fn in_ring(&self) -> Found {
        match self.after {
            Some(after) => self.stream.0.ring.behind(after, PAGE),
            None => Found::Elsewhere,
        }
    }

    async fn in_database(&mut self) -> Result<Look, StoreError> {
        let following = &self.stream.0;
        match following.page(self.after, PAGE).await? {
            Feed::Expired { oldest } => Ok(Look::Expired { oldest }),
            Feed::Page { page, next } => {
                if !page.more && following.ring.start(next) {
                    following.begun.notify_one();
                }
                self.after = Some(next);
                Ok(Look::Events(
                    page.events.into_iter().map(Arc::new).collect(),
                ))
            }
        }
    }

    fn advance(&mut self, events: Vec<Arc<Event>>) -> Look {
        self.after = events.last().map(|event| event.cursor).or(self.after);
        Look::Events(events)
    }
}
