//! Reads the head of the feed, once for all streams of the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{SharedFeed, read_feed};
use crate::store::backend::Backend;
use crate::store::event::{Feed, PageSize};

/// How often to read without a signal. A notification from another process may be lost, and events that a slow
/// transaction held back are not announced again.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two reads of pages that are not full.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// The pause after an error of the database.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Reads the events after the newest of the recent events until the runtime ends. Sends no statement while no
/// stream is open, or while no stream has reached the head yet.
pub(super) async fn read(
    feed: Arc<SharedFeed>,
    backend: Arc<dyn Backend>,
    mut signal: watch::Receiver<()>,
) {
    let size = PageSize::for_response(PageSize::MAX_EVENTS);
    loop {
        if !feed.has_streams() {
            feed.recent.clear();
        }
        let Some(head) = feed.recent.head() else {
            feed.head_reached.notified().await;
            continue;
        };
        // Before the read, so that a signal during it counts for the next one.
        signal.mark_unchanged();
        match read_feed(&*backend, Some(head), size).await {
            Ok(Feed::Page { page, .. }) => {
                if !page.events.is_empty() {
                    feed.recent.extend(page.events);
                }
                if page.more {
                    continue;
                }
            }
            // The readers then read from the database, and find out whether their own cursors have expired.
            Ok(Feed::Expired { .. }) => feed.recent.clear(),
            Err(error) => {
                log::debug!(error:%; "event streams wait for the database");
                sleep(RETRY_PAUSE).await;
            }
        }
        sleep(MIN_INTERVAL).await;
        let _ = timeout(POLL_INTERVAL, signal.changed()).await;
    }
}
