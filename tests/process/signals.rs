use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::{Server, order, problem};

crate::on_both!(
    sigterm_ends_an_idle_server_with_0,
    sigint_does_as_well,
    sighup_is_ignored
);

const SOON: Duration = Duration::from_secs(5);

async fn sigterm_ends_an_idle_server_with_0(database: Database) {
    let mut server = Server::start(&database, &[]).await;
    // The client keeps its connection open; an idle one must not hold the server up.
    server.place("sku-1").await;
    server.signal(libc::SIGTERM);
    assert_eq!(server.ended(SOON).await.code(), Some(0));
    assert_eq!(server.logs().last().unwrap()["msg"], "ended");
}

async fn sigint_does_as_well(database: Database) {
    let mut server = Server::start(&database, &[]).await;
    server.signal(libc::SIGINT);
    assert_eq!(server.ended(SOON).await.code(), Some(0));
}

async fn sighup_is_ignored(database: Database) {
    let server = Server::start(&database, &[]).await;
    server.signal(libc::SIGHUP);
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.place("sku-1").await;
}

/// Holds every write until `ROLLBACK`.
async fn held(database: &Database) -> tokio_postgres::Client {
    let holder = database.client().await;
    holder
        .batch_execute("BEGIN; LOCK TABLE orders")
        .await
        .unwrap();
    holder
}

#[tokio::test]
async fn a_post_in_flight_at_sigterm_gets_its_201() {
    let database = Database::postgres().await;
    let mut server = Server::start(&database, &[]).await;
    let holder = held(&database).await;
    let request = server
        .client
        .post(server.url("/api/v1/orders"))
        .json(&order("sku-1"));
    let post = tokio::spawn(request.send());
    eventually("in flight", SOON, async || {
        server.scrape().await.contains("http_requests_in_flight 1")
    })
    .await;
    server.signal(libc::SIGTERM);
    eventually("no longer accepting", SOON, async || {
        TcpStream::connect(server.api.strip_prefix("http://").unwrap())
            .await
            .is_err()
    })
    .await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(post.await.unwrap().unwrap().status(), 201);
    assert_eq!(server.ended(SOON).await.code(), Some(0));
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
}

#[tokio::test]
async fn work_accepted_before_the_timeout_is_finished_after_it() {
    let database = Database::postgres().await;
    let mut server = Server::start(&database, &[("SHUTDOWN_TIMEOUT", "300ms")]).await;
    let holder = held(&database).await;
    let request = server
        .client
        .post(server.url("/api/v1/orders"))
        .json(&order("sku-1"));
    let post = tokio::spawn(request.send());
    eventually("in flight", SOON, async || {
        server
            .scrape()
            .await
            .contains("queue_depth{queue=\"create\"} 1")
    })
    .await;
    server.signal(libc::SIGTERM);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(server.ended(SOON).await.code(), Some(0));
    // The client was cut off, the order was not.
    drop(post.await);
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
}

#[tokio::test]
async fn while_draining_it_serves_and_sends_clients_away() {
    let database = Database::sqlite();
    let mut server = Server::start(&database, &[("DRAIN_DELAY", "4s")]).await;
    assert!(
        server
            .get("/readyz")
            .await
            .headers()
            .get("connection")
            .is_none()
    );
    let start = Instant::now();
    server.signal(libc::SIGTERM);
    eventually("not ready", Duration::from_secs(1), async || {
        server.status("/readyz").await == 503
    })
    .await;
    let draining = problem(server.get("/readyz").await).await;
    assert_eq!(draining["reason"], "draining");
    assert_eq!(server.status("/healthz").await, 200);
    let response = server.post(&order("sku-1")).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["connection"], "close");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "the machine is too slow for this test"
    );
    assert_eq!(server.ended(Duration::from_secs(10)).await.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_secs(4));
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Server::on_sqlite(&[("DRAIN_DELAY", "60s")]).await;
    server.signal(libc::SIGTERM);
    eventually("draining", SOON, async || {
        server.status("/readyz").await == 503
    })
    .await;
    server.signal(libc::SIGINT);
    assert_eq!(
        server.ended(Duration::from_secs(1)).await.code(),
        Some(128 + libc::SIGINT)
    );
}
