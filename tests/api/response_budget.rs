//! Responses that clients do not read are bounded in memory and time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::{large_order, order_path};
use crate::support::principals::{
    PRINCIPALS, client_that_reads_nothing, credential, get_as, with_principals,
};
use crate::support::problem::{problem, problem_kind};
use crate::support::raw_client::RawClient;
use crate::support::server::Server;

crate::on_both!(
    unread_responses_take_a_bounded_amount_of_memory,
    beyond_the_budget_large_responses_are_rejected_and_small_ones_are_sent,
    a_write_that_is_committed_is_reported_although_the_share_is_used_up,
    a_large_write_beyond_the_share_is_rejected_before_it_is_stored,
);

/// Creates orders of 50 KB.
pub(crate) async fn create_large_orders(server: &Server, count: usize) {
    for _ in 0..count {
        let created = server.post(&large_order(25)).await;
        assert_eq!(created.status(), 201, "{created:?}");
    }
}

/// The bytes of responses that clients have not read.
pub(crate) async fn buffered_bytes(server: &Server) -> usize {
    server.metric("http_response_buffer_bytes").await
}

/// A client that has sent a request and reads nothing.
pub(crate) async fn request_without_reading(server: &Server, path: &str) -> RawClient {
    let mut client = client_that_reads_nothing(server).await;
    client
        .send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        .await;
    client
}

/// The same as one of the principals of [`with_principals`].
pub(crate) async fn request_without_reading_as(
    server: &Server,
    principal: &str,
    path: &str,
) -> RawClient {
    let mut client = client_that_reads_nothing(server).await;
    let authorization = credential(principal);
    client
        .send(format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\r\n"
        ))
        .await;
    client
}

async fn unread_responses_take_a_bounded_amount_of_memory(database: Database) {
    let (server, _file) = with_principals(&database, &[("POOL_MAX_SIZE", "6")]).await;
    create_large_orders(&server, 40).await;
    // Ten principals together may hold ten elevenths of the budget.
    for path in ["/api/v1/orders?limit=10", "/api/v1/events?limit=10"] {
        let mut clients = Vec::new();
        for number in 0..90 {
            let principal = PRINCIPALS[number % PRINCIPALS.len()];
            clients.push(request_without_reading_as(&server, principal, path).await);
        }
        eventually(
            "most of the budget is used",
            Duration::from_secs(10),
            async || buffered_bytes(&server).await > 22 << 20,
        )
        .await;
        assert!(buffered_bytes(&server).await <= 32 << 20);
        let (mut served, mut rejected) = (0, 0);
        for client in &mut clients {
            let mut start = [0; 12];
            client.stream.read_exact(&mut start).await.unwrap();
            match &start {
                b"HTTP/1.1 200" => served += 1,
                b"HTTP/1.1 429" | b"HTTP/1.1 503" => rejected += 1,
                _ => panic!("{start:?}"),
            }
        }
        assert!(served >= 40 && rejected >= 10, "{served} {rejected}");
        // Probes and small responses are served.
        assert_eq!(server.status("/healthz").await, 200);
        assert_eq!(server.status("/readyz").await, 200);
        server.create("small").await;
        let peak = server.peak_memory_mib();
        eprintln!("{path}: {peak} MiB");
        // For a build without optimisation on a busy machine; `make bench` requires 128 MiB of the release build.
        assert!(peak <= 160, "{path}: {peak} MiB");
        drop(clients);
        eventually(
            "the budget is free again",
            Duration::from_secs(5),
            async || buffered_bytes(&server).await == 0,
        )
        .await;
        assert_eq!(server.status(path).await, 200);
    }
}

async fn beyond_the_budget_large_responses_are_rejected_and_small_ones_are_sent(
    database: Database,
) {
    let variables = [("RESPONSE_BUFFER_BYTES", "1000000")];
    let (server, _file) = with_principals(&database, &variables).await;
    create_large_orders(&server, 20).await;
    // Larger than the whole budget: accepted while no other response uses it.
    let page: Vec<Value> = server.get("/api/v1/orders?limit=20").await.json();
    assert_eq!(page.len(), 20);
    let slow = request_without_reading(&server, "/api/v1/orders?limit=19").await;
    eventually(
        "the response is buffered",
        Duration::from_secs(5),
        async || buffered_bytes(&server).await > 900_000,
    )
    .await;
    let rejected = problem(server.get("/api/v1/orders?limit=2").await);
    assert_eq!(problem_kind(&rejected), "rate-limited");
    let rejected = problem(get_as(&server, "a", "/api/v1/orders?limit=2").await);
    assert_eq!(problem_kind(&rejected), "overloaded");
    assert_eq!(server.status("/readyz").await, 200);
    let small = server.create("small").await;
    let path = order_path(&small);
    assert_eq!(server.status(&path).await, 200);
    drop(slow);
    eventually(
        "the budget is free again",
        Duration::from_secs(5),
        async || server.status("/api/v1/orders?limit=2").await == 200,
    )
    .await;
}

