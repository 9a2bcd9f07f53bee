//! The queues in front of the database.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use uuid::Uuid;

use super::StoreError;
use super::admission::{Admission, RequestKind};
use super::backend::Backend;
use super::batches::{CreateBatch, FirstPageBatch, GetBatch};
use super::coalesce::{Batch, Coalescer, QueueLimits};
use super::create::{CreateOrder, CreateOutcome, NewRow};
use super::document::Document;
use super::feed_signal::FeedSignal;
use super::list::Page;
use super::order_key::OrderKey;
use super::page_budget::WithPermit;
use crate::domain::Caller;
use crate::shares::Share;
use crate::telemetry::Metrics;

/// Creates orders: one insert for many. The limit covers as many as wait during an overload: with a smaller one,
/// the database would be idle between two batches just when it has the most to do.
const CREATE: QueueLimits = QueueLimits {
    workers: 4,
    limit: 1024,
};
/// Gets orders by id: one look-up for many.
const GET: QueueLimits = QueueLimits {
    workers: 4,
    limit: 256,
};
/// The first page without a filter: one query for all requests of a tenant that arrived before it began. They share
/// its bytes.
const FIRST_PAGE: QueueLimits = QueueLimits {
    workers: 2,
    limit: 4096,
};

/// A queue of requests of one kind, with its share of the metrics.
struct Queue<B: Batch> {
    admission: Admission,
    coalescer: Coalescer<B>,
}

/// Orders that are submitted together.
pub struct Submitted<F> {
    /// The outcome of each, in their order.
    pub outcomes: Vec<F>,
    /// The permits of the rejected orders of the same request.
    _rejected: Share,
}

/// The queues in front of the database. They share the permits of one admission.
pub(super) struct Queues {
    create: Queue<CreateBatch>,
    get: Queue<GetBatch>,
    first_page: Queue<FirstPageBatch>,
    /// The admission of requests that are not served in batches.
    pub(super) other: Admission,
}

impl Queues {
    /// Creates queues that `backend` serves, which should be [prioritized](Backend::prioritized).
    pub(super) fn new(
        backend: &Arc<dyn Backend>,
        capacity: usize,
        metrics: &Arc<Metrics>,
        feed_signal: &FeedSignal,
        runtime: &Handle,
    ) -> Self {
        let other = Admission::new(capacity, metrics.queue("other"));
        let admission = |name| other.with_metrics(metrics.queue(name));
        let create = CreateBatch {
            backend: Arc::clone(backend),
            metrics: Arc::clone(metrics),
            feed_signal: feed_signal.clone(),
        };
        let first_page = FirstPageBatch::new(Arc::clone(backend));
        Self {
            create: Queue {
                admission: admission("create"),
                coalescer: Coalescer::new(create, CREATE, runtime),
            },
            get: Queue {
                admission: admission("get"),
                coalescer: Coalescer::new(GetBatch(Arc::clone(backend)), GET, runtime),
            },
            first_page: Queue {
                admission: admission("first_page"),
                coalescer: Coalescer::new(first_page, FIRST_PAGE, runtime),
            },
            other,
        }
    }

    pub(super) async fn create(&self, command: CreateOrder) -> Result<CreateOutcome, StoreError> {
        // Admission comes before the row is built: a request that is rejected should cost little.
        let admission = &self.create.admission;
        let permit = admission.acquire(&command.caller, RequestKind::Write, command.bytes())?;
        let deadline = command.deadline;
        let row = NewRow::new(command)?;
        let coalescer = &self.create.coalescer;
        let outcome = coalescer.submit(permit, row, Instant::now(), deadline);
        outcome.await.flatten()
    }

    /// Submits all commands, which are those of one caller, or none.
    pub(super) fn create_all(
        &self,
        caller: &Caller,
        commands: Vec<CreateOrder>,
        rejected: usize,
    ) -> Result<
        Submitted<impl Future<Output = Result<CreateOutcome, StoreError>> + use<>>,
        StoreError,
    > {
        let Queue {
            admission,
            coalescer,
        } = &self.create;
        let bytes = commands.iter().map(CreateOrder::bytes);
        let (permits, rejected) = admission.acquire_each(caller, bytes, rejected)?;
        // All rows are built before the first is submitted, so that the worker finds them together.
        let build = |command: CreateOrder| (command.deadline, NewRow::new(command));
        let rows: Vec<_> = commands.into_iter().map(build).collect();
        let now = Instant::now();
        let submit = |(permit, (deadline, row)): (_, (_, Result<_, StoreError>))| {
            let outcome = row.map(|row| coalescer.submit(permit, row, now, deadline));
            async move { outcome?.await.flatten() }
        };
        Ok(Submitted {
            outcomes: permits.into_iter().zip(rows).map(submit).collect(),
            _rejected: rejected,
        })
    }

    pub(super) async fn get(
        &self,
        caller: &Caller,
        id: Uuid,
    ) -> Result<Option<Document>, StoreError> {
        let permit = self.get.admission.acquire(caller, RequestKind::Get, 0)?;
        let key = OrderKey::new(&caller.tenant, id);
        // It takes no lock, so it never waits until its deadline.
        let now = Instant::now();
        self.get.coalescer.submit(permit, key, now, now).await
    }

    pub(super) async fn first_page(&self, caller: &Caller) -> Result<WithPermit<Page>, StoreError> {
        let admission = &self.first_page.admission;
        let permit = admission.acquire(caller, RequestKind::List, 0)?;
        let (coalescer, now) = (&self.first_page.coalescer, Instant::now());
        coalescer
            .submit(permit, caller.tenant.clone(), now, now)
            .await
    }

    /// Waits at most `timeout` until all work is done, then rejects further requests. Returns false if work was
    /// left.
    pub(super) async fn close(&self, timeout: Duration) -> bool {
        self.other.close(timeout).await
    }
}
