//! How a connection is opened, checked, lent and given back.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics as ObjectMetrics, Object, RecycleResult};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};

use super::{Connect, Held, Session};
use crate::store::StoreError;

/// How long a connection may take to show that its server still answers.
const PROOF_TIMEOUT: Duration = Duration::from_millis(500);

/// What is at work when the database moves may take this long to end.
const LEFT_TIMEOUT: Duration = Duration::from_secs(1);

/// What deadpool asks to open and to check connections.
pub(super) struct Keeper<C: Connect> {
    connector: Arc<C>,
    max_lifetime: Duration,
    /// Connections opened before this are not used again.
    outdated_before: parking_lot::Mutex<Option<Instant>>,
    /// Connections whose server has said nothing since this must show that it answers.
    suspected_since: parking_lot::Mutex<Option<Instant>>,
    /// When the database was moved, and how often.
    moved: watch::Sender<(Option<Instant>, u64)>,
    /// Opened already, to be taken before a new one is opened.
    pub(super) spare: parking_lot::Mutex<Vec<Kept<C::Connection>>>,
}

impl<C: Connect> Keeper<C> {
    pub(super) fn new(connector: Arc<C>, max_lifetime: Duration) -> Self {
        Self {
            connector,
            max_lifetime,
            outdated_before: parking_lot::Mutex::default(),
            suspected_since: parking_lot::Mutex::default(),
            moved: watch::Sender::default(),
            spare: parking_lot::Mutex::default(),
        }
    }

    /// Lets no connection that is open now be used again.
    pub(super) fn outdate(&self) {
        *self.outdated_before.lock() = Some(Instant::now());
    }

    /// Makes each connection that is open now show that its server answers, before it is used again.
    pub(super) fn suspect(&self) {
        *self.suspected_since.lock() = Some(Instant::now());
    }

    pub(super) async fn open(&self) -> Result<Kept<C::Connection>, StoreError> {
        self.connector
            .connect()
            .await
            .map(|connection| self.keep(connection))
    }

    /// None when the server has as many connections as it may have.
    pub(super) async fn open_if_room(&self) -> Result<Option<Kept<C::Connection>>, StoreError> {
        let opened = self.connector.connect_if_room().await?;
        Ok(opened.map(|connection| self.keep(connection)))
    }

    pub(super) fn has_moved(&self) -> bool {
        self.connector.has_moved()
    }

    /// A connection for the pool. If it is the first to another place, those of before are left.
    pub(super) fn keep(&self, connection: C::Connection) -> Kept<C::Connection> {
        let generation = connection.generation();
        let moved = self.moved.send_if_modified(|(at, last)| {
            let moved = generation > *last;
            if moved {
                (*at, *last) = (Some(Instant::now()), generation);
            }
            moved
        });
        if moved {
            log::info!("the database has moved");
            self.outdate();
        }
        let opened = Instant::now();
        Kept {
            connection,
            opened,
            proven: opened,
            expires: opened + jittered(self.max_lifetime),
        }
    }

    /// Whether a request may have the connection.
    ///
    /// No `SELECT 1`: it would halve the throughput. A connection that broke since is found by its
    /// first statement.
    pub(super) async fn is_usable(&self, kept: &mut Kept<C::Connection>) -> bool {
        let outdated_before = *self.outdated_before.lock();
        !kept.connection.is_broken()
            && outdated_before.is_none_or(|limit| kept.opened >= limit)
            && Instant::now() < kept.expires
            && self.is_alive(kept).await
    }

    /// Whether the connection's server answers, if there is a doubt.
    async fn is_alive(&self, kept: &mut Kept<C::Connection>) -> bool {
        let suspected_since = *self.suspected_since.lock();
        if suspected_since.is_none_or(|since| kept.proven > since) {
            return true;
        }
        match timeout(PROOF_TIMEOUT, kept.connection.answers()).await {
            Ok(answers) => {
                kept.proven = Instant::now();
                answers
            }
            // The second that says nothing: the server, or the way to it, is gone.
            Err(_) => {
                self.outdate();
                false
            }
        }
    }
}

/// A pooled connection and the time at which it is too old.
pub(super) struct Kept<T> {
    connection: T,
    opened: Instant,
    /// When its server answered for certain.
    proven: Instant,
    pub(super) expires: Instant,
}

impl<T: Session> Kept<T> {
    pub(super) fn close(self, held: Held) {
        self.connection.close(Some(held));
    }
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

    /// Looked at by [`Keeper::is_usable`] instead: what is not usable is closed with care.
    async fn recycle(&self, _: &mut Self::Type, _: &ObjectMetrics) -> RecycleResult<StoreError> {
        Ok(())
    }
}

/// Up to a tenth less than `lifetime`, so that connections opened together do not close together.
fn jittered(lifetime: Duration) -> Duration {
    lifetime - jitter(lifetime / 10)
}

/// A random part of `most`, so that what began together does not go on together.
pub(in crate::store) fn jitter(most: Duration) -> Duration {
    let (random, _) = uuid::Uuid::new_v4().as_u64_pair();
    let hundredths = u32::try_from(random % 100).unwrap_or_default();
    most * hundredths / 100
}

/// What a lease holds beside its connection.
pub(super) struct Permits {
    /// A turn among those who are not first in line.
    pub(super) _turn: Option<OwnedSemaphorePermit>,
    /// A part of the share of its class.
    pub(super) share: Option<OwnedSemaphorePermit>,
    /// A part of the whole pool.
    pub(super) place: Option<OwnedSemaphorePermit>,
}

/// Takes a connection out of the pool and closes it.
pub(super) fn close<C: Connect>(object: Object<Keeper<C>>, held: Held) {
    Object::take(object).close(held);
}

/// A connection on loan. Given back on drop; one that is broken, at work or inside a transaction is
/// closed instead, so that it holds no lock and nobody meets it again.
pub(in crate::store) struct Lease<C: Connect> {
    object: Option<Object<Keeper<C>>>,
    /// Given back after the connection.
    permits: Permits,
}

impl<C: Connect> Lease<C> {
    pub(super) fn new(object: Object<Keeper<C>>, permits: Permits) -> Self {
        Self {
            object: Some(object),
            permits,
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

    /// Waits until the connection's place has been left for another, and for as long as a healthy
    /// server takes to end what it is at.
    pub(in crate::store) fn left(&self) -> impl Future<Output = ()> + Send + use<C> {
        let opened = self.opened();
        let moved = self
            .object
            .as_ref()
            .and_then(Object::pool)
            .map(|pool| pool.manager().moved.subscribe());
        async move {
            if let Some(mut moved) = moved
                && (moved.wait_for(|(at, _)| at.is_some_and(|at| at > opened)))
                    .await
                    .is_ok()
            {
                sleep(LEFT_TIMEOUT).await;
            } else {
                std::future::pending().await
            }
        }
    }

    /// Closes the connection instead of giving it back. Its part of the share and of the pool stays
    /// taken until the server has closed it as well: so long it may be at work.
    pub(in crate::store) fn discard(mut self) {
        self.close();
    }

    fn close(&mut self) {
        if let Some(object) = self.object.take() {
            let Permits { share, place, .. } = &mut self.permits;
            close(object, Held::new(share.take(), place.take()));
        }
    }
}

impl<C: Connect> Drop for Lease<C> {
    fn drop(&mut self) {
        let broken = |object: &mut Object<Keeper<C>>| {
            std::thread::panicking() || object.connection.is_broken()
        };
        if self.object.as_mut().is_some_and(broken) {
            self.close();
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
