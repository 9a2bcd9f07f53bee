//! A request that times out or loses its client leaves no transaction in the database.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::order;
use crate::support::principals::{credential, with_principals};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

/// Makes every insert of orders update one row, as a counter would.
const HOT_ROW: &str = "
    CREATE TABLE hot (id int PRIMARY KEY, n int NOT NULL);
    INSERT INTO hot VALUES (1, 0);
    CREATE FUNCTION touch_hot() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN UPDATE hot SET n = n + 1 WHERE id = 1; RETURN NULL; END';
    CREATE TRIGGER hot AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION touch_hot();";

/// Locks the row, so that every insert waits. The transaction of the returned client holds the lock.
async fn lock_hot_row(database: &Database) -> tokio_postgres::Client {
    database.execute(HOT_ROW).await;
    database
        .begin("SELECT n FROM hot WHERE id = 1 FOR UPDATE")
        .await
}

const ACTIVE_CONNECTIONS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name = 'order-service' AND state <> 'idle'";

/// Checks that the service has no transaction and holds no lock, and releases the lock of the test.
async fn expect_no_transaction(database: &Database, lock: tokio_postgres::Client) {
    eventually(
        "no server process is active or in a transaction",
        Duration::from_secs(1),
        async || database.number(ACTIVE_CONNECTIONS).await == 0,
    )
    .await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    let free = "SELECT count(*) FROM (SELECT n FROM hot WHERE id = 1 FOR UPDATE NOWAIT) AS row";
    assert_eq!(database.number(free).await, 1);
}

const TIMEOUTS: [(&str, &str); 2] = [("REQUEST_TIMEOUT", "300ms"), ("STATEMENT_TIMEOUT", "800ms")];

#[tokio::test]
async fn a_request_that_times_out_on_a_row_lock_leaves_no_transaction() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &TIMEOUTS).await;
    let lock = lock_hot_row(&database).await;
    let late = problem(server.post(&order("sku-1")).await);
    assert_eq!(problem_kind(&late), "timeout");
    expect_no_transaction(&database, lock).await;
    server.create("sku-2").await;
}

#[tokio::test]
async fn a_client_that_resets_its_connection_leaves_no_transaction() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &TIMEOUTS).await;
    let lock = lock_hot_row(&database).await;
    for _ in 0..10 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let body = order("sku-1").to_string();
        let request = format!(
            "POST /api/v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        // With zero linger, closing the socket sends a reset.
        stream.set_zero_linger().unwrap();
        drop(stream);
    }
    eventually(
        "the statements have ended",
        Duration::from_secs(3),
        async || database.number(ACTIVE_CONNECTIONS).await == 0,
    )
    .await;
    expect_no_transaction(&database, lock).await;
    server.create("sku-2").await;
}

#[tokio::test]
async fn an_accepted_order_is_written_after_its_request_timed_out() {
    let database = Database::postgres().await;
    let times = [("REQUEST_TIMEOUT", "300ms"), ("STATEMENT_TIMEOUT", "5s")];
    let server = Server::start(&database, &times).await;
    let lock = lock_hot_row(&database).await;
    assert_eq!(server.post(&order("sku-1")).await.status(), 503);
    lock.batch_execute("ROLLBACK").await.unwrap();
    eventually("the order is written", Duration::from_secs(2), async || {
        database.count("orders").await == 1
    })
    .await;
    assert_eq!(server.metric::<u64>("orders_created_total").await, 1);
}

#[tokio::test]
async fn a_request_beyond_the_queue_capacity_is_rejected_at_once() {
    let database = Database::postgres().await;
    let variables = [("QUEUE_CAPACITY", "4"), ("REQUEST_TIMEOUT", "3s")];
    let (server, _file) = with_principals(&database, &variables).await;
    let lock = lock_hot_row(&database).await;
    // One principal alone may use half of the capacity only.
    let create = |principal: &str| {
        let request = server.client.post(server.url("/api/v1/orders"));
        let request = request.header("authorization", credential(principal));
        request.json(&order("sku-1")).send()
    };
    let waiting: Vec<_> = ["a", "b", "c", "d"]
        .map(|principal| tokio::spawn(create(principal)))
        .into();
    eventually("all are queued", Duration::from_secs(2), async || {
        server.metric::<u64>("queue_depth{queue=\"create\"}").await == 4
    })
    .await;
    let rejected = problem(create("e").await.unwrap());
    assert_eq!(problem_kind(&rejected), "overloaded");
    let rejections: u64 = server
        .metric("queue_rejected_total{queue=\"create\"}")
        .await;
    assert_eq!(rejections, 1);
    lock.batch_execute("ROLLBACK").await.unwrap();
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap().status(), 201);
    }
}
