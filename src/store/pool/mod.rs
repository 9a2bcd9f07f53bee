//! The connection pool: deadpool, completed.
//!
//! deadpool has no minimum, no idle limit and no lifetime, and looks at a connection only when it
//! is taken again. Here one upkeep task does the first three, and a [`Lease`] looks at its
//! connection when it is given back.
//!
//! Reads and writes have a share of the connections each, so that one kind goes on when all
//! statements of the other hang.
//!
//! Whoever wants a connection first takes a turn, of which each kind has as many as its share. The few
//! that serve many at once do not ([`Pool::first_in_line`]): however many others wait, they wait for
//! turns, and not before them.

mod keeper;
mod session;
mod shares;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::Runtime;
use deadpool::managed::{PoolError, QueueMode, Timeouts};
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::StoreError;
use crate::telemetry::Metrics;
use keeper::{Keeper, Kept, Permits};
pub(in crate::store) use keeper::{Lease, jitter};
pub(in crate::store) use session::{Held, Session};
pub(in crate::store) use shares::Class;
use shares::Shares;

/// Opens connections to one database.
pub(in crate::store) trait Connect: Send + Sync + 'static {
    /// An open connection.
    type Connection: Session;

    /// Opens one more, as soon as the server may have one more.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, StoreError>> + Send;

    /// Opens one more if the server may have one more now.
    fn connect_if_room(
        &self,
    ) -> impl Future<Output = Result<Option<Self::Connection>, StoreError>> + Send {
        async { self.connect().await.map(Some) }
    }

    /// Whether the settings name another place by now than that of the last connection.
    fn has_moved(&self) -> bool {
        false
    }
}

/// The limits of a pool.
#[derive(Clone, Debug)]
pub(in crate::store) struct Limits {
    pub(in crate::store) max_size: usize,
    pub(in crate::store) min_idle: usize,
    pub(in crate::store) acquire_timeout: Duration,
    pub(in crate::store) idle_timeout: Duration,
    pub(in crate::store) max_lifetime: Duration,
}

/// How many connections a pool holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolStatus {
    /// Open and free.
    pub idle: usize,
    /// Open and at work.
    pub in_use: usize,
    /// The most there may be.
    pub max: usize,
}

pub(in crate::store) struct Pool<C: Connect> {
    inner: deadpool::managed::Pool<Keeper<C>>,
    shares: Arc<Shares>,
    first_in_line: bool,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl<C: Connect> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shares: Arc::clone(&self.shares),
            first_in_line: self.first_in_line,
            limits: self.limits.clone(),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

impl<C: Connect> Pool<C> {
    /// An empty pool; nothing is opened yet.
    pub(in crate::store) fn new(
        connector: Arc<C>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let timeout = Some(limits.acquire_timeout);
        let keeper = Keeper::new(connector, limits.max_lifetime);
        let inner = deadpool::managed::Pool::builder(keeper)
            .max_size(limits.max_size)
            .timeouts(Timeouts {
                wait: timeout,
                create: timeout,
                recycle: timeout,
            })
            // The connection used last is the one whose statements and caches are warm, and the
            // others can grow idle and be closed.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(StoreError::internal)?;
        Ok(Self {
            inner,
            shares: Arc::new(Shares::of(limits.max_size)),
            first_in_line: false,
            limits,
            metrics,
        })
    }

    /// The same pool for few that serve many: they get the next connection that is free.
    pub(in crate::store) fn first_in_line(&self) -> Self {
        Self {
            first_in_line: true,
            ..self.clone()
        }
    }

    /// A connection, after at most the acquire time-out (waiting and opening together).
    pub(in crate::store) async fn get(&self, class: Class) -> Result<Lease<C>, StoreError> {
        let start = Instant::now();
        let getting = async {
            let _turn = match self.first_in_line {
                true => None,
                false => self.shares.turn(class).await,
            };
            let share = self.shares.part(class).await;
            loop {
                let place = self.shares.place().await;
                let mut object = self.inner.get().await?;
                if self.inner.manager().is_usable(&mut object).await {
                    let permits = Permits {
                        _turn,
                        share,
                        place,
                    };
                    return Ok(Lease::new(object, permits));
                }
                keeper::close(object, Held::new(None, place));
            }
        };
        let got = tokio::time::timeout(self.limits.acquire_timeout, getting).await;
        self.metrics
            .pool_acquire
            .observe(start.elapsed().as_secs_f64());
        match got {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(PoolError::Backend(error))) => Err(error),
            Ok(Err(PoolError::Timeout(_))) | Err(_) => Err(StoreError::unavailable(format!(
                "no connection within {:?}",
                self.limits.acquire_timeout
            ))),
            Ok(Err(other)) => Err(StoreError::unavailable(other.to_string())),
        }
    }

    /// Lets no connection that is open now be used again: all of them hold on to something that has
    /// changed in the database.
    pub(in crate::store) fn outdate(&self) {
        self.inner.manager().outdate();
    }

