//! The queues in front of the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use uuid::Uuid;

use super::admission::{Admission, Ticket};
use super::batches::{FirstPage, Get};
use super::coalesce::{Batch, Coalescer, LockWait, QueueLimits};
use super::create::{CreateOrder, CreateOutcome, Document, NewRow, Page};
use super::feed_signal::FeedSignal;
use super::page_budget::Held;
use super::postgres::{self, Postgres};
use super::sqlite::{self, Sqlite};
use super::{Database, StoreError};
use crate::telemetry::Metrics;

/// Creates orders: one insert for many. As many as wait in an overload: with fewer, the database had
/// nothing to do between two of them, just when it was to do its most.
const CREATE: QueueLimits = QueueLimits {
    workers: 4,
    limit: 1024,
};
/// Getting orders by id: one look-up for many.
const GET: QueueLimits = QueueLimits {
    workers: 4,
    limit: 256,
};
/// The plain first page: one query, its bytes shared by all who asked before it began.
const FIRST_PAGE: QueueLimits = QueueLimits {
    workers: 2,
    limit: 4096,
};

/// Creates orders, with what follows from it whether or not a client still waits: it is counted,
/// and readers of events are woken.
struct Announced<B> {
    create: B,
    metrics: Arc<Metrics>,
    wake: FeedSignal,
}

impl<B: Batch<Answer = CreateOutcome>> Batch for Announced<B> {
    type Item = B::Item;
    type Answer = CreateOutcome;
    const SERVE_ABANDONED: bool = B::SERVE_ABANDONED;

    fn lock_of(item: &B::Item) -> Option<&str> {
        B::lock_of(item)
    }

    async fn serve(
        &self,
        items: Arc<[B::Item]>,
        wait: LockWait,
    ) -> Result<Vec<CreateOutcome>, StoreError> {
        let answers = self.create.serve(items, wait).await?;
        let mut any = false;
        for placed in &answers {
            match placed {
                CreateOutcome::New(_) => {
                    self.metrics.orders_created.inc();
                    any = true;
                }
                CreateOutcome::Replay(_) => self.metrics.orders_replayed.inc(),
                CreateOutcome::KeyReused => {}
            }
        }
        if any {
            self.wake.ring();
        }
        Ok(answers)
    }
}

/// A coalescer of one kind of work, whichever database serves it.
enum Queue<P: Batch, S: Batch> {
    Postgres(Coalescer<P>),
    Sqlite(Coalescer<S>),
}

impl<P: Batch, S: Batch<Item = P::Item, Answer = P::Answer>> Queue<P, S> {
    async fn ask(
        &self,
        ticket: Ticket,
        item: P::Item,
        deadline: Instant,
    ) -> Result<P::Answer, StoreError> {
        match self {
            Self::Postgres(queue) => queue.ask(ticket, item, deadline).await,
            Self::Sqlite(queue) => queue.ask(ticket, item, deadline).await,
        }
    }
}

/// The queues in front of the database. They share the places of one admission.
pub(super) struct Queues {
    create: (
        Admission,
        Queue<Announced<postgres::Create>, Announced<sqlite::Create>>,
    ),
    get: (Admission, Queue<Get<Postgres>, Get<Sqlite>>),
    first_page: (Admission, Queue<FirstPage<Postgres>, FirstPage<Sqlite>>),
    /// The door for everything that is not coalesced.
    pub(super) other: Admission,
}

impl Queues {
    pub(super) fn new(
        database: &Database,
        capacity: usize,
        metrics: &Arc<Metrics>,
        wake: &FeedSignal,
        runtime: &Handle,
    ) -> Self {
        let other = Admission::new(capacity, metrics.queue("other"));
        let door = |name| other.beside(metrics.queue(name));
        let (create, get, first_page) = match database {
            Database::Postgres(database) => {
                let new = || database.first_in_line();
                (
                    Queue::Postgres(Coalescer::new(
                        announced(postgres::Create(new()), metrics, wake),
                        CREATE,
                        runtime,
                    )),
                    Queue::Postgres(Coalescer::new(Get(new()), GET, runtime)),
                    Queue::Postgres(Coalescer::new(FirstPage::new(new()), FIRST_PAGE, runtime)),
                )
            }
            Database::Sqlite(database) => {
                let new = || database.first_in_line();
                (
                    Queue::Sqlite(Coalescer::new(
                        announced(sqlite::Create(new()), metrics, wake),
                        CREATE,
                        runtime,
                    )),
                    Queue::Sqlite(Coalescer::new(Get(new()), GET, runtime)),
                    Queue::Sqlite(Coalescer::new(FirstPage::new(new()), FIRST_PAGE, runtime)),
                )
            }
        };
        Self {
            create: (door("create"), create),
            get: (door("get"), get),
            first_page: (door("first_page"), first_page),
            other,
        }
    }

    pub(super) async fn create(&self, command: CreateOrder) -> Result<CreateOutcome, StoreError> {
        // Before the row is made: a refusal should cost little.
        let ticket = self.create.0.enter(command.bytes())?;
        let deadline = command.deadline;
        let row = NewRow::new(command)?;
        self.create.1.ask(ticket, row, deadline).await
    }

    pub(super) async fn get(&self, id: Uuid) -> Result<Option<Document>, StoreError> {
        let ticket = self.get.0.enter(0)?;
        self.get.1.ask(ticket, id, Instant::now()).await
    }

    pub(super) async fn first_page(&self) -> Result<Held<Page>, StoreError> {
        let ticket = self.first_page.0.enter(0)?;
        self.first_page.1.ask(ticket, (), Instant::now()).await
    }

    /// Waits at most `timeout` until all work is done, then refuses more. False when work was left.
    pub(super) async fn close(&self, timeout: Duration) -> bool {
        self.other.close(timeout).await
    }
}

fn announced<B>(create: B, metrics: &Arc<Metrics>, wake: &FeedSignal) -> Announced<B> {
    Announced {
        create,
        metrics: Arc::clone(metrics),
        wake: wake.clone(),
    }
}
