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

/// A database whose connections never finish opening.
struct Silent;

impl Connect for Silent {
    type Connection = <Memory as Connect>::Connection;

    async fn connect(&self) -> Result<Self::Connection, StoreError> {
        std::future::pending().await
    }
}

/// With Tokio's paused clock, the result does not depend on the load of the machine.
#[tokio::test(start_paused = true)]
async fn acquire_fails_after_the_acquire_timeout() {
    let pool = pool(Arc::new(Silent), 1, 0);
    let wait = async || {
        let start = tokio::time::Instant::now();
        let error = pool.acquire(Class::Read).await.err();
        (start.elapsed().as_secs_f64(), error)
    };
    // One waits for its connection to open, the other for the permit that the first holds.
    for (seconds, error) in [tokio::join!(wait(), wait())].map(|(a, b)| [a, b]).concat() {
        assert!((seconds - 5.0).abs() < 0.2, "after {seconds} s");
        assert!(matches!(error, Some(StoreError::Unavailable(_))));
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

/// Records the size of the pool whenever a connection is opened.
#[derive(Default)]
struct SizeRecorder {
    pool: std::sync::OnceLock<Pool<Self>>,
    sizes: std::sync::Mutex<Vec<usize>>,
}

impl Connect for SizeRecorder {
    type Connection = SyncConnectionWrapper<SqliteConnection>;

    async fn connect(&self) -> Result<Self::Connection, StoreError> {
        let size = self.pool.get().unwrap().inner.status().size;
        self.sizes.lock().unwrap().push(size);
        Memory.connect().await
    }
}

#[tokio::test]
async fn the_minimum_holds_while_old_connections_are_replaced() {
    let connector = Arc::new(SizeRecorder::default());
    let pool = pool(Arc::clone(&connector), 5, 3);
    assert!(connector.pool.set(pool.clone()).is_ok());
    let start = Instant::now();
    pool.maintain(start).await;
    assert_eq!((pool.status().idle, pool.status().in_use), (3, 0));
    // No connection expires until then.
    pool.maintain(start + Duration::from_secs(1000)).await;
    pool.maintain(start + Duration::from_secs(2000)).await;
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
    let mut connection = pool.acquire(Class::Read).await.unwrap();
    connection
        .batch_execute("CREATE TABLE here (n INTEGER)")
        .await
        .unwrap();
    drop(connection);
    let mut connection = pool.acquire(Class::Read).await.unwrap();
    connection
        .batch_execute("SELECT * FROM here")
        .await
        .unwrap();
    Transactions::begin_transaction(&mut *connection)
        .await
        .unwrap();
    drop(connection);
    assert_eq!(pool.status().idle + pool.status().in_use, 0);
    // Each connection has its own database in memory, so a new connection does not have the table.
    let mut connection = pool.acquire(Class::Read).await.unwrap();
    assert!(
        connection
            .batch_execute("SELECT * FROM here")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_caller_with_priority_waits_for_one_connection_only() {
    let pool = pool(Arc::new(Memory), 1, 0);
    let held = pool.acquire(Class::Read).await.unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for (name, pool) in [
        ("no priority", pool.clone()),
        ("no priority", pool.clone()),
        ("priority", pool.with_priority()),
    ] {
        let order = Arc::clone(&order);
        waiting.push(tokio::spawn(async move {
            let _connection = pool.acquire(Class::Read).await.unwrap();
            order.lock().unwrap().push(name);
        }));
        // Each waits before the next is started.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    drop(held);
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(
        *order.lock().unwrap(),
        ["priority", "no priority", "no priority"]
    );
}
