//! Fuzz target: the body of a batch.
#![allow(clippy::expect_used, reason = "a target fails by a panic")]

use serde_json::Value;

use super::body::OrderBatch;
use super::element::IDEMPOTENCY_KEY;
use crate::api::fuzz::{check_problem, read_order, value_of};
use crate::http::request::body::Body as _;

/// Each order of a batch is the order that the same JSON, without the key, is in a request of its own.
pub(crate) fn order_batch(json: &[u8]) {
    let OrderBatch(orders) = match OrderBatch::parse(json) {
        Ok(batch) => batch,
        Err(problem) => return check_problem(&problem, json),
    };
    let Some(mut value) = value_of(json) else {
        return;
    };
    let elements = value
        .get_mut("orders")
        .and_then(Value::as_array_mut)
        .expect("an accepted batch has orders");
    assert!((1..=100).contains(&orders.len()));
    assert_eq!(orders.len(), elements.len());
    for (order, element) in orders.into_iter().zip(elements) {
        let Ok(order) = order else { continue };
        let members = element.as_object_mut().expect("an order is an object");
        let key = members.remove(IDEMPOTENCY_KEY).unwrap_or_default();
        assert_eq!(key.is_null(), order.idempotency.is_none());
        let alone = read_order(element.to_string().as_bytes());
        assert_eq!(alone, Ok(order.new));
    }
}