async fn a_write_that_is_committed_is_reported_although_the_share_is_used_up(database: Database) {
    let server = Server::start(&database, &[("RESPONSE_BUFFER_BYTES", "1000000")]).await;
    create_large_orders(&server, 20).await;
    // Alone, a principal may hold half. The page is less than that, and with another document it is more.
    let _slow = request_without_reading(&server, "/api/v1/orders?limit=9").await;
    eventually(
        "the response is buffered",
        Duration::from_secs(5),
        async || buffered_bytes(&server).await > 440_000,
    )
    .await;
    let large = large_order(30);
    let created = server.post_with_key("key", &large).await;
    assert_eq!(created.status(), 201, "{created:?}");
    let order: Value = created.json();
    let replay = server.post_with_key("key", &large).await;
    assert_eq!(replay.status(), 201, "{replay:?}");
    assert_eq!(replay.json::<Value>(), order);
    let path = order_path(&order);
    let updated = server.patch(&path, &json!({"quantity": 7})).await;
    assert_eq!(updated.status(), 200, "{updated:?}");
    assert_eq!(updated.json::<Value>()["quantity"], 7);
    let rejected = problem(server.get(&path).await);
    assert_eq!(problem_kind(&rejected), "rate-limited");
    assert!(buffered_bytes(&server).await > 440_000);
}

async fn a_large_write_beyond_the_share_is_rejected_before_it_is_stored(database: Database) {
    let variables = [("RESPONSE_BUFFER_BYTES", "1000000")];
    let (server, _file) = with_principals(&database, &variables).await;
    create_large_orders(&server, 20).await;
    let order = server.create("small").await;
    let path = order_path(&order);
    let _slow = request_without_reading(&server, "/api/v1/orders?limit=20").await;
    eventually(
        "the response is buffered",
        Duration::from_secs(5),
        async || buffered_bytes(&server).await > 900_000,
    )
    .await;
    let rejected = problem(server.post(&large_order(30)).await);
    assert_eq!(problem_kind(&rejected), "rate-limited");
    let rejected = problem(server.patch(&path, &json!({"quantity": 7})).await);
    assert_eq!(problem_kind(&rejected), "rate-limited");
    // Nothing was stored, and what is small does not use the budget.
    assert_eq!(server.get(&path).await.json::<Value>(), order);
    assert_eq!(database.count("orders").await, 21);
    server.create("small").await;
    // Others have their own shares.
    let request = server.client.post(server.url("/api/v1/orders"));
    let request = request.header("authorization", credential("a"));
    let created = request.json(&large_order(30)).send().await.unwrap();
    assert_eq!(created.status(), 201, "{created:?}");
}

#[tokio::test]
async fn a_connection_whose_client_reads_nothing_is_closed_after_half_a_minute() {
    let server = Server::on_sqlite(&[]).await;
    create_large_orders(&server, 20).await;
    let mut unread = request_without_reading(&server, "/api/v1/orders?limit=20").await;
    let mut slow = request_without_reading(&server, "/api/v1/orders?limit=20").await;
    let start = Instant::now();
    eventually(
        "both responses are buffered",
        Duration::from_secs(5),
        async || buffered_bytes(&server).await > 1 << 20,
    )
    .await;
    let mut part = vec![0; 20_000];
    while start.elapsed() < Duration::from_secs(28) {
        tokio::time::sleep(Duration::from_secs(2)).await;
        slow.stream.read_exact(&mut part).await.unwrap();
    }
    assert!(
        buffered_bytes(&server).await > 1 << 20,
        "both connections are still open"
    );
    let half = buffered_bytes(&server).await / 2;
    eventually(
        "one connection is closed",
        Duration::from_secs(6),
        async || buffered_bytes(&server).await <= half,
    )
    .await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        slow.stream.read_exact(&mut part).await.unwrap();
    }
    let mut rest = Vec::new();
    slow.stream.read_buf(&mut rest).await.unwrap();
    let _ = unread.stream.read_to_end(&mut Vec::new()).await;
    assert_eq!(server.status("/healthz").await, 200);
}
