//! SIGTERM and SIGINT drain and end the service; SIGHUP is ignored.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::order;
use crate::support::problem::problem;
use crate::support::server::Server;

crate::on_both!(
    sigterm_ends_an_idle_service_with_0,
    sigint_ends_the_service_with_0,
    sighup_is_ignored
);

const TIMEOUT: Duration = Duration::from_secs(5);

async fn sigterm_ends_an_idle_service_with_0(database: Database) {
    let mut server = Server::start(&database, &[]).await;
    // The client keeps its connection open: an idle connection must not delay the end.
    server.create("sku-1").await;
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait_for_exit(TIMEOUT).await.code(), Some(0));
    assert_eq!(server.logs().last().unwrap()["msg"], "ended");
}

async fn sigint_ends_the_service_with_0(database: Database) {
    let mut server = Server::start(&database, &[]).await;
    server.signal(libc::SIGINT);
    assert_eq!(server.wait_for_exit(TIMEOUT).await.code(), Some(0));
}

async fn sighup_is_ignored(database: Database) {
    let server = Server::start(&database, &[]).await;
    server.signal(libc::SIGHUP);
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.create("sku-1").await;
}

/// Sends a request for an order in a task of its own.
fn spawn_post(server: &Server) -> JoinHandle<reqwest::Result<Response>> {
    let request = server.client.post(server.url("/api/v1/orders"));
    tokio::spawn(request.json(&order("sku-1")).send())
}

#[tokio::test]
async fn a_post_in_flight_at_sigterm_gets_its_201() {
    let database = Database::postgres().await;
    let mut server = Server::start(&database, &[]).await;
    let lock = database.begin("LOCK TABLE orders").await;
    let post = spawn_post(&server);
    eventually("the request is in flight", TIMEOUT, async || {
        server.scrape().await.contains("http_requests_in_flight 1")
    })
    .await;
    server.signal(libc::SIGTERM);
    eventually("it no longer accepts connections", TIMEOUT, async || {
        TcpStream::connect(server.address()).await.is_err()
    })
    .await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(post.await.unwrap().unwrap().status(), 201);
    assert_eq!(server.wait_for_exit(TIMEOUT).await.code(), Some(0));
    assert_eq!(database.count("orders").await, 1);
}

#[tokio::test]
async fn an_accepted_order_is_written_after_the_shutdown_timeout() {
    let database = Database::postgres().await;
    let mut server = Server::start(&database, &[("SHUTDOWN_TIMEOUT", "300ms")]).await;
    let lock = database.begin("LOCK TABLE orders").await;
    let post = spawn_post(&server);
    eventually("the request is in flight", TIMEOUT, async || {
        server
            .scrape()
            .await
            .contains("queue_depth{queue=\"create\"} 1")
    })
    .await;
    server.signal(libc::SIGTERM);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(server.wait_for_exit(TIMEOUT).await.code(), Some(0));
    // The connection was closed; the order was written.
    drop(post.await);
    assert_eq!(database.count("orders").await, 1);
}

#[tokio::test]
async fn while_draining_the_service_serves_requests_and_closes_connections() {
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
    eventually("it is not ready", Duration::from_secs(1), async || {
        server.status("/readyz").await == 503
    })
    .await;
    let draining = problem(server.get("/readyz").await);
    assert_eq!(draining["reason"], "draining");
    assert_eq!(server.status("/healthz").await, 200);
    let response = server.post(&order("sku-1")).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["connection"], "close");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "the machine is too slow for this test"
    );
    assert_eq!(
        server.wait_for_exit(Duration::from_secs(10)).await.code(),
        Some(0)
    );
    assert!(start.elapsed() >= Duration::from_secs(4));
    assert_eq!(database.count("orders").await, 1);
}

#[tokio::test]
async fn a_second_signal_ends_the_service_at_once() {
    let mut server = Server::on_sqlite(&[("DRAIN_DELAY", "60s")]).await;
    server.signal(libc::SIGTERM);
    eventually("it drains", TIMEOUT, async || {
        server.status("/readyz").await == 503
    })
    .await;
    server.signal(libc::SIGINT);
    assert_eq!(
        server.wait_for_exit(Duration::from_secs(1)).await.code(),
        Some(128 + libc::SIGINT)
    );
}
