//! Bounds how many pages are in memory that no response is charged for yet.
//!
//! A page is up to 1 MiB of rows and as much JSON, and the budget of responses counts it only once it is
//! the body of a response. Until then it takes a room here: while it is read, while it waits for the worker
//! of its request, and while the worker writes it as JSON. So clients that ask for pages faster than the
//! workers take them, or are gone before they do, fill no memory.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{StoreError, panicked};

/// The parts of a room. A page of few orders or events takes one part for each: in JSON the longest is less
/// than a sixth of 1 MiB.
const PARTS: u32 = 6;

/// Rooms for a few pages. Clones share them.
#[derive(Clone)]
pub(super) struct PageRooms(Arc<Semaphore>);

impl PageRooms {
    pub(super) fn new(rooms: u32) -> Self {
        let parts = usize::try_from(rooms.saturating_mul(PARTS)).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(parts.min(Semaphore::MAX_PERMITS))))
    }

    /// Room for so many orders or events; waits for it in the order of the calls. Whoever goes away while waiting takes none.
    async fn enter(&self, entries: u32) -> Result<PageRoom, StoreError> {
        let parts = entries.clamp(1, PARTS);
        let room = Arc::clone(&self.0).acquire_many_owned(parts).await;
        let room = room.map_err(|_| StoreError::Unavailable("the store is closed".to_owned()))?;
        Ok(PageRoom {
            _permit: Arc::new(room),
        })
    }

    /// Reads a whole page when there is a room for it.
    pub(super) async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<Held<T>, StoreError> {
        let room = self.enter(PARTS).await?;
        let page = read.await?;
        Ok(Held { page, room })
    }

    /// Reads a page of at most `entries` orders or events with a task of `runtime`, which a read that has begun runs to its end. If nobody waits for
    /// its page any more, the page and its room are free at that moment.
    pub(super) async fn read_on<T: Send + 'static>(
        &self,
        runtime: &Handle,
        entries: u32,
        read: BoxFuture<'static, Result<T, StoreError>>,
    ) -> Result<Held<T>, StoreError> {
        let room = self.enter(entries).await?;
        let task = async move {
            let page = read.await?;
            Ok(Held { page, room })
        };
        runtime.spawn(task).await.map_err(panicked)?
    }
}

/// A room for a page, until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct PageRoom {
    _permit: Arc<OwnedSemaphorePermit>,
}

/// A page with its room. The room is to be kept until the page is the body of a response.
#[derive(Clone, Debug)]
pub struct Held<T> {
    /// What was read.
    pub page: T,
    /// Its room.
    pub room: PageRoom,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;
    use tokio::time::{sleep, timeout};

    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_room_is_taken_from_the_read_until_the_page_is_dropped() {
        let rooms = PageRooms::new(1);
        let first = rooms.read(async { Ok(1) }).await.unwrap();
        let copy = first.clone();
        let second = rooms.read(async { Ok(2) });
        let mut second = std::pin::pin!(second);
        assert!(timeout(SOON, &mut second).await.is_err());
        drop(first);
        assert!(timeout(SOON, &mut second).await.is_err());
        drop(copy);
        assert_eq!(second.await.unwrap().page, 2);
    }

    #[tokio::test]
    async fn who_goes_away_reads_nothing_or_leaves_nothing() {
        let rooms = PageRooms::new(1);
        let runtime = Handle::current();
        let (done, waits) = oneshot::channel::<()>();
        let begun = rooms.read_on(
            &runtime,
            100,
            async move { Ok(waits.await.is_ok()) }.boxed(),
        );
        assert!(timeout(SOON, begun).await.is_err());
        let (began, begins) = oneshot::channel();
        let waiting = rooms.read_on(
            &runtime,
            100,
            async move { Ok(began.send(()).is_ok()) }.boxed(),
        );
        assert!(timeout(SOON, waiting).await.is_err());
        assert!(begins.await.is_err(), "it never began");
        assert_eq!(rooms.0.available_permits(), 0, "the first still reads");
        done.send(()).unwrap();
        while rooms.0.available_permits() == 0 {
            sleep(SOON).await;
        }
    }
}
