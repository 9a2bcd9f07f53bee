//! Follows the feed of events as it grows.

use std::time::Duration;

use tokio::sync::watch;

use super::{Cursor, Event, Store, StoreError};

/// How often to look without having been woken: when another process's notification was lost, or
/// a slow transaction held events back that nobody announces again.
const POLL: Duration = Duration::from_secs(1);

/// A reader with its place in the feed. It holds no more than one page.
pub struct FeedReader {
    store: Store,
    woken: watch::Receiver<()>,
    after: Cursor,
}

impl FeedReader {
    pub(super) fn new(store: Store, woken: watch::Receiver<()>, after: Cursor) -> Self {
        Self {
            store,
            woken,
            after,
        }
    }

    /// The place behind the last event that was read.
    pub fn cursor(&self) -> Cursor {
        self.after
    }

    /// The next events, at most `limit`; waits while there are none.
    ///
    /// # Errors
    /// [`StoreError`]; the reader keeps its place.
    pub async fn next(&mut self, limit: u32) -> Result<Vec<Event>, StoreError> {
        loop {
            // Before the look, so that a wake during it counts for the next one.
            self.woken.mark_unchanged();
            let events = self.store.follow_on(self.after, limit).await?;
            if let Some(last) = events.last() {
                self.after = last.cursor;
                return Ok(events);
            }
            let _ = tokio::time::timeout(POLL, self.woken.changed()).await;
        }
    }
}
