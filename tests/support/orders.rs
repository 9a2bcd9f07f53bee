//! Orders to send.

use serde_json::{Map, Value, json};

/// The smallest order.
pub fn order(product_id: &str) -> Value {
    json!({"product_id": product_id, "quantity": 1})
}

/// The smallest order with an external id.
pub fn order_with_external_id(product_id: &str, external_id: &str) -> Value {
    json!({"product_id": product_id, "quantity": 1, "external_id": external_id})
}

/// An order of about 2 KB for each of its entries of metadata. Values are limited in characters, so each has the
/// 500 that are allowed, of four bytes. An order may have up to 50 entries.
pub fn large_order(entries: usize) -> Value {
    let value = "\u{1F600}".repeat(500);
    let metadata: Map<_, _> = (0..entries)
        .map(|i| (format!("key-{i}"), value.clone().into()))
        .collect();
    json!({"product_id": "large", "quantity": 1, "metadata": metadata})
}

/// The id in the body of a response that holds an order.
pub fn order_id(order: &Value) -> &str {
    order["id"].as_str().unwrap()
}

/// The path of an order.
pub fn order_path(order: &Value) -> String {
    format!("/api/v1/orders/{}", order_id(order))
}
