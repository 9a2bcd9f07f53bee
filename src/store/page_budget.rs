//! Limits the number of pages in memory that are not yet response bodies.
//!
//! A page is up to 1 MiB of rows and as much JSON, and the response budget counts it only once it is the body of a
//! response. Until then it needs a permit of this budget: while it is read, while it waits for the worker of its
//! request, and while the worker writes it as JSON. So clients cannot fill memory by sending requests for pages
//! faster than the workers take them, or by closing their connections before that.
//!
//! Callers wait for permits, and their principals are served in turn. Otherwise the pages of one principal with
//! hundreds of connections would delay those of all others.

use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::error::StoreFault;
use super::list::ListQuery;
use super::{StoreError, panicked};
use crate::domain::Caller;
use crate::order_json;
use crate::shares::{FairPermit, FairSemaphore};

/// How many orders or events count as a whole page. A smaller page counts its entries. The longest entry is less
/// than a quarter of 1 MiB as JSON.
const ENTRIES_PER_PAGE: u32 = 4;

const _: () = {
    // An event adds its envelope, its traceparent and its `authid`, which have together less than 4 KiB
    // (`Event::json_bytes`).
    let longest_event = order_json::LONGEST_ORDER + 4096;
    assert!(
        4 * longest_event <= ListQuery::MAX_BYTES,
        "ENTRIES_PER_PAGE is too large"
    );
};

/// Permits for a few pages. Clones share them.
#[derive(Clone)]
pub(super) struct PageBudget {
    entries: FairSemaphore,
    /// Stands for the callers of a read that serves several.
    several: Arc<str>,
}

impl PageBudget {
    pub(super) fn new(pages: u32) -> Self {
        let entries = pages.saturating_mul(ENTRIES_PER_PAGE);
        let entries = usize::try_from(entries).unwrap_or(usize::MAX);
        Self {
            entries: FairSemaphore::new(entries),
            several: "".into(),
        }
    }

    /// Acquires a permit for a page of at most this many orders or events. Waits for it.
    async fn acquire(&self, principal: &Arc<str>, entries: u32) -> Result<PagePermit, StoreError> {
        let entries = entries.clamp(1, ENTRIES_PER_PAGE);
        let permit = self.entries.acquire(principal, entries).await;
        Ok(PagePermit {
            _permit: Arc::new(permit.ok_or(StoreFault::Closed)?),
        })
    }

    /// Reads a whole page for several callers once a permit for it is available.
    pub(super) async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<WithPermit<T>, StoreError> {
        let permit = self.acquire(&self.several, ENTRIES_PER_PAGE).await?;
        let page = read.await?;
        Ok(WithPermit { page, permit })
    }

    /// Reads a page of at most `entries` orders or events in a task of `runtime`. A read that has begun runs to
    /// its end even if its caller is gone. Its page and permit are then dropped.
    pub(super) async fn read_on<T: Send + 'static>(
        &self,
        runtime: &Handle,
        caller: &Caller,
        entries: u32,
        read: BoxFuture<'static, Result<T, StoreError>>,
    ) -> Result<WithPermit<T>, StoreError> {
        let permit = self.acquire(&caller.id, entries).await?;
        let task = async move {
            let page = read.await?;
            Ok(WithPermit { page, permit })
        };
        runtime.spawn(task).await.map_err(panicked)?
    }
}

/// A permit for a page; released when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct PagePermit {
    _permit: Arc<FairPermit>,
}

/// A page with its permit, which must be kept until the page is the body of a response.
#[derive(Clone, Debug)]
pub struct WithPermit<T> {
    /// The page.
    pub page: T,
    /// Its permit.
    pub permit: PagePermit,
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
    async fn a_permit_is_held_until_the_last_copy_of_the_page_is_dropped() {
        let budget = PageBudget::new(1);
        let first = budget.read(async { Ok(1) }).await.unwrap();
        let copy = first.clone();
        let second = budget.read(async { Ok(2) });
        let mut second = std::pin::pin!(second);
        assert!(timeout(SOON, &mut second).await.is_err());
        drop(first);
        assert!(timeout(SOON, &mut second).await.is_err());
        drop(copy);
        assert_eq!(second.await.unwrap().page, 2);
    }

    #[tokio::test]
    async fn an_abandoned_read_does_not_begin_or_releases_its_permit_at_its_end() {
        let budget = PageBudget::new(1);
        let runtime = Handle::current();
        let caller = Caller::anonymous();
        let (done, waits) = oneshot::channel::<()>();
        let begun = budget.read_on(
            &runtime,
            &caller,
            100,
            async move { Ok(waits.await.is_ok()) }.boxed(),
        );
        assert!(timeout(SOON, begun).await.is_err());
        let (began, begins) = oneshot::channel();
        let waiting = budget.read_on(
            &runtime,
            &caller,
            100,
            async move { Ok(began.send(()).is_ok()) }.boxed(),
        );
        assert!(timeout(SOON, waiting).await.is_err());
        assert!(begins.await.is_err(), "it never began");
        assert_eq!(budget.entries.available(), 0, "the first still reads");
        done.send(()).unwrap();
        while budget.entries.available() == 0 {
            sleep(SOON).await;
        }
    }
}
