//! How a connection is opened, checked, lent and given back.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics as ObjectMetrics, Object, RecycleError, RecycleResult};
use diesel_async::pooled_connection::PoolableConnection as _;
use tokio::sync::OwnedSemaphorePermit;

use super::Connect;
use crate::store::StoreError;

/// What deadpool asks to open and to check connections.
pub(super) struct Keeper<C: Connect> {
    connector: Arc<C>,
    max_lifetime: Duration,
    /// Connections opened before this are not used again.
    outdated_before: parking_lot::Mutex<Option<Instant>>,
    /// Opened already, to be taken before a new one is opened.
    pub(super) spare: parking_lot::Mutex<Vec<Kept<C::Connection>>>,
}

impl<C: Connect> Keeper<C> {
    pub(super) fn new(connector: Arc<C>, max_lifetime: Duration) -> Self {
        Self {
            connector,
            max_lifetime,
            outdated_before: parking_lot::Mutex::default(),
            spare: parking_lot::Mutex::default(),
        }
    }

    /// Lets no connection that is open now be used again.
    pub(super) fn outdate(&self) {
        *self.outdated_before.lock() = Some(Instant::now());
    }

    pub(super) async fn open(&self) -> Result<Kept<C::Connection>, StoreError> {
        let connection = self.connector.connect().await?;
        let opened = Instant::now();
        Ok(Kept {
            connection,
            opened,
            expires: opened + jittered(self.max_lifetime),
        })
    }
}

/// A pooled connection and the time at which it is too old.
pub(super) struct Kept<T> {
    connection: T,
    opened: Instant,
    pub(super) expires: Instant,
}

impl<C: Connect> Manager for Keeper<C> {
    type Type = Kept<C::Connection>;
    type Error = StoreError;

    async fn create(&self) -> Result<Self::Type, StoreError> {
        // Not in the condition of an `if let`: the lock would be held while a new one is opened.
        let spare = self.spare.lock().pop();
        match spare {
            Some(kept) => Ok(kept),
            None => self.open().await,
        }
    }

    /// No `SELECT 1`: it would halve the throughput. A connection that broke since is found by its
    /// first statement.
    async fn recycle(&self, kept: &mut Self::Type, _: &ObjectMetrics) -> RecycleResult<StoreError> {
        if kept.connection.is_broken() {
            return Err(RecycleError::message("the connection is broken"));
        }
        if self
            .outdated_before
            .lock()
            .is_some_and(|limit| kept.opened < limit)
        {
            return Err(RecycleError::message("the connection is outdated"));
        }
        if Instant::now() >= kept.expires {
            return Err(RecycleError::message("the connection is too old"));
        }
        Ok(())
    }
}

/// Up to a tenth less than `lifetime`, so that connections opened together do not close together.
fn jittered(lifetime: Duration) -> Duration {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    let thousandths = u32::try_from(random % 100).unwrap_or_default();
    lifetime - lifetime * thousandths / 1000
}

/// A connection on loan. Given back on drop; one that is broken or still inside a transaction is
/// closed instead, so that it holds no lock and nobody meets it again.
pub(in crate::store) struct Lease<C: Connect> {
    object: Option<Object<Keeper<C>>>,
    /// Given back after the connection.
    _turn: Option<OwnedSemaphorePermit>,
}

impl<C: Connect> Lease<C> {
    pub(super) fn new(object: Object<Keeper<C>>, turn: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            object: Some(object),
            _turn: turn,
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "only `discard` and `drop` take it, by value"
    )]
    fn kept(&self) -> &Kept<C::Connection> {
        self.object.as_ref().expect("a lease holds a connection")
    }

    /// When the connection was opened.
    pub(in crate::store) fn opened(&self) -> Instant {
        self.kept().opened
    }

    /// Closes the connection instead of giving it back.
    pub(in crate::store) fn discard(mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

impl<C: Connect> Drop for Lease<C> {
    fn drop(&mut self) {
        if let Some(mut object) = self.object.take()
            && (std::thread::panicking() || object.connection.is_broken())
        {
            drop(Object::take(object));
        }
    }
}

impl<C: Connect> Deref for Lease<C> {
    type Target = C::Connection;

    fn deref(&self) -> &C::Connection {
        &self.kept().connection
    }
}

impl<C: Connect> DerefMut for Lease<C> {
    #[expect(
        clippy::expect_used,
        reason = "only `discard` and `drop` take it, by value"
    )]
    fn deref_mut(&mut self) -> &mut C::Connection {
        &mut self
            .object
            .as_mut()
            .expect("a lease holds a connection")
            .connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_off_at_most_a_tenth() {
        let lifetime = Duration::from_secs(1800);
        let seen: std::collections::HashSet<_> = (0..200).map(|_| jittered(lifetime)).collect();
        assert!(seen.len() > 10);
        assert!(
            seen.iter()
                .all(|j| *j <= lifetime && *j >= lifetime * 9 / 10)
        );
    }
}
