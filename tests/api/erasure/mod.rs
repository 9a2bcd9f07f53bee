//! Erasure of the personal data of a customer.

mod archived;
mod crashes;
mod effects;
mod interleavings;
mod large;
mod requests;
mod streams;
mod traces;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::Server;

/// The path of a customer.
fn customer_path(customer_id: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(customer_id.as_bytes()).collect();
    format!("/api/v1/customers/{}", encoded.replace('+', "%20"))
}

/// Requests an erasure and returns its path.
async fn request(server: &Server, customer_id: &str) -> String {
    let response = server.delete(&customer_path(customer_id)).await;
    assert_eq!(response.status(), 202, "{response:?}");
    let location = response.header("location").to_owned();
    let erasure: Value = response.json();
    let id = erasure["id"].as_str().unwrap();
    assert_eq!(location, format!("/api/v1/erasures/{id}"));
    location
}

/// Waits until an erasure is done and returns it.
async fn done(server: &Server, path: &str) -> Value {
    eventually("the erasure is done", Duration::from_secs(60), async || {
        let erasure: Value = server.get(path).await.json();
        erasure["state"] == "done"
    })
    .await;
    server.get(path).await.json()
}

/// Erases a customer.
async fn erase(server: &Server, customer_id: &str) -> Value {
    let path = request(server, customer_id).await;
    done(server, &path).await
}

/// An order of a customer with all kinds of personal data. `name` makes them unique.
fn personal_order(customer_id: &str, name: &str) -> Value {
    json!({
        "items": [
            {"product_id": "sku-1", "quantity": 2, "unit_amount": 250},
            {"product_id": "sku-2", "quantity": 1, "unit_amount": -100},
        ],
        "currency": "EUR",
        "external_id": format!("external-{name}"),
        "customer_id": customer_id,
        "metadata": {"note": format!("metadata-{name}")},
    })
}

/// The orders of a customer.
async fn orders_of(server: &Server, customer_id: &str) -> Vec<Value> {
    let encoded: String = form_urlencoded::byte_serialize(customer_id.as_bytes()).collect();
    let path = format!("/api/v1/orders?customer_id={encoded}");
    server.get(&path).await.json()
}

/// The events of an order.
async fn events_of(server: &Server, order_path: &str) -> Vec<Value> {
    server.get(&format!("{order_path}/events")).await.json()
}

/// Checks the invariants of orders and events that the erasure must keep.
async fn expect_consistent(database: &Database) {
    let bytes = |column: &str| {
        if database.is_postgres() {
            format!("octet_length({column}::text)")
        } else {
            format!("length(CAST({column} AS BLOB))")
        }
    };
    let data = bytes("data");
    for (what, condition) in [
        (
            "an order has one event for each version",
            "SELECT count(*) FROM orders o WHERE version <> (SELECT count(*) FROM events e
                WHERE e.tenant = o.tenant AND e.order_id = o.id AND e.version <= o.version)"
                .to_owned(),
        ),
        (
            "no event is newer than its order",
            "SELECT count(*) FROM events e JOIN orders o ON e.tenant = o.tenant AND e.order_id = o.id
                WHERE e.version > o.version"
                .to_owned(),
        ),
        (
            "a version is an event once",
            "SELECT count(*) FROM (SELECT 1 FROM events GROUP BY tenant, order_id, version HAVING count(*) > 1) AS twice"
                .to_owned(),
        ),
        (
            "events have the length of their data",
            format!("SELECT count(*) FROM events WHERE data_bytes <> {data}"),
        ),
        (
            "orders have the length of their last event",
            "SELECT count(*) FROM orders o JOIN events e ON e.tenant = o.tenant AND e.order_id = o.id
                AND e.version = o.version WHERE e.data_bytes <> o.json_bytes"
                .to_owned(),
        ),
        ("no order is left in the worklist", "SELECT count(*) FROM erasure_orders".to_owned()),
        (
            "no order is erased twice",
            "SELECT count(*) FROM (SELECT 1 FROM events WHERE event_type = 'erased' GROUP BY tenant, order_id
                HAVING count(*) > 1) AS twice"
                .to_owned(),
        ),
    ] {
        assert_eq!(database.number(&condition).await, 0, "{what}");
    }
}
