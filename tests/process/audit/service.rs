//! Audits while a service writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::Method;
use serde_json::json;

use super::consistent;
use crate::support::database::Database;
use crate::support::orders::{order_id, order_path};
use crate::support::server::Server;

crate::on_both!(audits_find_nothing_while_a_service_writes);

/// The number of audits. Each reads a few ranges, and orders change between and during the reads.
const ROUNDS: usize = 25;
const EVENTS: u64 = 400;
const WRITERS: usize = 6;

async fn audits_find_nothing_while_a_service_writes(database: Database) {
    let server = Arc::new(Server::start(&database, &[]).await);
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(Arc::clone(&server), writer, Arc::clone(&stop))))
        .collect();
    let database = tokio::task::spawn_blocking(move || {
        let mut last = 0;
        let mut rounds = 0;
        // On a slow machine, more rounds until enough was written.
        while rounds < ROUNDS || last < EVENTS {
            let report = consistent(&database);
            last = report["checked"]["events"].as_u64().unwrap();
            rounds += 1;
        }
        database
    })
    .await
    .unwrap();
    stop.store(true, Ordering::Relaxed);
    let mut orders = 0;
    for writer in writers {
        orders += writer.await.unwrap();
    }
    let report = consistent(&database);
    assert_eq!(report["checked"]["orders"], orders);
}

/// Creates orders with keys, changes them, and erases their customers, until it is stopped. Returns their number.
async fn write(server: Arc<Server>, writer: usize, stop: Arc<AtomicBool>) -> u64 {
    let mut orders = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = json!({
            "currency": "EUR", "external_id": format!("{writer}-{orders}"), "customer_id": format!("customer-{writer}-{}", orders / 5),
            "items": [
                {"product_id": "a", "quantity": 1, "unit_amount": 5},
                {"product_id": "b", "quantity": 2, "unit_amount": 5},
            ],
        });
        let key = format!("{writer}-{orders}");
        let created = server.post_with_key(&key, &body).await;
        assert_eq!(created.status(), 201);
        orders += 1;
        let order: serde_json::Value = created.json();
        assert!(!order_id(&order).is_empty());
        let path = order_path(&order);
        for body in [
            json!({"items": [{"product_id": "b", "quantity": 1, "unit_amount": 7}]}),
            json!({"status": "confirmed", "metadata": {"k": "v"}}),
            json!({"status": "shipped"}),
        ] {
            let status = server.patch(&path, &body).await.status();
            assert_eq!(status, 200);
        }
        if orders % 5 == 0 {
            // The customer of the last five orders.
            let path = format!("/api/v1/customers/customer-{writer}-{}", orders / 5 - 1);
            let erase = server.client.request(Method::DELETE, server.url(&path));
            assert_eq!(erase.send().await.unwrap().status(), 202);
        }
    }
    orders
}
