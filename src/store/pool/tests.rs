use diesel::{Connection as _, SqliteConnection};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, SimpleAsyncConnection as _, TransactionManager as _};

use super::*;

fn pool<C: Connect>(connector: Arc<C>, max_size: usize, min_idle: usize) -> Pool<C> {
    let limits = Limits {
        max_size,
        min_idle,
        acquire_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(300),
        max_lifetime: Duration::from_secs(1800),
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    Pool::new(connector, limits, metrics).unwrap()
}

/// A database that takes connections and then says nothing.
struct Silent;

impl Connect for Silent {
    type Connection = <Memory as Connect>::Connection;

    async fn connect(&self) -> Result<Self::Connection, StoreError> {
        std::future::pending().await
    }
}

/// The clock is Tokio's and jumps: five seconds are five seconds, however busy the machine is.
#[tokio::test(start_paused = true)]
async fn who_waits_is_told_after_the_acquire_timeout() {
    let pool = pool(Arc::new(Silent), 1, 0);
    let wait = async || {
        let start = tokio::time::Instant::now();
        let refused = pool.get(Class::Read).await.err();
        (start.elapsed().as_secs_f64(), refused)
    };
    // One waits for its connection to open, the other for the place that the first holds.
    for (seconds, refused) in [tokio::join!(wait(), wait())].map(|(a, b)| [a, b]).concat() {
        assert!((seconds - 5.0).abs() < 0.2, "after {seconds} s");
        assert!(matches!(refused, Some(StoreError::Unavailable(_))));
    }
}

/// A database in memory.
struct Memory;

impl Connect for Memory {
    type Connection = SyncConnectionWrapper<SqliteConnection>;

    async fn connect(&self) -> Result<Self::Connection, StoreError> {
        Ok(SyncConnectionWrapper::new(
            SqliteConnection::establish(":memory:").unwrap(),
        ))
    }
}

/// Notes how many connections the pool has whenever another is opened.
#[derive(Default)]
struct Watching {
    pool: std::sync::OnceLock<Pool<Self>>,
    sizes: std::sync::Mutex<Vec<usize>>,
}

impl Connect for Watching {
    type Connection = SyncConnectionWrapper<SqliteConnection>;

    async fn connect(&self) -> Result<Self::Connection, StoreError> {
        let size = self.pool.get().unwrap().inner.status().size;
        self.sizes.lock().unwrap().push(size);
        Memory.connect().await
    }
}

#[tokio::test]
async fn the_minimum_holds_while_old_connections_are_replaced() {
    let connector = Arc::new(Watching::default());
    let pool = pool(Arc::clone(&connector), 5, 3);
    assert!(connector.pool.set(pool.clone()).is_ok());
    let start = Instant::now();
    pool.look(start).await;
    assert_eq!((pool.status().idle, pool.status().in_use), (3, 0));
    // Nothing is too old yet.
    pool.look(start + Duration::from_secs(1000)).await;
    pool.look(start + Duration::from_secs(2000)).await;
    assert_eq!((pool.status().idle, pool.status().in_use), (3, 0));
    let sizes = connector.sizes.lock().unwrap();
    assert_eq!(
        *sizes,
        [0, 0, 0, 3, 3, 3],
        "opened before the old ones are closed"
    );
}

#[tokio::test]
async fn a_connection_left_inside_a_transaction_is_closed() {
    type Connection = <Memory as Connect>::Connection;
    type Transactions = <Connection as AsyncConnection>::TransactionManager;
    let pool = pool(Arc::new(Memory), 1, 0);
    let mut lease = pool.get(Class::Read).await.unwrap();
    lease
        .batch_execute("CREATE TABLE here (n INTEGER)")
        .await
        .unwrap();
    drop(lease);
    let mut lease = pool.get(Class::Read).await.unwrap();
    lease.batch_execute("SELECT * FROM here").await.unwrap();
    Transactions::begin_transaction(&mut *lease).await.unwrap();
    drop(lease);
    assert_eq!(pool.status().idle + pool.status().in_use, 0);
    // Each connection has a database of its own, so this is another.
    let mut lease = pool.get(Class::Read).await.unwrap();
    assert!(lease.batch_execute("SELECT * FROM here").await.is_err());
}

#[tokio::test]
async fn who_serves_many_does_not_queue_behind_everybody() {
    let pool = pool(Arc::new(Memory), 1, 0);
    let held = pool.get(Class::Read).await.unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for (name, pool) in [
        ("one of many", pool.clone()),
        ("one of many", pool.clone()),
        ("who serves many", pool.first_in_line()),
    ] {
        let order = Arc::clone(&order);
        waiting.push(tokio::spawn(async move {
            let _lease = pool.get(Class::Read).await.unwrap();
            order.lock().unwrap().push(name);
        }));
        // Each is in line before the next comes.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    drop(held);
    for one in waiting {
        one.await.unwrap();
    }
    assert_eq!(
        *order.lock().unwrap(),
        ["who serves many", "one of many", "one of many"]
    );
}
