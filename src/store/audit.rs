//! Reads everything that is stored, for [`crate::audit`].
//!
//! One task reads ranges of rows, and a thread checks them. So the database prepares the next rows meanwhile, and the
//! memory that both need is that of a few ranges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::error::StoreFault;
use super::{Connector, StoreError};
use crate::audit::{
    BadColumn, Checker, DatabaseKeys, EventRow, Gauge, Key, Limits, Range, Report, Scope, Stored,
    Table,
};
use crate::domain::Tenant;

/// The number of events that are sent to the checker at once.
const CHUNK_EVENTS: usize = 256;
/// The bytes of events after which fewer are sent at once.
const CHUNK_BYTES: usize = 256 << 10;
/// Messages that may wait for the checker.
const MAX_WAITING: usize = 16;

/// How far an audit is. It is read while the audit runs.
#[derive(Debug, Default)]
pub(crate) struct AuditProgress {
    /// The number of orders that the scope had at the beginning; 0 while it is not known.
    expected: AtomicU64,
    orders: AtomicU64,
    events: AtomicU64,
}

impl AuditProgress {
    /// About how many orders there are; 0 if that is not known.
    pub(crate) fn expected_orders(&self) -> u64 {
        self.expected.load(Ordering::Relaxed)
    }

    /// The number of orders that were checked.
    pub(crate) fn orders(&self) -> u64 {
        self.orders.load(Ordering::Relaxed)
    }

    /// The number of events that were checked.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

/// What is read next.
pub(super) enum Message {
    Keys(DatabaseKeys),
    FeedIsNotCurrent,
    /// A row whose key cannot be read.
    BadKey(&'static str, BadColumn),
    Begin(Box<Range>),
    Events(Vec<Stored<EventRow>>),
    End(Key),
    /// The range could not be read to its end, and will be read again.
    Abandon,
}

/// Receives what a backend reads.
pub(super) struct AuditSink {
    sender: Sender<Message>,
    progress: Arc<AuditProgress>,
    pub(super) scope: Scope,
    pub(super) tenant: Option<Tenant>,
}

impl AuditSink {
    /// Sends a message, when the checker has space for it.
    pub(super) async fn send(&self, message: Message) -> Result<(), StoreError> {
        let sent = self.sender.send(message).await;
        sent.map_err(|_| StoreFault::WorkerEnded.into())
    }

    /// Sends a message from a thread that may block.
    pub(super) fn send_blocking(&self, message: Message) -> Result<(), StoreError> {
        let sent = self.sender.blocking_send(message);
        sent.map_err(|_| StoreFault::WorkerEnded.into())
    }

    /// Sets about how many orders there are.
    pub(super) fn expect_orders(&self, expected: u64) {
        self.progress.expected.store(expected, Ordering::Relaxed);
    }
}

/// The events of a range that are not sent yet.
pub(super) struct EventChunk {
    gauge: Gauge,
    events: Vec<Stored<EventRow>>,
    bytes: usize,
}

impl EventChunk {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            gauge: Gauge::new(limits.events, limits.event_bytes),
            events: Vec::with_capacity(CHUNK_EVENTS),
            bytes: 0,
        }
    }

    /// Adds an event. Returns the events to send if there are enough. Breaks if the event is not in the range.
    pub(super) fn add(
        &mut self,
        event: Stored<EventRow>,
        through: &mut Key,
    ) -> std::ops::ControlFlow<(), Option<Message>> {
        self.gauge.admit(&event, through)?;
        self.bytes += event.bytes();
        self.events.push(event);
        let full = self.events.len() >= CHUNK_EVENTS || self.bytes >= CHUNK_BYTES;
        std::ops::ControlFlow::Continue(full.then(|| self.take()))
    }

    /// The events that are not sent yet.
    pub(super) fn take(&mut self) -> Message {
        self.bytes = 0;
        let next = Vec::with_capacity(CHUNK_EVENTS);
        Message::Events(std::mem::replace(&mut self.events, next))
    }
}

/// SQL for the number of unfinished erasures that a row of the worklist belongs to.
const UNFINISHED_ERASURES: &str =
    "(SELECT count(*) FROM erasures WHERE erasures.tenant = erasure_orders.tenant
        AND erasures.id = erasure_orders.erasure_id AND erasures.finished_at IS NULL)";

/// SQL for the columns of a table. Each column is written by `column`.
pub(super) fn select_list<T: Table>(column: impl Fn(&'static str, bool) -> String) -> String {
    let columns = T::COLUMNS.iter();
    let columns = columns.map(|each| match each.name {
        "unfinished_erasures" => UNFINISHED_ERASURES.to_owned(),
        name => column(name, each.is_integer),
    });
    columns.collect::<Vec<_>>().join(", ")
}

impl Connector {
    /// Checks all data of a tenant, or of all tenants. `progress` is updated meanwhile.
    ///
    /// # Errors
    /// When the data cannot be read. Data that is wrong is no error.
    pub(crate) async fn audit(
        &self,
        tenant: Option<Tenant>,
        progress: &Arc<AuditProgress>,
    ) -> Result<Report, StoreError> {
        let (sender, receiver) = channel(MAX_WAITING);
        let checking = tokio::task::spawn_blocking({
            let progress = Arc::clone(progress);
            move || check(receiver, &progress)
        });
        let sink = AuditSink {
            sender,
            progress: Arc::clone(progress),
            scope: Scope::new(tenant.as_ref()),
            tenant,
        };
        // The sink is dropped at the end, with which the checker ends.
        let read = self.driver().audit(sink).await;
        let report = checking.await.map_err(super::panicked)?;
        read.map(|()| report)
    }
}

fn check(mut receiver: Receiver<Message>, progress: &AuditProgress) -> Report {
    let mut checker = Checker::default();
    while let Some(message) = receiver.blocking_recv() {
        match message {
            Message::Keys(keys) => checker.keys(&keys),
            Message::FeedIsNotCurrent => checker.feed_is_not_current(),
            Message::BadKey(table, bad) => checker.bad_key(table, bad),
            Message::Begin(range) => checker.begin(*range),
            Message::Events(events) => events.into_iter().for_each(|event| checker.event(event)),
            Message::End(through) => {
                checker.end(&through);
                let checked = checker.checked();
                progress.orders.store(checked.orders, Ordering::Relaxed);
                progress.events.store(checked.events, Ordering::Relaxed);
            }
            Message::Abandon => checker.abandon(),
        }
    }
    checker.finish()
}
