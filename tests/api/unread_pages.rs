//! Pages that clients request and do not read take a bounded amount of memory.

use std::time::Duration;

use serde_json::json;

use super::response_budget::{buffered_bytes, create_large_orders, request_without_reading};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::{large_order, order_path};
use crate::support::raw_client::RawClient;
use crate::support::server::Server;

crate::on_both!(
    unread_pages_of_events_take_a_bounded_amount_of_memory,
    unread_pages_of_orders_take_a_bounded_amount_of_memory,
);

/// The limit for a build without optimisation. `make bench` requires 128 MiB of the release build.
const MAX_MEMORY_MIB: usize = 160;

/// Sends a request and resets the connection at once.
async fn request_and_reset(server: &Server, path: &str) {
    let mut client = RawClient::connect(&server.api).await;
    client
        .send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        .await;
    client.stream.set_zero_linger().unwrap();
}

/// Requests a page by 200 clients that read nothing and by 200 that reset their connection, and checks the memory.
async fn expect_bounded_memory(server: &Server, path: &str) {
    let mut unread = Vec::new();
    for _ in 0..200 {
        unread.push(request_without_reading(server, path).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.status("/healthz").await, 200);
    drop(unread);
    for _ in 0..200 {
        request_and_reset(server, path).await;
    }
    eventually(
        "the whole budget is free again",
        Duration::from_secs(20),
        async || buffered_bytes(server).await == 0 && server.status(path).await == 200,
    )
    .await;
    let peak = server.peak_memory_mib();
    eprintln!("{path}: {peak} MiB");
    assert!(peak <= MAX_MEMORY_MIB, "{path}: {peak} MiB");
}

async fn unread_pages_of_events_take_a_bounded_amount_of_memory(database: Database) {
    let server = Server::start(&database, &[]).await;
    create_large_orders(&server, 40).await;
    expect_bounded_memory(&server, "/api/v1/events").await;
    // An order whose events fill a page.
    let order = server.post(&large_order(25)).await;
    let order: serde_json::Value = order.json();
    let path = order_path(&order);
    for quantity in 2..30 {
        let updated = server.patch(&path, &json!({ "quantity": quantity })).await;
        assert_eq!(updated.status(), 200);
    }
    expect_bounded_memory(&server, &format!("{path}/events")).await;
}

async fn unread_pages_of_orders_take_a_bounded_amount_of_memory(database: Database) {
    let server = Server::start(&database, &[]).await;
    create_large_orders(&server, 40).await;
    for path in ["/api/v1/orders", "/api/v1/orders?product_id=large"] {
        expect_bounded_memory(&server, path).await;
    }
}
