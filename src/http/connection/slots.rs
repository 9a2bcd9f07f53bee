//! How many clients may be connected.
//!
//! Up to `MAX_CONNECTIONS` everybody is served. Then an idle connection is closed for each new one;
//! if none is idle, a few more get one request each and little time, so that a probe gets through
//! and everybody else hears why they do not.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::telemetry::Metrics;

/// Connections beyond the limit that get one request each, unless there are too few descriptors.
pub(crate) const OVERFLOW: usize = 64;
/// A connection that was asked something so lately is likely to be asked again.
const FRESH: Duration = Duration::from_millis(100);
/// A connection beyond the limit that has sent nothing for so long closes for another one. A probe sends
/// its request as soon as it is connected.
const SILENT: Duration = Duration::from_millis(50);
/// How long it is remembered that no connection was idle; looking for one takes time.
const REMEMBERED: Duration = Duration::from_millis(10);
/// What `idle_since` says while a request is being answered.
const BUSY: u64 = u64::MAX;

/// The connections of one server.
#[derive(Clone)]
pub(crate) struct Slots(Arc<Shared>);

struct Shared {
    max: usize,
    /// Connections beyond `max` that get one request each. As many again may be open for a moment while
    /// those that were told to close still do.
    overflow: usize,
    began: Instant,
    /// Taken when a connection begins or ends, never for a request.
    table: Mutex<Table>,
    /// None for a server whose connections are in no metric.
    metrics: Option<Arc<Metrics>>,
}

struct Table {
    /// Connections that are served.
    open: usize,
    /// Connections beyond the limit.
    overflow: usize,
    peers: Vec<Arc<Peer>>,
    /// Where to go on looking for an idle one, so that everybody's turn comes.
    hand: usize,
    /// Until when there is no idle one, within the limit and beyond it.
    barren_until: [Instant; 2],
}

/// What others may know of a connection.
struct Peer {
    /// It is beyond the limit.
    overflow: bool,
    /// Its place in the table.
    place: AtomicUsize,
    /// Milliseconds from the beginning of the server, or [`BUSY`].
    idle_since: AtomicU64,
    evicted: AtomicBool,
    waker: AtomicWaker,
}

impl Slots {
    /// Slots for `max` connections, and `overflow` beyond them.
    pub(crate) fn new(max: usize, overflow: usize, metrics: Option<Arc<Metrics>>) -> Self {
        let began = Instant::now();
        Self(Arc::new(Shared {
            max,
            overflow,
            began,
            table: Mutex::new(Table {
                open: 0,
                overflow: 0,
                peers: Vec::new(),
                hand: 0,
                barren_until: [began; 2],
            }),
            metrics,
        }))
    }

    /// A slot for a connection that has just been accepted; `None` when it must be closed.
    pub(crate) fn take(&self) -> Option<Slot> {
        let shared = &self.0;
        let mut table = shared.table.lock();
        let (began, now) = (shared.began, Instant::now());
        // Those that are told to close need their descriptors for a moment more.
        let within = shared.max.saturating_add(shared.overflow);
        let beyond = shared.overflow.saturating_mul(2);
        let overflow =
            if table.open < shared.max || table.open < within && table.evict(false, began, now) {
                table.open += 1;
                false
            } else if table.overflow < shared.overflow
                || table.overflow < beyond && table.evict(true, began, now)
            {
                table.overflow += 1;
                true
            } else {
                return None;
            };
        let peer = Arc::new(Peer {
            overflow,
            place: AtomicUsize::new(table.peers.len()),
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

impl Table {
    /// Tells the next idle connection, within the limit or beyond it, to close. False when there is none.
    fn evict(&mut self, overflow: bool, began: Instant, now: Instant) -> bool {
        let [within, beyond] = &mut self.barren_until;
        let (barren_until, fresh) = if overflow {
            (beyond, SILENT)
        } else {
            (within, FRESH)
        };
        if now < *barren_until {
            return false;
        }
        let now_millis = millis(began, now);
        let fresh = u64::try_from(fresh.as_millis()).unwrap_or(0);
        let (before, behind) = self.peers.split_at(self.hand.min(self.peers.len()));
        let from_hand = behind.iter().chain(before);
        let found = from_hand.enumerate().find(|(_, peer)| {
            let idle_since = peer.idle_since.load(Relaxed);
            peer.overflow == overflow
                && idle_since.saturating_add(fresh) <= now_millis
                && !peer.evicted.swap(true, Release)
        });
        let Some((steps, peer)) = found else {
            *barren_until = now + REMEMBERED;
            return false;
        };
        peer.waker.wake();
        self.hand = (self.hand + steps + 1) % self.peers.len().max(1);
        true
    }
}

/// One open connection.
pub(crate) struct Slot {
    slots: Slots,
    peer: Arc<Peer>,
    overflow: bool,
}

impl Slot {
    /// Whether the connection is beyond the limit.
    pub(crate) fn is_overflow(&self) -> bool {
        self.overflow
    }

    /// A client has sent something.
    pub(crate) fn busy(&self) {
        self.peer.idle_since.store(BUSY, Relaxed);
    }

    /// Nothing has been asked since then. The waker is woken when the connection has to close.
    pub(crate) fn idle(&self, since: Instant, waker: &Waker) {
        self.peer.waker.register(waker);
        let since = millis(self.slots.0.began, since);
        self.peer.idle_since.store(since, Relaxed);
    }

    /// Whether the connection has to close for another one.
    pub(crate) fn is_evicted(&self) -> bool {
        self.peer.evicted.load(Acquire)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let shared = &self.slots.0;
        let mut table = shared.table.lock();
        let place = self.peer.place.load(Relaxed);
        table.peers.swap_remove(place);
        if let Some(moved) = table.peers.get(place) {
            moved.place.store(place, Relaxed);
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

fn millis(began: Instant, then: Instant) -> u64 {
    u64::try_from(then.duration_since(began).as_millis()).unwrap_or(BUSY - 1)
}

#[cfg(test)]
mod tests;
