//! Reads the head of the feed, once for all streams of the process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Following;
use crate::store::Database;
use crate::store::event::{Feed, PageSize};

/// How often to look without having been woken: when another process's notification was lost, or
/// a slow transaction held events back that nobody announces again.
const POLL: Duration = Duration::from_secs(1);
/// At most so often are pages read that are not full, however much is written.
const PAUSE: Duration = Duration::from_millis(10);
/// How long to wait before asking a database again that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Reads behind the head of the ring until the runtime ends. While there is no stream, and while none has
/// come to the head yet, it asks the database nothing.
pub(super) async fn read(
    following: Arc<Following>,
    database: Database,
    mut woken: watch::Receiver<()>,
) {
    let size = PageSize::of_response(PageSize::MAX_EVENTS);
    loop {
        if !following.has_streams() {
            following.ring.clear();
        }
        let Some(head) = following.ring.head() else {
            following.begun.notified().await;
            continue;
        };
        // Before the look, so that a wake during it counts for the next one.
        woken.mark_unchanged();
        match database.feed(Some(head), size).await {
            Ok(Feed::Page { page, .. }) => {
                if !page.events.is_empty() {
                    following.ring.extend(page.events);
                }
                if page.more {
                    continue;
                }
            }
            // The readers look by themselves, and see whether their places are gone, too.
            Ok(Feed::Expired { .. }) => following.ring.clear(),
            Err(error) => {
                log::debug!(error:%; "the streams of events wait for the database");
                sleep(RETRY).await;
            }
        }
        sleep(PAUSE).await;
        let _ = timeout(POLL, woken.changed()).await;
    }
}
