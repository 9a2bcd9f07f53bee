//! Follows the feed of events as it grows.
//!
//! Streams at the head of the feed share the events that one task reads for all of them ([`head`]). Streams that
//! lag behind the head read pages from the database, a few at the same time. The load on the database therefore
//! does not depend on the number of streams.

mod head;
mod reader;
mod recent;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use uuid::Uuid;

use super::backend::{Backend, Environment};
use super::cursor::Cursor;
use super::error::StoreFault;
use super::event::{EventPage, Feed, PageSize};
use super::page_budget::WithPermit;
use super::{Store, StoreError};
use crate::domain::Caller;
use crate::shares::{FairSemaphore, FairShares, Share, Unavailable, Wanted};
use crate::telemetry::Metrics;
pub use reader::{FeedReader, NextEvents};
use recent::RecentEvents;

/// The maximum number of streams that read from the database at the same time. A small pool allows a third of its
/// connections.
const MAX_READS: usize = 4;

/// What the streams of a process share.
pub(super) struct SharedFeed {
    backend: Arc<dyn Backend>,
    runtime: Handle,
    recent: RecentEvents,
    /// Permits to read a page from the database, each held until the read ends.
    reads: FairSemaphore,
    /// Permits for open streams.
    streams: FairShares,
    /// Wakes the task at the head when the first stream has reached it.
    head_reached: Notify,
    metrics: Arc<Metrics>,
}

impl SharedFeed {
    /// Starts the task that reads the head of the feed, as one reader for all streams, from `prioritized`.
    pub(super) fn start(
        backend: &Arc<dyn Backend>,
        prioritized: &Arc<dyn Backend>,
        environment: &Environment<'_>,
    ) -> Arc<Self> {
        let Environment {
            settings,
            metrics,
            feed_signal,
            runtime,
        } = environment;
        let reads = (settings.pool_max_size.get() / 3).clamp(1, MAX_READS);
        let feed = Arc::new(Self {
            backend: Arc::clone(backend),
            runtime: (*runtime).clone(),
            recent: RecentEvents::new(),
            reads: FairSemaphore::new(reads),
            streams: FairShares::new(settings.max_streams.get()),
            head_reached: Notify::new(),
            metrics: Arc::clone(metrics),
        });
        runtime.spawn(head::read(
            Arc::clone(&feed),
            Arc::clone(prioritized),
            feed_signal.subscribe(),
        ));
        feed
    }

    /// Reads a page from the database. A caller that is dropped while it waits for a permit reads nothing. A read
    /// that has begun holds its permit to its end.
    async fn page(
        &self,
        caller: &Caller,
        after: Option<Cursor>,
        size: PageSize,
    ) -> Result<Feed, StoreError> {
        let permit = self.reads.acquire(&caller.id, 1).await;
        let permit = permit.ok_or(StoreFault::Closed)?;
        let backend = Arc::clone(&self.backend);
        let read = async move {
            let feed = read_feed(&*backend, after, size).await;
            drop(permit);
            feed
        };
        self.runtime.spawn(read).await.map_err(super::panicked)?
    }

    /// Opens a stream, unless the caller has its share of the streams open, or `MAX_STREAMS` are open.
    fn open_stream(self: &Arc<Self>, caller: &Arc<Caller>) -> Result<OpenStream, StoreError> {
        let share = self.streams.acquire(&caller.id, Wanted::of(1));
        let share = share.map_err(|error| match error {
            Unavailable::Share => StoreError::ShareExceeded,
            Unavailable::Capacity => StoreError::Overloaded,
        })?;
        self.metrics.event_streams.inc();
        Ok(OpenStream {
            feed: Arc::clone(self),
            caller: Arc::clone(caller),
            _share: share,
        })
    }

    fn has_streams(&self) -> bool {
        self.streams.used() > 0
    }
}

/// Counts a stream until it is dropped.
struct OpenStream {
    feed: Arc<SharedFeed>,
    caller: Arc<Caller>,
    _share: Share,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.feed.metrics.event_streams.dec();
    }
}

/// Reads a page of the feed after `after`; without a cursor, after the floor.
async fn read_feed(
    backend: &dyn Backend,
    after: Option<Cursor>,
    size: PageSize,
) -> Result<Feed, StoreError> {
    match backend.feed(after, size).await? {
        Feed::Expired { oldest } if after.is_none() => backend.feed(Some(oldest), size).await,
        feed => Ok(feed),
    }
}

impl Store {
    /// Reads the events of one order after a version, oldest first: at most `limit` and 100, and at most 1 MiB of
    /// JSON, but at least one if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn order_events(
        &self,
        caller: &Arc<Caller>,
        id: Uuid,
        after: i32,
        limit: u32,
    ) -> Result<WithPermit<EventPage>, StoreError> {
        let size = PageSize::for_response(limit);
        self.page(caller, size.events, move |inner| async move {
            inner.backend.order_events(id, after, size).await
        })
        .await
    }

    /// Reads the events after `after` in the order of their commits; without a cursor, from the oldest event. The
    /// limits are those of [`Self::order_events`]. A reader that continues after the last event receives every
    /// event exactly once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn feed(
        &self,
        caller: &Arc<Caller>,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<WithPermit<Feed>, StoreError> {
        let size = PageSize::for_response(limit);
        self.page(caller, size.events, move |inner| async move {
            read_feed(&*inner.backend, after, size).await
        })
        .await
    }

    /// A reader that follows the feed from `after` on, or from the oldest event.
    ///
    /// # Errors
    /// [`StoreError::ShareExceeded`] when the caller has its share of the readers, and [`StoreError::Overloaded`] when
    /// `MAX_STREAMS` readers exist.
    pub fn follow(
        &self,
        caller: &Arc<Caller>,
        after: Option<Cursor>,
    ) -> Result<FeedReader, StoreError> {
        let stream = self.0.shared_feed.open_stream(caller)?;
        Ok(FeedReader::new(stream, after))
    }
}
