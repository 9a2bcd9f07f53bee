//! Follows the feed of events as it grows.
//!
//! Streams at the head of the feed share what one task reads for all of them ([`head`]); those that are
//! behind read pages, a few at the same time. So the number of streams does not show in the database.

mod head;
mod reader;
mod recent;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use uuid::Uuid;

use super::cursor::Cursor;
use super::event::{EventPage, Feed, PageSize};
use super::feed_signal::FeedSignal;
use super::{Database, Held, Store, StoreError};
use crate::config::Settings;
use crate::telemetry::Metrics;
pub use reader::{FeedReader, Look};
use recent::Ring;

/// The most streams that read from the database at the same time; with few connections, a third of them.
const MAX_READS: usize = 4;

/// What the streams of a process share.
pub(super) struct Following {
    database: Database,
    runtime: Handle,
    ring: Ring,
    /// Permits for pages from the database. A permit lives as long as the read.
    reads: Arc<Semaphore>,
    streams: AtomicUsize,
    max_streams: usize,
    /// Tells the tail reader that there is something to do.
    begun: Notify,
    metrics: Arc<Metrics>,
}

impl Following {
    /// Starts the tasks that serve the streams.
    pub(super) fn start(
        database: &Database,
        settings: &Settings,
        wake: &FeedSignal,
        metrics: &Arc<Metrics>,
        runtime: &Handle,
    ) -> Arc<Self> {
        let reads = (settings.pool_max_size.get() / 3).clamp(1, MAX_READS);
        let following = Arc::new(Self {
            database: database.clone(),
            runtime: runtime.clone(),
            ring: Ring::new(),
            reads: Arc::new(Semaphore::new(reads)),
            streams: AtomicUsize::new(0),
            max_streams: settings.max_streams.get(),
            begun: Notify::new(),
            metrics: Arc::clone(metrics),
        });
        let served = database.first_in_line();
        runtime.spawn(head::read(Arc::clone(&following), served, wake.subscribe()));
        if let Database::Postgres(postgres) = database {
            runtime.spawn(super::postgres::measure_feed_lag(
                postgres.clone(),
                Arc::clone(metrics),
            ));
        }
        following
    }

    /// A page from the database. Whoever goes away while waiting for a permit reads nothing; a read that
    /// has begun keeps its permit to its end, whoever still waits for it.
    async fn page(&self, after: Option<Cursor>, size: PageSize) -> Result<Feed, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        let permit = permit.map_err(closed)?;
        let database = self.database.clone();
        let read = async move {
            let feed = database.feed(after, size).await;
            drop(permit);
            feed
        };
        self.runtime.spawn(read).await.map_err(super::panicked)?
    }

    /// A stream, if there are fewer than `MAX_STREAMS`.
    fn enter(self: &Arc<Self>) -> Result<Stream, StoreError> {
        let entered = self
            .streams
            .try_update(Ordering::AcqRel, Ordering::Acquire, |streams| {
                (streams < self.max_streams).then_some(streams + 1)
            });
        entered.map_err(|_| StoreError::Overloaded)?;
        self.metrics.event_streams.inc();
        Ok(Stream(Arc::clone(self)))
    }

    fn has_streams(&self) -> bool {
        self.streams.load(Ordering::Acquire) > 0
    }
}

/// A stream that counts; it ends when dropped.
struct Stream(Arc<Following>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.event_streams.dec();
    }
}

impl Database {
    /// A page of the feed behind `after`; without a cursor, behind the floor.
    async fn feed(&self, after: Option<Cursor>, size: PageSize) -> Result<Feed, StoreError> {
        match self.feed_behind(after, size).await? {
            Feed::Expired { oldest } if after.is_none() => {
                self.feed_behind(Some(oldest), size).await
            }
            feed => Ok(feed),
        }
    }

    async fn feed_behind(&self, after: Option<Cursor>, size: PageSize) -> Result<Feed, StoreError> {
        match self {
            Self::Postgres(postgres) => postgres.feed(after, size).await,
            Self::Sqlite(sqlite) => sqlite.feed(after, size).await,
        }
    }

    async fn order_events(
        &self,
        id: Uuid,
        after: i32,
        size: PageSize,
    ) -> Result<EventPage, StoreError> {
        match self {
            Self::Postgres(postgres) => postgres.order_events(id, after, size).await,
            Self::Sqlite(sqlite) => sqlite.order_events(id, after, size).await,
        }
    }

    fn first_in_line(&self) -> Self {
        match self {
            Self::Postgres(postgres) => Self::Postgres(postgres.first_in_line()),
            Self::Sqlite(sqlite) => Self::Sqlite(sqlite.first_in_line()),
        }
    }
}

impl Store {
    /// The events of one order behind a version, oldest first: at most `limit` and 100, and at most 1 MiB
    /// of JSON, but one if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn order_events(
        &self,
        id: Uuid,
        after: i32,
        limit: u32,
    ) -> Result<Held<EventPage>, StoreError> {
        let size = PageSize::of_response(limit);
        self.page(size.events, move |inner| async move {
            inner.database.order_events(id, after, size).await
        })
        .await
    }

    /// The events behind `after` in the order of their commits; without a cursor, from the oldest that
    /// there is. As many as of [`Self::order_events`]. A reader who continues behind the last of them
    /// misses none and sees none twice.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn feed(&self, after: Option<Cursor>, limit: u32) -> Result<Held<Feed>, StoreError> {
        let size = PageSize::of_response(limit);
        self.page(size.events, move |inner| async move {
            inner.database.feed(after, size).await
        })
        .await
    }

    /// A reader that follows the feed from `after` on, or from the oldest event.
    ///
    /// # Errors
    /// [`StoreError::Overloaded`] when there are `MAX_STREAMS` already.
    pub fn follow(&self, after: Option<Cursor>) -> Result<FeedReader, StoreError> {
        Ok(FeedReader::new(self.0.following.enter()?, after))
    }
}
