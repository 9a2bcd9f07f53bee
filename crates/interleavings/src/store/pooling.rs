//! The pool of connections. deadpool has locks of its own, and each of its operations counts as one step.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Plain, Ordering::Relaxed};
use std::time::{Duration, Instant};

use prometheus::{Histogram, HistogramOpts, IntGauge};
use shuttle::future::{JoinHandle, block_on, yield_now};
use shuttle::rand::{Rng as _, thread_rng};

use super::StoreError;
use super::pool::{
    AcquiredConnection, Class, Connect, ConnectionPermits, Limits, Pool, Poolable,
    connections_of_class,
};
use crate::concurrency::spawn;
use crate::explore;
use crate::telemetry::Metrics;

const MAX_SIZE: usize = 3;

/// A server on which a connection may break at any moment, and which closes connections late.
#[derive(Clone, Default)]
struct Server {
    open: Arc<Plain>,
    /// Whether to check that it never has more connections than the pool may have.
    strict: bool,
}

struct Connection(Server);

impl Connect for Server {
    type Connection = Connection;

    async fn connect(&self) -> Result<Connection, StoreError> {
        yield_now().await;
        let open = self.open.fetch_add(1, Relaxed) + 1;
        let connection = Connection(self.clone());
        assert!(!self.strict || open <= MAX_SIZE, "{open} connections");
        Ok(connection)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl Poolable for Connection {
    fn is_broken(&mut self) -> bool {
        thread_rng().gen_bool(0.2)
    }

    fn close(self, permits: Option<ConnectionPermits>) {
        drop(spawn(async move {
            yield_now().await;
            drop(self);
            drop(permits);
        }));
    }

    async fn responds(&mut self) -> bool {
        yield_now().await;
        true
    }
}

fn pool(server: Server) -> Pool<Server> {
    let limits = Limits {
        max_size: MAX_SIZE,
        min_idle: 1,
        acquire_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(300),
        max_lifetime: Duration::from_secs(1800),
    };
    let metrics = Metrics {
        http_connections: IntGauge::new("a", "a").unwrap(),
        pool_acquire: Histogram::with_opts(HistogramOpts::new("b", "b")).unwrap(),
    };
    Pool::new(Arc::new(server), limits, Arc::new(metrics)).unwrap()
}

/// Starts four reads, two of them with priority, and a write. Each may end at its acquire timeout.
fn start(pool: &Pool<Server>) -> Vec<JoinHandle<()>> {
    let reading = Arc::new(Plain::new(0));
    let tasks = (0..5).map(|number| {
        let pool = if number < 2 {
            pool.with_priority()
        } else {
            pool.clone()
        };
        let reading = Arc::clone(&reading);
        spawn(async move {
            let class = if number == 4 {
                Class::Write
            } else {
                Class::Read
            };
            let Ok(connection) = pool.acquire(class).await else {
                return;
            };
            if class == Class::Read {
                let now = reading.fetch_add(1, Relaxed) + 1;
                assert!(now <= connections_of_class(MAX_SIZE), "{now} reads");
            }
            for _ in 0..4 {
                yield_now().await;
            }
            if class == Class::Read {
                reading.fetch_sub(1, Relaxed);
            }
            if thread_rng().gen_bool(0.2) {
                connection.discard();
            }
        })
    });
    tasks.collect()
}

/// Acquires all connections of the pool at once.
async fn acquire_all(pool: &Pool<Server>) -> Vec<AcquiredConnection<Server>> {
    loop {
        let mut acquired = Vec::new();
        for class in [Class::Read, Class::Read, Class::Write] {
            acquired.push(pool.acquire(class).await);
        }
        let acquired: Result<Vec<_>, _> = acquired.into_iter().collect();
        if let Ok(acquired) = acquired {
            return acquired;
        }
        yield_now().await;
    }
}

/// Runs a test for timers of deadpool, which never end here, because nothing drives the runtime.
fn explore_with_timers(test: impl Fn() + Send + Sync + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _context = runtime.enter();
    explore(test);
}

/// A class never uses more than its connections, and the server never has more than the pool may have, also while it
/// closes some. All can be acquired afterwards: shuttle reports a permit that is lost as a deadlock.
pub fn a_server_never_has_more_connections_than_the_pool() {
    explore_with_timers(|| {
        let pool = pool(Server {
            strict: true,
            ..Server::default()
        });
        for task in start(&pool) {
            block_on(task).unwrap();
        }
        drop(block_on(acquire_all(&pool)));
    });
}

/// While connections expire, are invalidated, and are replaced, none is lost.
pub fn maintenance_loses_no_connection() {
    explore_with_timers(|| {
        let pool = pool(Server::default());
        let mut tasks = start(&pool);
        tasks.push(spawn({
            let pool = pool.clone();
            async move {
                pool.maintain(Instant::now()).await;
                pool.invalidate();
                let later = Instant::now() + Duration::from_secs(3_600);
                pool.maintain(later).await;
            }
        }));
        for task in tasks {
            block_on(task).unwrap();
        }
        drop(block_on(acquire_all(&pool)));
    });
}

/// A connection that the server has not closed yet still counts, although the pool no longer has it. So the minimum is
/// not opened beside it.
pub fn maintenance_opens_no_connection_while_all_are_being_closed() {
    explore_with_timers(|| {
        let pool = pool(Server {
            strict: true,
            ..Server::default()
        });
        for connection in block_on(acquire_all(&pool)) {
            connection.discard();
        }
        block_on(pool.maintain(Instant::now()));
        drop(block_on(acquire_all(&pool)));
    });
}
