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

use super::admission::RequestKind;
use super::backend::{Backend, Environment};
use super::cursor::{Cursor, Position};
use super::cursor_key::{CurrentKey, CursorKey};
use super::error::StoreFault;
use super::event::{Event, EventPage, Feed, FeedPage, FeedRead, PageSize};
use super::order_key::OrderKey;
use super::page_budget::WithPermit;
use super::streams::OpenStreams;
use super::{Store, StoreError};
use crate::domain::{Caller, Tenant};
use crate::shares::{FairSemaphore, Share};
use crate::telemetry::Metrics;
pub use reader::{FeedReader, NextEvents};
use recent::{RecentEvents, TenantEvents};

/// The maximum number of streams that read from the database at the same time. A small pool allows a third of its
/// connections.
const MAX_READS: usize = 4;

/// What the streams of a process share.
pub(super) struct SharedFeed {
    backend: Arc<dyn Backend>,
    runtime: Handle,
    recent: RecentEvents,
    /// The key of the cursors.
    key: CurrentKey,
    /// Permits to read a page from the database, each held until the read ends.
    reads: FairSemaphore,
    streams: OpenStreams,
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
        streams: &OpenStreams,
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
            recent: RecentEvents::default(),
            key: CurrentKey::default(),
            reads: FairSemaphore::new(reads),
            streams: streams.clone(),
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
        self: &Arc<Self>,
        caller: &Caller,
        after: After,
        size: PageSize,
    ) -> Result<FeedReading, StoreError> {
        let permit = self.reads.acquire(&caller.id, 1).await;
        let permit = permit.ok_or(StoreFault::Closed)?;
        let (feed, tenant) = (Arc::clone(self), caller.tenant.clone());
        let read = async move {
            let read = read_feed(&*feed.backend, &feed.key, tenant, after, size).await;
            drop(permit);
            read
        };
        self.runtime.spawn(read).await.map_err(super::panicked)?
    }

    /// Opens a stream. The errors are those of [`OpenStreams::open`].
    fn open_stream(self: &Arc<Self>, caller: &Arc<Caller>) -> Result<OpenStream, StoreError> {
        let share = self.streams.open(caller)?;
        self.metrics.event_streams.inc();
        Ok(OpenStream {
            feed: Arc::clone(self),
            caller: Arc::clone(caller),
            recent: self.recent.join(&caller.tenant),
            _share: share,
        })
    }
}

/// Counts a stream until it is dropped.
struct OpenStream {
    feed: Arc<SharedFeed>,
    caller: Arc<Caller>,
    recent: Arc<TenantEvents>,
    _share: Share,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.feed.recent.leave(&self.caller.tenant, &self.recent);
        self.feed.metrics.event_streams.dec();
    }
}

/// Where to begin to read.
#[derive(Clone, Copy)]
enum After {
    /// After the event of a client's cursor; without one, after the floor.
    Cursor(Option<Cursor>),
    /// After an event that this process has read.
    Position(Position),
}

/// What was read from the feed, with the key for its cursors.
struct FeedReading {
    /// `None` if reading cannot continue there.
    page: Option<FeedPage<Event>>,
    floor: Position,
    key: Arc<CursorKey>,
}

/// How often a read begins again because the key has changed: the database was switched.
const MAX_KEY_CHANGES: usize = 3;

/// Reads a page of the feed of a tenant.
async fn read_feed(
    backend: &dyn Backend,
    current: &CurrentKey,
    tenant: Tenant,
    after: After,
    size: PageSize,
) -> Result<FeedReading, StoreError> {
    let cursor = match after {
        After::Position(position) => {
            let read = backend.feed(tenant, Some(position), size).await?;
            return FeedReading::new(read, current);
        }
        After::Cursor(None) => {
            let read = backend.feed(tenant.clone(), None, size).await?;
            // Retention has left events below the floor.
            if read.page.is_none() {
                let read = backend.feed(tenant, Some(read.floor), size).await?;
                return FeedReading::new(read, current);
            }
            return FeedReading::new(read, current);
        }
        After::Cursor(Some(cursor)) => cursor,
    };
    let mut key = current.get();
    for _ in 0..MAX_KEY_CHANGES {
        let position = key.as_ref().and_then(|key| key.open(&tenant, &cursor));
        // Without a position, only the state of the feed is needed.
        let read_size = position.map_or(PageSize { events: 1, ..size }, |_| size);
        let read = backend.feed(tenant.clone(), position, read_size).await?;
        let mut reading = FeedReading::new(read, current)?;
        let same_key = key.is_some_and(|key| *key == *reading.key);
        if same_key {
            if position.is_none() {
                // A cursor of another database or of another tenant, or no cursor at all.
                reading.page = None;
            }
            return Ok(reading);
        }
        key = Some(reading.key);
    }
    Err(StoreFault::Moved.into())
}

impl FeedReading {
    fn new(read: FeedRead<Event>, current: &CurrentKey) -> Result<Self, StoreError> {
        Ok(Self {
            page: read.page,
            floor: read.floor,
            key: current.renew(read.key)?,
        })
    }

    /// The result for a client.
    fn into_feed(self, tenant: &Tenant) -> Result<Feed, StoreError> {
        let Self { page, floor, key } = self;
        Ok(match page {
            Some(page) => Feed::Page {
                next: key.seal(tenant, page.next)?,
                page: EventPage {
                    events: page.events,
                    more: page.more,
                },
            },
            None => Feed::Expired {
                oldest: key.seal(tenant, floor)?,
            },
        })
    }
}

impl Store {
    /// Reads the events of one order of the caller's tenant after a version, oldest first. A page has at most `limit`
    /// and 100 events, and at most 1 MiB of JSON, but at least one event if there is one.
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
        let order = OrderKey::new(&caller.tenant, id);
        self.page(caller, size.events, move |inner| async move {
            inner.backend.order_events(order, after, size).await
        })
        .await
    }

    /// Reads the events of the caller's tenant after `after`, in the order of their commits; without a cursor, from the
    /// oldest event. The limits are those of [`Self::order_events`]. A reader that continues after the last event
    /// receives every event exactly once.
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
        let tenant = caller.tenant.clone();
        self.page(caller, size.events, move |inner| async move {
            let (backend, key) = (&*inner.backend, &inner.shared_feed.key);
            let after = After::Cursor(after);
            let reading = read_feed(backend, key, tenant.clone(), after, size).await?;
            reading.into_feed(&tenant)
        })
        .await
    }

    /// A reader that follows the feed of the caller's tenant from `after` on, or from the oldest event. Its first read
    /// is admitted like a page of the feed.
    ///
    /// # Errors
    /// [`StoreError::ShareExceeded`] when the caller has its share of the readers or of the requests, and
    /// [`StoreError::Overloaded`] when `MAX_STREAMS` readers and exports exist, or a page of the feed would be rejected.
    pub fn follow(
        &self,
        caller: &Arc<Caller>,
        after: Option<Cursor>,
    ) -> Result<FeedReader, StoreError> {
        let permit = self.0.queues.other.acquire(caller, RequestKind::List, 0)?;
        let stream = self.0.shared_feed.open_stream(caller)?;
        Ok(FeedReader::new(stream, after, permit))
    }
}
