//! How many connections of this process there may be on one server.
//!
//! A slot belongs to a connection until the server has closed it, which may be long after this side
//! has given it up. So the server never sees more connections than there are slots, whatever becomes
//! of them here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// The file of a Unix socket.
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

/// What a connection is for. Each purpose has slots of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Requests: `POOL_MAX_SIZE` slots.
    Pool,
    /// The readiness check: one slot.
    Probe,
    /// Notifications of events: one slot.
    Listener,
    /// Migrations: one slot.
    Migration,
    /// Requests to cancel a statement: one slot. A server that does not take them is asked once.
    Cancel,
}

/// The slots of all servers.
pub(crate) struct Slots {
    pool_size: usize,
    servers: Mutex<HashMap<(Purpose, Address), Arc<Semaphore>>>,
    /// The server that the pool connected to last.
    current: watch::Sender<Option<Address>>,
}

/// The right to one connection; given back on drop.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// As many slots per server as the pool has connections.
    pub(crate) fn new(pool_size: usize) -> Self {
        Self {
            pool_size: pool_size.min(Semaphore::MAX_PERMITS),
            servers: Mutex::default(),
            current: watch::Sender::new(None),
        }
    }

    /// A slot, as soon as one is free.
    pub(crate) async fn take(&self, purpose: Purpose, address: &Address) -> Option<Slot> {
        let permit = self.of(purpose, address).acquire_owned().await.ok()?;
        Some(Slot { _permit: permit })
    }

    /// A slot, if one is free now.
    pub(crate) fn try_take(&self, purpose: Purpose, address: &Address) -> Option<Slot> {
        let permit = self.of(purpose, address).try_acquire_owned().ok()?;
        Some(Slot { _permit: permit })
    }

    fn of(&self, purpose: Purpose, address: &Address) -> Arc<Semaphore> {
        let mut servers = self.servers.lock();
        let key = (purpose, address.clone());
        if let Some(slots) = servers.get(&key) {
            return Arc::clone(slots);
        }
        // A server without a connection, and without anybody who waits for one, needs no entry.
        servers.retain(|_, slots| Arc::strong_count(slots) > 1);
        let size = match purpose {
            Purpose::Pool => self.pool_size,
            Purpose::Probe | Purpose::Listener | Purpose::Migration | Purpose::Cancel => 1,
        };
        let slots = Arc::new(Semaphore::new(size));
        servers.insert(key, Arc::clone(&slots));
        slots
    }

    /// Notes that the pool has a new connection to this server.
    pub(crate) fn connected_to(&self, address: &Address) {
        self.current.send_if_modified(|current| {
            let moved = current.as_ref() != Some(address);
            if moved {
                *current = Some(address.clone());
            }
            moved
        });
    }

    /// Tells when the pool connects to another server.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Address>> {
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
    async fn each_server_and_each_purpose_has_slots_of_its_own() {
        let slots = Slots::new(2);
        let pool = |port| slots.try_take(Purpose::Pool, &address(port));
        let taken = [pool(1), pool(1)];
        assert!(taken.iter().all(Option::is_some) && pool(1).is_none());
        assert!(pool(2).is_some());
        let probe = slots.try_take(Purpose::Probe, &address(1));
        assert!(probe.is_some());
        assert!(slots.try_take(Purpose::Probe, &address(1)).is_none());
        drop(taken);
        assert!(slots.take(Purpose::Pool, &address(1)).await.is_some());
    }

    #[tokio::test]
    async fn servers_without_connections_are_forgotten() {
        let slots = Slots::new(1);
        let held = slots.try_take(Purpose::Pool, &address(1));
        for port in 2..100 {
            assert!(slots.try_take(Purpose::Pool, &address(port)).is_some());
        }
        assert_eq!(slots.servers.lock().len(), 2);
        assert!(slots.try_take(Purpose::Pool, &address(1)).is_none());
        drop(held);
    }
}
