//! A request that ends early leaves nothing behind in the database.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::{Server, order, problem, slug};

/// Makes every insert wait for a row lock, as a hot counter row would.
const HOT_ROW: &str = "
    CREATE TABLE hot (id int PRIMARY KEY, n int NOT NULL);
    INSERT INTO hot VALUES (1, 0);
    CREATE FUNCTION touch_hot() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN UPDATE hot SET n = n + 1 WHERE id = 1; RETURN NULL; END';
    CREATE TRIGGER hot AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION touch_hot();";

async fn held_row(database: &Database) -> tokio_postgres::Client {
    let holder = database.client().await;
    holder.batch_execute(HOT_ROW).await.unwrap();
    holder
        .batch_execute("BEGIN; SELECT n FROM hot WHERE id = 1 FOR UPDATE")
        .await
        .unwrap();
    holder
}

const BUSY: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name = 'order-service' AND state <> 'idle'";

async fn nothing_is_left(database: &Database, holder: tokio_postgres::Client) {
    eventually(
        "no backend at work or in a transaction",
        Duration::from_secs(1),
        async || database.number(BUSY).await == 0,
    )
    .await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    let free = "SELECT count(*) FROM (SELECT n FROM hot WHERE id = 1 FOR UPDATE NOWAIT) AS row";
    assert_eq!(database.number(free).await, 1);
}

const TIMES: [(&str, &str); 2] = [("REQUEST_TIMEOUT", "300ms"), ("STATEMENT_TIMEOUT", "800ms")];

#[tokio::test]
async fn a_request_that_times_out_on_a_row_lock_leaves_no_transaction() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &TIMES).await;
    let holder = held_row(&database).await;
    let late = problem(server.post(&order("sku-1")).await).await;
    assert_eq!(slug(&late), "timeout");
    nothing_is_left(&database, holder).await;
    server.place("sku-2").await;
}

#[tokio::test]
async fn a_client_that_resets_its_connection_leaves_no_transaction() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &TIMES).await;
    let holder = held_row(&database).await;
    for _ in 0..10 {
        let address = server.api.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = order("sku-1").to_string();
        let request = format!(
            "POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        // With unread data or no lingering, close sends a reset.
        stream.set_zero_linger().unwrap();
        drop(stream);
    }
    eventually(
        "the statements are over",
        Duration::from_secs(3),
        async || database.number(BUSY).await == 0,
    )
    .await;
    nothing_is_left(&database, holder).await;
    server.place("sku-2").await;
}

#[tokio::test]
async fn what_was_accepted_is_written_although_its_client_is_gone() {
    let database = Database::postgres().await;
    let times = [("REQUEST_TIMEOUT", "300ms"), ("STATEMENT_TIMEOUT", "5s")];
    let server = Server::start(&database, &times).await;
    let holder = held_row(&database).await;
    assert_eq!(server.post(&order("sku-1")).await.status(), 503);
    holder.batch_execute("ROLLBACK").await.unwrap();
    eventually("the order is there", Duration::from_secs(2), async || {
        database.number("SELECT count(*) FROM orders").await == 1
    })
    .await;
    assert!(server.scrape().await.contains("orders_created_total 1"));
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once() {
    let database = Database::postgres().await;
    let variables = [("QUEUE_CAPACITY", "4"), ("REQUEST_TIMEOUT", "3s")];
    let server = Server::start(&database, &variables).await;
    let holder = held_row(&database).await;
    let stuck: Vec<_> = (0..4)
        .map(|_| {
            let request = server.client.post(server.url("/api/v1/orders"));
            tokio::spawn(request.json(&order("sku-1")).send())
        })
        .collect();
    eventually("all wait", Duration::from_secs(2), async || {
        server
            .scrape()
            .await
            .contains("queue_depth{queue=\"create\"} 4")
    })
    .await;
    let refused = problem(server.post(&order("sku-1")).await).await;
    assert_eq!(slug(&refused), "overloaded");
    assert!(
        server
            .scrape()
            .await
            .contains("queue_rejected_total{queue=\"create\"} 1")
    );
    holder.batch_execute("ROLLBACK").await.unwrap();
    for request in stuck {
        assert_eq!(request.await.unwrap().unwrap().status(), 201);
    }
}
