//! Pages that are read for clients that do not take them are bounded in memory.

use std::time::Duration;

use serde_json::json;

use super::response_budget::{ask, place, waiting};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::raw::Raw;
use crate::support::server::Server;

crate::on_both!(
    pages_of_the_feed_for_clients_that_do_not_take_them_do_not_fill_the_memory,
    pages_of_orders_for_clients_that_do_not_take_them_do_not_fill_the_memory,
);

/// The most memory that a build without optimisation may take, in MiB. `make bench` holds the release to 128.
const MOST: usize = 160;

/// Asks, and resets the connection at once.
async fn ask_and_reset(server: &Server, path: &str) {
    let mut client = Raw::to(&server.api).await;
    client
        .send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    client.stream.set_zero_linger().unwrap();
}

/// 200 clients that read nothing, and as many that are gone as soon as they have asked.
async fn bad_clients(server: &Server, path: &str) {
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(ask(server, path).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(server.status("/healthz").await, 200);
    drop(silent);
    for _ in 0..200 {
        ask_and_reset(server, path).await;
    }
    eventually("all is free again", Duration::from_secs(20), async || {
        waiting(server).await == 0 && server.status(path).await == 200
    })
    .await;
    let peak = server.peak_mib();
    eprintln!("{path}: {peak} MiB");
    assert!(peak <= MOST, "{path}: {peak} MiB");
}

async fn pages_of_the_feed_for_clients_that_do_not_take_them_do_not_fill_the_memory(
    database: Database,
) {
    let server = Server::start(&database, &[]).await;
    place(&server, 40).await;
    bad_clients(&server, "/api/v1/events").await;
    // One order with a page of large events.
    let order = server.post(&super::response_budget::large_order()).await;
    let order: serde_json::Value = order.json();
    let path = format!("/api/v1/orders/{}", order["id"].as_str().unwrap());
    for quantity in 2..30 {
        let patch = server.client.patch(server.url(&path));
        let patch = patch.json(&json!({ "quantity": quantity })).send().await;
        assert_eq!(patch.unwrap().status(), 200);
    }
    bad_clients(&server, &format!("{path}/events")).await;
}

async fn pages_of_orders_for_clients_that_do_not_take_them_do_not_fill_the_memory(
    database: Database,
) {
    let server = Server::start(&database, &[]).await;
    place(&server, 40).await;
    for path in ["/api/v1/orders", "/api/v1/orders?product_id=large"] {
        bad_clients(&server, path).await;
    }
}