    /// Lets no connection that is open now be used again until its server has shown that it answers:
    /// one has said nothing for too long.
    pub(in crate::store) fn suspect(&self) {
        self.inner.manager().suspect();
    }

    pub(in crate::store) fn status(&self) -> PoolStatus {
        let status = self.inner.status();
        // `size` is read apart from `available`, so it may lag behind for a moment.
        let idle = status.available.min(status.size);
        PoolStatus {
            idle,
            in_use: status.size - idle,
            max: status.max_size,
        }
    }

    /// Closes idle connections now and the others when they come back.
    pub(in crate::store) fn close(&self) {
        self.inner.close();
    }

    /// Keeps the pool within its limits until it is closed. Run by one task.
    pub(in crate::store) async fn upkeep(self) {
        let shortest = self.limits.idle_timeout.min(self.limits.max_lifetime);
        let pause = (shortest / 10).clamp(Duration::from_millis(50), Duration::from_secs(1));
        while !self.inner.is_closed() {
            self.follow().await;
            // None grows too old before the next look, nor while its successor is opened.
            self.look(Instant::now() + 2 * pause).await;
            tokio::time::sleep(pause).await;
        }
    }

    /// Opens a connection to where the settings point by now. If that succeeds, those to another
    /// place are left ([`Keeper::keep`]); if not, they are better than nothing.
    async fn follow(&self) {
        let manager = self.inner.manager();
        if manager.has_moved() {
            let limit = self.limits.acquire_timeout;
            // No place of the pool is asked for: they may all be taken by the old database.
            match tokio::time::timeout(limit, manager.open_if_room()).await {
                Ok(Ok(opened)) => self.take_in(opened.into_iter().collect()),
                Ok(Err(error)) => log::warn!(error:%; "cannot connect to the new database"),
                Err(_) => log::warn!("the new database does not answer"),
            }
        }
    }

    /// Replaces what will be too old by then, closes what is spare, and fills up to the minimum: in this
    /// order, so that the minimum holds meanwhile; or, when the server may have no more connections now,
    /// in the other.
    async fn look(&self, until: Instant) {
        let (opened, room) = self.open_missing(until).await;
        self.retire(until);
        self.take_in(opened);
        if !room {
            let (opened, _) = self.open_missing(until).await;
            self.take_in(opened);
        }
    }

    /// Opens what the minimum lacks when those that are too old by then are closed. They are opened beside the
    /// pool: nothing that requests could use is held while a slow one is being opened. False when the
    /// server had no room for all.
    async fn open_missing(&self, until: Instant) -> (Vec<Kept<C::Connection>>, bool) {
        let mut too_old = 0;
        self.inner.retain(|kept, _| {
            too_old += usize::from(until >= kept.expires);
            true
        });
        let remaining = self.inner.status().size.saturating_sub(too_old);
        let missing = self.limits.min_idle.saturating_sub(remaining);
        let limit = self.limits.acquire_timeout;
        let opening = (0..missing).map(|_| tokio::time::timeout(limit, self.open_in_place()));
        let (mut opened, mut room) = (Vec::new(), true);
        for result in join_all(opening).await {
            match result {
                Ok(Ok(Some(kept))) => opened.push(kept),
                Ok(Ok(None)) => room = false,
                Ok(Err(error)) => log::debug!(error:%; "could not fill the connection pool"),
                Err(_) => log::debug!("could not fill the connection pool in time"),
            }
        }
        (opened, room)
    }

    /// Opens a connection if there is room for it in the pool and on the server.
    async fn open_in_place(&self) -> Result<Option<Kept<C::Connection>>, StoreError> {
        let Some(_place) = self.shares.try_place() else {
            return Ok(None);
        };
        self.inner.manager().open_if_room().await
    }

    /// Closes idle connections that are too old by then, and those idle for too long above the minimum.
    fn retire(&self, until: Instant) {
        let mut spare = self
            .inner
            .status()
            .size
            .saturating_sub(self.limits.min_idle);
        let result = self.inner.retain(|kept, metrics| {
            let too_old = until >= kept.expires;
            let too_idle = spare > 0 && metrics.last_used() >= self.limits.idle_timeout;
            if too_old || too_idle {
                spare = spare.saturating_sub(1);
            }
            !(too_old || too_idle)
        });
        for kept in result.removed {
            kept.close(Held::new(None, self.shares.try_place()));
        }
    }

    /// Puts connections into the pool.
    ///
    /// deadpool takes a connection in only by opening it, and opens one only when none is idle. So:
    /// take all there is without waiting, with those the last, and give all back in the same breath.
    fn take_in(&self, opened: Vec<Kept<C::Connection>>) {
        let manager = self.inner.manager();
        manager.spare.lock().extend(opened);
        let now = Timeouts {
            wait: Some(Duration::ZERO),
            ..self.inner.timeouts()
        };
        let mut taken = Vec::new();
        while !manager.spare.lock().is_empty() {
            match self.inner.timeout_get(&now).now_or_never() {
                Some(Ok(object)) => taken.push(object),
                // The pool is full or all in use: nobody misses a spare one.
                _ => manager.spare.lock().clear(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
