//! Limits the number of connections that this process has to one server.
//!
//! A connection occupies its slot until the server has closed it, which can be long after this process has
//! given it up. So the server never has more connections than there are slots, whatever fails here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::concurrency::Mutex;

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// The purpose of a connection. Each purpose has its own slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Requests: `POOL_MAX_SIZE` slots.
    Pool,
    /// The readiness check: one slot.
    Probe,
    /// Notifications of events: one slot.
    Listener,
    /// Migrations: one slot.
    Migration,
    /// A command that runs once: one slot.
    Command,
    /// Requests to cancel a statement: one slot, so that there is at most one such connection to a server that
    /// does not accept them.
    Cancel,
}

/// The slots of all servers.
pub(super) struct Slots {
    pool_size: usize,
    servers: Mutex<HashMap<(Purpose, Address), Arc<Semaphore>>>,
    /// The most recent server that the pool connected to.
    current: watch::Sender<Option<Address>>,
}

/// The right to one connection to a server, released on drop.
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// Creates the slots for a pool of `pool_size` connections.
    pub(super) fn new(pool_size: usize) -> Self {
        Self {
            pool_size: pool_size.min(Semaphore::MAX_PERMITS),
            servers: Mutex::default(),
            current: watch::Sender::new(None),
        }
    }

    /// Waits for a slot.
    pub(super) async fn acquire(&self, purpose: Purpose, address: &Address) -> Option<Slot> {
        let permit = self.of(purpose, address).acquire_owned().await.ok()?;
        Some(Slot { _permit: permit })
    }

    /// Returns a slot if one is free now.
    pub(super) fn try_acquire(&self, purpose: Purpose, address: &Address) -> Option<Slot> {
        let permit = self.of(purpose, address).try_acquire_owned().ok()?;
        Some(Slot { _permit: permit })
    }

    fn of(&self, purpose: Purpose, address: &Address) -> Arc<Semaphore> {
        let mut servers = self.servers.lock();
        let key = (purpose, address.clone());
        if let Some(slots) = servers.get(&key) {
            return Arc::clone(slots);
        }
        // A server without connections, and without callers that wait for one, needs no entry.
        servers.retain(|_, slots| Arc::strong_count(slots) > 1);
        let size = match purpose {
            Purpose::Pool => self.pool_size,
            Purpose::Probe
            | Purpose::Listener
            | Purpose::Migration
            | Purpose::Command
            | Purpose::Cancel => 1,
        };
        let slots = Arc::new(Semaphore::new(size));
        servers.insert(key, Arc::clone(&slots));
        slots
    }

    /// Records the server that the pool has connected to.
    pub(super) fn set_current(&self, address: &Address) {
        self.current.send_if_modified(|current| {
            let moved = current.as_ref() != Some(address);
            if moved {
                *current = Some(address.clone());
            }
            moved
        });
    }

    /// Watches the most recent server that the pool connected to.
    pub(super) fn watch_current(&self) -> watch::Receiver<Option<Address>> {
        self.current.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Address {
        Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    #[tokio::test]
    async fn each_server_and_each_purpose_has_its_own_slots() {
        let slots = Slots::new(2);
        let pool = |port| slots.try_acquire(Purpose::Pool, &address(port));
        let taken = [pool(1), pool(1)];
        assert!(taken.iter().all(Option::is_some) && pool(1).is_none());
        assert!(pool(2).is_some());
        let probe = slots.try_acquire(Purpose::Probe, &address(1));
        assert!(probe.is_some());
        assert!(slots.try_acquire(Purpose::Probe, &address(1)).is_none());
        drop(taken);
        assert!(slots.acquire(Purpose::Pool, &address(1)).await.is_some());
    }

    #[tokio::test]
    async fn servers_without_connections_are_removed() {
        let slots = Slots::new(1);
        let held = slots.try_acquire(Purpose::Pool, &address(1));
        for port in 2..100 {
            assert!(slots.try_acquire(Purpose::Pool, &address(port)).is_some());
        }
        assert_eq!(slots.servers.lock().len(), 2);
        assert!(slots.try_acquire(Purpose::Pool, &address(1)).is_none());
        drop(held);
    }
}
