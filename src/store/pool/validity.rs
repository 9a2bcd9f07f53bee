//! Whether a connection may be used again.
//!
//! deadpool can close idle connections (`retain`), but cannot invalidate those in use, and checks either every
//! connection when it is acquired or none. This type can invalidate all open connections at once, or require a
//! liveness check of them before their next use.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Poolable;
use super::pooled_connection::PooledConnection;
use crate::concurrency::{Mutex, timeout};

/// The time in which a server must respond in a liveness check.
const LIVENESS_TIMEOUT: Duration = Duration::from_millis(500);

/// The conditions under which the connections of one pool may be used again.
#[derive(Default)]
pub(super) struct Validity {
    /// Connections that were opened before this are not used again.
    invalid_before: Mutex<Option<Instant>>,
    /// Connections whose server has not responded since this need a liveness check.
    suspect_since: Mutex<Option<Instant>>,
    moves: watch::Sender<LastMove>,
}

/// The last time that the database moved.
#[derive(Default)]
pub(super) struct LastMove {
    /// `None` if it never did.
    pub(super) at: Option<Instant>,
    /// How often it moved until then.
    generation: u64,
}

impl Validity {
    /// Prevents reuse of all connections that are open now.
    pub(super) fn invalidate(&self) {
        *self.invalid_before.lock() = Some(Instant::now());
    }

    /// Requires a liveness check of each connection that is open now before its reuse.
    pub(super) fn require_liveness_check(&self) {
        *self.suspect_since.lock() = Some(Instant::now());
    }

    /// Invalidates all connections if a new one has a later generation than they have, which means that it is the
    /// first connection to a database that has moved.
    pub(super) fn observe_generation(&self, generation: u64) {
        let moved = self.moves.send_if_modified(|last| {
            let moved = generation > last.generation;
            if moved {
                *last = LastMove {
                    at: Some(Instant::now()),
                    generation,
                };
            }
            moved
        });
        if moved {
            log::info!("the database has moved");
            self.invalidate();
        }
    }

    pub(super) fn subscribe_to_moves(&self) -> watch::Receiver<LastMove> {
        self.moves.subscribe()
    }

    /// Whether a request may use the connection.
    ///
    /// There is no `SELECT 1`: it would halve the throughput. If the connection broke since its last use,
    /// the first statement fails, and the caller retries on another connection.
    pub(super) async fn is_usable<T: Poolable>(&self, pooled: &mut PooledConnection<T>) -> bool {
        let invalid_before = *self.invalid_before.lock();
        !pooled.inner.is_broken()
            && invalid_before.is_none_or(|limit| pooled.opened >= limit)
            && Instant::now() < pooled.expires
            && self.is_alive(pooled).await
    }

    /// Checks that the server responds, if that is required.
    async fn is_alive<T: Poolable>(&self, pooled: &mut PooledConnection<T>) -> bool {
        let suspect_since = *self.suspect_since.lock();
        if suspect_since.is_none_or(|since| pooled.last_response > since) {
            return true;
        }
        if let Ok(responds) = timeout(LIVENESS_TIMEOUT, pooled.inner.responds()).await {
            pooled.last_response = Instant::now();
            responds
        } else {
            // The second connection without a response: the server, or the network path to it, is gone.
            self.invalidate();
            false
        }
    }
}
