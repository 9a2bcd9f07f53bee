//! Reads the head of the feed, once for all streams of the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::SharedFeed;
use crate::store::StoreError;
use crate::store::backend::Backend;
use crate::store::cursor::Position;
use crate::store::event::PageSize;

/// How often to read without a signal. A notification from another process may be lost, and events that a slow
/// transaction held back are not announced again.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two reads of pages that are not full.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// The pause after an error of the database.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Reads the events of all tenants after the newest of the recent events until the runtime ends. Sends no statement
/// while no stream is open, or while no stream has reached the head yet.
pub(super) async fn read(
    feed: Arc<SharedFeed>,
    backend: Arc<dyn Backend>,
    mut signal: watch::Receiver<()>,
) {
    loop {
        if !feed.recent.has_readers() {
            feed.recent.clear();
        }
        let head = feed.recent.head();
        if head.is_none() {
            feed.head_reached.notified().await;
        }
        // Before the read, so that a signal during it counts for the next one.
        signal.mark_unchanged();
        match read_page(&feed, &*backend, head).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                log::debug!(error:%; "event streams wait for the database");
                sleep(RETRY_PAUSE).await;
            }
        }
        sleep(MIN_INTERVAL).await;
        let _ = timeout(POLL_INTERVAL, signal.changed()).await;
    }
}

/// Finds the head, or reads the events after it. Returns whether more can be read at once.
async fn read_page(
    feed: &SharedFeed,
    backend: &dyn Backend,
    head: Option<Position>,
) -> Result<bool, StoreError> {
    let position = match head {
        Some(head) => head,
        None => backend.head().await?,
    };
    let size = PageSize::for_response(PageSize::MAX_EVENTS);
    let read = backend.tail(position, size).await?;
    let key = feed.key.renew(read.key)?;
    let page = read.page.filter(|_| feed.recent.continues_with(&key));
    let Some(page) = page else {
        // The readers then read from the database, and find out whether their own cursors have expired.
        feed.recent.clear();
        return Ok(false);
    };
    // The page shows that the position belongs to the database with this key, or is before its first event.
    feed.recent.start(position, &key);
    feed.recent.extend(page.events, page.next, &key)?;
    Ok(page.more)
}
