//! The limit of client connections.
//!
//! Up to `MAX_CONNECTIONS`, each connection is served. Above that, an idle connection is closed for each new one.
//! If none is idle, a few overflow connections get one request each and a short timeout, so that a probe is served
//! and other clients get a response with the reason.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;

use crate::concurrency::{AtomicBool, AtomicU64, AtomicUsize, Instant, Mutex, sleep};
use crate::telemetry::Metrics;

/// The number of overflow connections, unless there are too few file descriptors.
pub(crate) const OVERFLOW: usize = 64;
/// A connection that has been idle for less than this is likely to get another request.
const MIN_IDLE: Duration = Duration::from_millis(100);
/// An overflow connection that has been idle for this long is closed for a new one. A probe sends its request as
/// soon as it is connected.
const MIN_OVERFLOW_IDLE: Duration = Duration::from_millis(50);
/// How long to wait before searching again after a search found no idle connection, because a search takes time.
const SEARCH_PAUSE: Duration = Duration::from_millis(10);
/// How long a new connection waits for a slot. When many clients connect again and again, slots become free all the
/// time, and a probe must not be among the connections that are closed without a response. A waiting connection has
/// one of the descriptors that are reserved for connections that close, and its worker counts it. A worker at its
/// limit accepts no more, so only as many wait as get a slot soon ([`Slots::acquire_soon`]).
const MAX_WAIT: Duration = Duration::from_millis(200);
/// The time over which acquired slots are counted.
const TURNOVER_PERIOD: Duration = Duration::from_millis(100);
/// This part of the slots that were acquired in a [`TURNOVER_PERIOD`] is expected to be acquired within 20 ms. When many
/// clients connect at once, no slot has become free yet, so slots that become free are not counted.
const TURNOVER_PART: usize = 5;
/// The value of `idle_since` while a request is in progress.
const BUSY: u64 = u64::MAX;

/// The slots of one server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Shared>);

struct Shared {
    max: usize,
    /// The number of overflow connections. Twice as many may be open for a moment while evicted ones close.
    overflow: usize,
    started: Instant,
    /// Locked when a connection is opened or closed, never for a request.
    table: Mutex<Table>,
    /// Connections that wait for a slot.
    waiting: AtomicUsize,
    /// `None` for a server whose connections are not measured.
    metrics: Option<Arc<Metrics>>,
}

struct Table {
    /// Connections within the limit.
    open: usize,
    /// Overflow connections.
    overflow: usize,
    peers: Vec<Arc<Peer>>,
    /// Where the next search for an idle connection starts, so that every connection is considered.
    next_candidate: usize,
    /// When the next search may start, for connections within the limit and for overflow connections.
    next_search: [Instant; 2],
    turnover: Turnover,
}

/// The number of slots that were acquired in the current and in the last [`TURNOVER_PERIOD`].
struct Turnover {
    since: Instant,
    current: usize,
    last: usize,
}

/// The state of a connection that other connections read.
struct Peer {
    overflow: bool,
    /// Its index in the table.
    index: AtomicUsize,
    /// Milliseconds since the start of the server, or [`BUSY`].
    idle_since: AtomicU64,
    evicted: AtomicBool,
    waker: AtomicWaker,
}

impl Slots {
    /// Creates the slots for `max` connections and for `overflow` connections above them.
    pub(crate) fn new(max: usize, overflow: usize, metrics: Option<Arc<Metrics>>) -> Self {
        let started = Instant::now();
        Self(Arc::new(Shared {
            max,
            overflow,
            started,
            table: Mutex::new(Table {
                open: 0,
                overflow: 0,
                peers: Vec::new(),
                next_candidate: 0,
                next_search: [started; 2],
                turnover: Turnover {
                    since: started,
                    current: 0,
                    last: 0,
                },
            }),
            waiting: AtomicUsize::new(0),
            metrics,
        }))
    }

    /// Acquires a slot for a connection that has just been accepted. Returns `None` if it must be closed, because no
    /// slot becomes free within [`MAX_WAIT`], or too many wait already: half as many as the overflow, and those that
    /// get a slot soon at the rate of the last moments.
    pub(crate) async fn acquire_soon(&self) -> Option<Slot> {
        if let Some(slot) = self.acquire() {
            return Some(slot);
        }
        let _waiting = Waiting::start(&self.0)?;
        let deadline = Instant::now() + MAX_WAIT;
        while Instant::now() < deadline {
            sleep(SEARCH_PAUSE).await;
            if let Some(slot) = self.acquire() {
                return Some(slot);
            }
        }
        None
    }

