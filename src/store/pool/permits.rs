//! Separate limits for reads and writes, and a priority.
//!
//! deadpool has one semaphore, and its callers wait for it first come, first served. With that alone,
//! reads whose statements hang take all connections, and writes wait for them. A class of statements
//! therefore has its own limit, below that of the pool.
//!
//! deadpool also releases its permit as soon as a connection is dropped here. The permits in this file stay with
//! the connection until the server has closed it, so that the server never has more connections than the pool
//! allows.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The kind of statement that a connection is acquired for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Class {
    /// Changes nothing.
    Read,
    /// Changes something, and waits for locks and for the disk.
    Write,
}

/// The semaphores of one pool.
pub(super) struct PoolPermits {
    read: ClassPermits,
    write: ClassPermits,
    /// One permit for each connection that is in use, being opened, or not yet closed by the server.
    /// The holder of a permit finds an idle connection, or may open one.
    pool: Arc<Semaphore>,
}

struct ClassPermits {
    entry: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

/// How many connections of a pool each class may use.
pub(in crate::store) fn connections_of_class(max_size: usize) -> usize {
    let most = max_size.saturating_sub(1);
    (max_size * 3 / 4).min(most).max(1)
}

impl PoolPermits {
    /// Permits for a pool of `max_size` connections. Each class has three quarters of them, so that a
    /// quarter, and at least one, remains for the other. In a pool of one connection, both classes
    /// share it.
    pub(super) fn new(max_size: usize) -> Self {
        let size = connections_of_class(max_size);
        let class = || ClassPermits {
            entry: Arc::new(Semaphore::new(size)),
            connections: Arc::new(Semaphore::new(size)),
        };
        Self {
            read: class(),
            write: class(),
            pool: Arc::new(Semaphore::new(max_size)),
        }
    }

    fn of(&self, class: Class) -> &ClassPermits {
        match class {
            Class::Read => &self.read,
            Class::Write => &self.write,
        }
    }

    /// Waits for the permit to wait for [`Self::class`]. Callers with priority do not need it. There are as many
    /// entry permits as class permits. So a caller with priority waits for at most that number of other callers,
    /// and thus for one statement, however many callers there are.
    pub(super) async fn waiting_permit(&self, class: Class) -> Option<OwnedSemaphorePermit> {
        let entry = Arc::clone(&self.of(class).entry);
        entry.acquire_owned().await.ok()
    }

    /// Waits for the permit for one connection of the class.
    pub(super) async fn class(&self, class: Class) -> Option<OwnedSemaphorePermit> {
        let connections = Arc::clone(&self.of(class).connections);
        connections.acquire_owned().await.ok()
    }

    /// Waits for the permit for one connection of the pool.
    pub(super) async fn pool(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.pool).acquire_owned().await.ok()
    }

    /// Returns the permit for one connection of the pool, if one is available now.
    pub(super) fn try_pool(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.pool).try_acquire_owned().ok()
    }
}

/// The permits of one connection. They are released when the server has closed it.
#[derive(Default)]
pub(in crate::store) struct ConnectionPermits {
    _class: Option<OwnedSemaphorePermit>,
    _pool: Option<OwnedSemaphorePermit>,
}

impl ConnectionPermits {
    pub(super) fn new(
        class: Option<OwnedSemaphorePermit>,
        pool: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            _class: class,
            _pool: pool,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_leaves_connections_to_the_other() {
        for (size, expected) in [(1, 1), (2, 1), (3, 2), (4, 3), (6, 4), (8, 6), (20, 15)] {
            let permits = PoolPermits::new(size);
            for class in [Class::Read, Class::Write] {
                let available = permits.of(class).connections.available_permits();
                assert_eq!(available, expected, "{size}");
            }
        }
    }
}
