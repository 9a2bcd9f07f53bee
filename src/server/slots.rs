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

/// Connections beyond the limit that get one request each. As many again may be open for a moment
/// while idle ones close for them.
pub(super) const OVERFLOW: usize = 64;
/// A connection that was asked something so lately is likely to be asked again.
const FRESH: Duration = Duration::from_millis(100);
/// How long it is remembered that no connection was idle; looking for one takes time.
const REMEMBERED: Duration = Duration::from_millis(10);
/// What `idle_since` says while a request is being answered.
const BUSY: u64 = u64::MAX;

/// The connections of one server.
#[derive(Clone)]
pub(super) struct Slots(Arc<Shared>);

struct Shared {
    max: usize,
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
    /// Until when there is no idle one.
    barren_until: Instant,
}

/// What others may know of a connection.
struct Peer {
    /// Its place in the table.
    place: AtomicUsize,
    /// Milliseconds from the beginning of the server, or [`BUSY`].
    idle_since: AtomicU64,
    evicted: AtomicBool,
    waker: AtomicWaker,
}

impl Slots {
    /// Slots for `max` connections.
    pub(super) fn new(max: usize, metrics: Option<Arc<Metrics>>) -> Self {
        let began = Instant::now();
        Self(Arc::new(Shared {
            max,
            began,
            table: Mutex::new(Table {
                open: 0,
                overflow: 0,
                peers: Vec::new(),
                hand: 0,
                barren_until: began,
            }),
            metrics,
        }))
    }

    /// A slot for a connection that has just been accepted; `None` when it must be closed.
    pub(super) fn take(&self) -> Option<Slot> {
        let shared = &self.0;
        let mut table = shared.table.lock();
        let free = table.open < shared.max;
        let most = shared.max.saturating_add(OVERFLOW);
        let overflow = if free || table.open < most && table.evict(shared.began, Instant::now()) {
            table.open += 1;
            false
        } else if table.overflow < OVERFLOW {
            table.overflow += 1;
            true
        } else {
            return None;
        };
        let peer = Arc::new(Peer {
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
    /// Tells the next idle connection to close. False when there is none.
    fn evict(&mut self, began: Instant, now: Instant) -> bool {
        if now < self.barren_until {
            return false;
        }
        let now_millis = millis(began, now);
        let fresh = u64::try_from(FRESH.as_millis()).unwrap_or(0);
        let (before, behind) = self.peers.split_at(self.hand.min(self.peers.len()));
        let from_hand = behind.iter().chain(before);
        let found = from_hand.enumerate().find(|(_, peer)| {
            let idle_since = peer.idle_since.load(Relaxed);
            idle_since.saturating_add(fresh) <= now_millis && !peer.evicted.swap(true, Release)
        });
        let Some((steps, peer)) = found else {
            self.barren_until = now + REMEMBERED;
            return false;
        };
        peer.waker.wake();
        self.hand = (self.hand + steps + 1) % self.peers.len().max(1);
        true
    }
}

/// One open connection.
pub(super) struct Slot {
    slots: Slots,
    peer: Arc<Peer>,
    overflow: bool,
}

impl Slot {
    /// Whether the connection is beyond the limit.
    pub(super) fn is_overflow(&self) -> bool {
        self.overflow
    }

    /// A client has sent something.
    pub(super) fn busy(&self) {
        self.peer.idle_since.store(BUSY, Relaxed);
    }

    /// Nothing has been asked since then. The waker is woken when the connection has to close, which
    /// only those within the limit may have to: the others end soon anyway.
    pub(super) fn idle(&self, since: Instant, waker: &Waker) {
        if self.overflow {
            return;
        }
        self.peer.waker.register(waker);
        let since = millis(self.slots.0.began, since);
        self.peer.idle_since.store(since, Relaxed);
    }

    /// Whether the connection has to close for another one.
    pub(super) fn is_evicted(&self) -> bool {
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
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_closes_for_a_new_one_and_beyond_that_a_few_get_in() {
        let slots = Slots::new(2, None);
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let (first, second) = (slots.take().unwrap(), slots.take().unwrap());
        first.idle(Instant::now(), &waker);
        // It is too fresh, so the third is beyond the limit.
        let third = slots.take().unwrap();
        assert!(third.is_overflow() && !first.is_evicted());
        tokio::time::advance(Duration::from_secs(1)).await;
        let fourth = slots.take().unwrap();
        assert!(!fourth.is_overflow() && first.is_evicted() && !second.is_evicted());
        assert_eq!(woken.0.load(Relaxed), 1);
        drop(first);
        let more: Vec<_> = std::iter::from_fn(|| slots.take()).take(1_000).collect();
        assert_eq!(more.len(), OVERFLOW - 1);
        assert!(more.iter().all(Slot::is_overflow));
        drop((more, third));
        assert!(slots.take().unwrap().is_overflow(), "two are served");
        drop(fourth);
        assert!(!slots.take().unwrap().is_overflow());
    }
}