    /// Acquires a slot, or returns `None` if none is free and no connection can be closed for it.
    pub(crate) fn acquire(&self) -> Option<Slot> {
        let shared = &self.0;
        let mut table = shared.table.lock();
        let (started, now) = (shared.started, Instant::now());
        // Evicted connections keep their descriptors for a moment longer.
        let within = shared.max.saturating_add(shared.overflow);
        let beyond = shared.overflow.saturating_mul(2);
        let overflow =
            if table.open < shared.max || table.open < within && table.evict(false, started, now) {
                table.open += 1;
                false
            } else if table.overflow < shared.overflow
                || table.overflow < beyond && table.evict(true, started, now)
            {
                table.overflow += 1;
                true
            } else {
                return None;
            };
        table.turnover.count(now);
        let peer = Arc::new(Peer {
            overflow,
            index: AtomicUsize::new(table.peers.len()),
            idle_since: AtomicU64::new(BUSY),
            evicted: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        table.peers.push(Arc::clone(&peer));
        drop(table);
        if let Some(metrics) = &shared.metrics {
            metrics.http_connections.inc();
        }
        Some(Slot {
            slots: self.clone(),
            peer,
            overflow,
        })
    }
}

/// One of the connections that wait for a slot, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// Returns `None` if too many wait.
    fn start(shared: &'a Shared) -> Option<Self> {
        let soon = shared.table.lock().turnover.soon(Instant::now());
        let max = shared.overflow.div_ceil(2).saturating_add(soon);
        let more = |waiting| (waiting < max).then(|| waiting + 1);
        let started = shared.waiting.fetch_update(Relaxed, Relaxed, more);
        // `then_some` would create and drop a value also if it does not wait, which would decrease the counter.
        started.is_ok().then(|| Self(&shared.waiting))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Turnover {
    fn advance(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.since);
        if elapsed >= TURNOVER_PERIOD {
            let is_last = elapsed < 2 * TURNOVER_PERIOD;
            self.last = if is_last { self.current } else { 0 };
            self.current = 0;
            self.since = now;
        }
    }

    fn count(&mut self, now: Instant) {
        self.advance(now);
        self.current += 1;
    }

    /// The number of slots that connections are expected to acquire soon.
    fn soon(&mut self, now: Instant) -> usize {
        self.advance(now);
        self.last.max(self.current) / TURNOVER_PART
    }
}

impl Table {
    /// Closes the next idle connection, within the limit or above it. Returns false if there is none.
    fn evict(&mut self, overflow: bool, started: Instant, now: Instant) -> bool {
        let [within, beyond] = &mut self.next_search;
        let (next_search, min_idle) = if overflow {
            (beyond, MIN_OVERFLOW_IDLE)
        } else {
            (within, MIN_IDLE)
        };
        if now < *next_search {
            return false;
        }
        let now_millis = millis(started, now);
        let min_idle = u64::try_from(min_idle.as_millis()).unwrap_or(0);
        let (before, after) = self
            .peers
            .split_at(self.next_candidate.min(self.peers.len()));
        let from_hand = after.iter().chain(before);
        let found = from_hand.enumerate().find(|(_, peer)| {
            let idle_since = peer.idle_since.load(Relaxed);
            peer.overflow == overflow
                && idle_since.saturating_add(min_idle) <= now_millis
                && !peer.evicted.swap(true, Release)
        });
        let Some((steps, peer)) = found else {
            *next_search = now + SEARCH_PAUSE;
            return false;
        };
        peer.waker.wake();
        self.next_candidate = (self.next_candidate + steps + 1) % self.peers.len().max(1);
        true
    }
}

/// The slot of one open connection, until it is dropped.
pub(crate) struct Slot {
    slots: Slots,
    peer: Arc<Peer>,
    overflow: bool,
}

impl Slot {
    pub(crate) fn is_overflow(&self) -> bool {
        self.overflow
    }

    /// The metrics of the server. `None` if its connections are not measured.
    pub(crate) fn metrics(&self) -> Option<&Metrics> {
        self.slots.0.metrics.as_deref()
    }

    /// Records that the client has sent data.
    pub(crate) fn mark_busy(&self) {
        self.peer.idle_since.store(BUSY, Relaxed);
    }

    /// Records that no request has been in progress since then. The waker is woken when the connection has to
    /// close.
    pub(crate) fn mark_idle(&self, since: Instant, waker: &Waker) {
        self.peer.waker.register(waker);
        let since = millis(self.slots.0.started, since);
        self.peer.idle_since.store(since, Relaxed);
    }

    /// Whether the connection has to close for a new one.
    pub(crate) fn is_evicted(&self) -> bool {
        self.peer.evicted.load(Acquire)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let shared = &self.slots.0;
        let mut table = shared.table.lock();
        let index = self.peer.index.load(Relaxed);
        table.peers.swap_remove(index);
        if let Some(moved) = table.peers.get(index) {
            moved.index.store(index, Relaxed);
        }
        if self.overflow {
            table.overflow = table.overflow.saturating_sub(1);
        } else {
            table.open = table.open.saturating_sub(1);
        }
        drop(table);
        if let Some(metrics) = &shared.metrics {
            metrics.http_connections.dec();
        }
    }
}

fn millis(started: Instant, then: Instant) -> u64 {
    u64::try_from(then.duration_since(started).as_millis()).unwrap_or(BUSY - 1)
}

#[cfg(test)]
mod tests;
