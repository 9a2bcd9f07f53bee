//! `request_stage_seconds`: in which stage requests spend their time.

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::Sub;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::response_budget::{create_large_orders, request_without_reading};
use crate::support::database::Database;
use crate::support::event_stream::EventStream;
use crate::support::eventually;
use crate::support::orders::{order, order_path};
use crate::support::server::{Server, metric};

crate::on_both!(
    each_request_counts_once_in_each_stage,
    a_blocked_statement_is_time_in_the_database,
    waiting_for_the_only_connection_is_time_in_the_pool,
    waiting_for_a_batch_to_begin_is_time_in_the_queue,
    waiting_for_a_client_that_does_not_read_is_time_of_the_write,
);

/// How long a stage is made to last.
const LONG: Duration = Duration::from_secs(1);
/// More than the other stages take meanwhile, also on a slow machine.
const SHORT: f64 = 0.5;

/// The number and the total seconds of the observations of a stage.
#[derive(Clone, Copy, Debug, Default)]
struct Stage {
    count: u64,
    seconds: f64,
}

#[derive(Clone, Copy, Debug)]
struct Stages {
    queue: Stage,
    pool: Stage,
    database: Stage,
    write: Stage,
}

impl Stages {
    async fn of(server: &Server) -> Self {
        let scrape = server.scrape().await;
        let stage = |name: &str| Stage {
            count: metric(
                &scrape,
                &format!("request_stage_seconds_count{{stage=\"{name}\"}}"),
            ),
            seconds: metric(
                &scrape,
                &format!("request_stage_seconds_sum{{stage=\"{name}\"}}"),
            ),
        };
        Self {
            queue: stage("queue"),
            pool: stage("pool"),
            database: stage("database"),
            write: stage("write"),
        }
    }

    /// What was added since then.
    async fn since(server: &Server, earlier: &Self) -> Self {
        let now = Self::of(server).await;
        Self {
            queue: now.queue - earlier.queue,
            pool: now.pool - earlier.pool,
            database: now.database - earlier.database,
            write: now.write - earlier.write,
        }
    }

    fn of_store(&self) -> [Stage; 3] {
        [self.queue, self.pool, self.database]
    }
}

impl Sub for Stage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            count: self.count - earlier.count,
            seconds: self.seconds - earlier.seconds,
        }
    }
}

/// Another session that lets nobody write orders, until it is dropped.
enum WriteLock {
    Postgres { _client: tokio_postgres::Client },
    Sqlite(Child),
}

impl WriteLock {
    async fn hold(database: &Database) -> Self {
        if database.is_postgres() {
            let lock = "LOCK TABLE orders IN EXCLUSIVE MODE";
            let _client = database.begin(lock).await;
            return Self::Postgres { _client };
        }
        let mut shell = Command::new("sqlite3")
            .arg(database.file())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = shell.stdin.as_mut().unwrap();
        input.write_all(b"BEGIN IMMEDIATE; SELECT 1;\n").unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "1\n");
        Self::Sqlite(shell)
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        if let Self::Sqlite(shell) = self {
            shell.kill().unwrap();
            shell.wait().unwrap();
        }
    }
}

/// Sends a request to create an order in a task of its own.
fn create_later(server: &Server) -> tokio::task::JoinHandle<u16> {
    let url = server.url("/api/v1/orders");
    let request = server.client.post(url).json(&order("later"));
    tokio::spawn(async move { request.send().await.unwrap().status() })
}

async fn each_request_counts_once_in_each_stage(database: Database) {
    let server = Server::start(&database, &[]).await;
    let path = order_path(&server.create("first").await);
    let before = Stages::of(&server).await;
    let creating: Vec<_> = (0..20).map(|_| create_later(&server)).collect();
    for created in creating {
        assert_eq!(created.await.unwrap(), 201);
    }
    for path in [
        path.as_str(),
        "/api/v1/orders",
        "/api/v1/orders?product_id=later",
        "/api/v1/events",
        &format!("{path}/events"),
    ] {
        assert_eq!(server.status(path).await, 200, "{path}");
    }
    let updated = server.patch(&path, &json!({"quantity": 2})).await;
    assert_eq!(updated.status(), 200);
    let after = Stages::since(&server, &before).await;
    assert_eq!(
        after.of_store().map(|stage| stage.count),
        [26; 3],
        "{after:?}"
    );
    let total: f64 = after.of_store().iter().map(|stage| stage.seconds).sum();
    assert!(total > 0.0 && total < 26.0, "seconds: {after:?}");

    // The orders of a batch are requests of the store, and have one response.
    let orders = json!({"orders": [order("a"), order("b"), order("c")]});
    let url = server.url("/api/v1/orders/batch");
    let batch = server.client.post(url).json(&orders).send().await.unwrap();
    assert_eq!(batch.status(), 200);
    // These do not use the store.
    for path in ["/healthz", "/api/v1/orders/no-uuid"] {
        server.status(path).await;
    }
    // A stream has no end that says anything about the time to send it.
    let mut stream = EventStream::open(&server, None).await;
    stream.next().await;
    drop(stream);
    eventually(
        "every response is written",
        Duration::from_secs(5),
        async || {
            let streams: usize = server.metric("event_streams").await;
            streams == 0 && Stages::since(&server, &before).await.write.count >= 29
        },
    )
    .await;
    let after = Stages::since(&server, &before).await;
    assert_eq!(after.write.count, 29, "{after:?}");
    assert_eq!(
        after.of_store().map(|stage| stage.count),
        [29; 3],
        "{after:?}"
    );
}

async fn a_blocked_statement_is_time_in_the_database(database: Database) {
    let server = Server::start(&database, &[]).await;
    server.create("first").await;
    let before = Stages::of(&server).await;
    let lock = WriteLock::hold(&database).await;
    let created = create_later(&server);
    sleep(LONG).await;
    drop(lock);
    assert_eq!(created.await.unwrap(), 201);
    let after = Stages::since(&server, &before).await;
    assert!(after.database.seconds > 0.9, "{after:?}");
    assert!(
        after.queue.seconds + after.pool.seconds < SHORT,
        "{after:?}"
    );
}

async fn waiting_for_the_only_connection_is_time_in_the_pool(database: Database) {
    let server = Server::start(&database, &[("POOL_MAX_SIZE", "1")]).await;
    let path = order_path(&server.create("first").await);
    let lock = WriteLock::hold(&database).await;
    let created = create_later(&server);
    eventually("the connection is in use", LONG, async || {
        let in_use = server.metric::<u64>("db_pool_connections{state=\"in_use\"}");
        in_use.await == 1
    })
    .await;
    let before = Stages::of(&server).await;
    let releasing = async {
        sleep(LONG).await;
        // The order that is created meanwhile is measured as well.
        drop(lock);
    };
    let (status, ()) = tokio::join!(server.status(&path), releasing);
    assert_eq!((status, created.await.unwrap()), (200, 201));
    let after = Stages::since(&server, &before).await;
    assert_eq!(after.pool.count, 2, "{after:?}");
    assert!(after.pool.seconds > 0.9, "{after:?}");
    assert!(after.queue.seconds < SHORT, "{after:?}");
}

async fn waiting_for_a_batch_to_begin_is_time_in_the_queue(database: Database) {
    let server = Server::start(&database, &[]).await;
    server.create("first").await;
    let before = Stages::of(&server).await;
    let lock = WriteLock::hold(&database).await;
    // Each batch that takes long makes the queue start the next, up to four.
    let mut creating = Vec::new();
    for _ in 0..7 {
        creating.push(create_later(&server));
        sleep(Duration::from_millis(60)).await;
    }
    sleep(LONG).await;
    drop(lock);
    for created in creating {
        assert_eq!(created.await.unwrap(), 201);
    }
    let after = Stages::since(&server, &before).await;
    assert_eq!(after.queue.count, 7);
    assert!(after.queue.seconds > 3.0 * 0.9, "{after:?}");
    assert!(after.pool.seconds < SHORT, "{after:?}");
}

async fn waiting_for_a_client_that_does_not_read_is_time_of_the_write(database: Database) {
    let server = Server::start(&database, &[]).await;
    create_large_orders(&server, 20).await;
    let before = Stages::of(&server).await;
    let start = Instant::now();
    let path = "/api/v1/orders?limit=19";
    let mut reads_late = request_without_reading(&server, path).await;
    let reads_never = request_without_reading(&server, path).await;
    // Before, the responses are not being written.
    for client in [&reads_late, &reads_never] {
        client.stream.readable().await.unwrap();
    }
    sleep(LONG).await;
    let unread = Stages::since(&server, &before).await;
    assert_eq!(unread.write.count, 0, "{unread:?}");
    let response = reads_late.response().await;
    assert_eq!(response.status, 200);
    drop(reads_never);
    eventually("both responses have ended", LONG, async || {
        Stages::since(&server, &before).await.write.count == 2
    })
    .await;
    let after = Stages::since(&server, &before).await;
    let most = 2.0 * start.elapsed().as_secs_f64();
    assert!(
        after.write.seconds > 2.0 * 0.9 && after.write.seconds < most,
        "{after:?}"
    );
    let store: f64 = after.of_store().iter().map(|stage| stage.seconds).sum();
    assert!(store < 2.0 * SHORT, "{after:?}");
}
