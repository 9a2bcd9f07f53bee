//! Many orders in one request.

mod admission;
mod bodies;
mod faults;
mod keys;
mod outcomes;

use serde_json::{Value, json};

use crate::support::client::{Request, Response};
use crate::support::orders::order;
use crate::support::problem::problem_kind;
use crate::support::server::Server;

const BATCH: &str = "/api/v1/orders/batch";

fn batch_request(server: &Server, orders: &[Value]) -> Request {
    let request = server.client.post(server.url(BATCH));
    request.json(&json!({ "orders": orders }))
}

async fn post_batch(server: &Server, orders: &[Value]) -> Response {
    batch_request(server, orders).send().await.unwrap()
}

/// Sends a body that the client does not make from orders.
async fn post_text(server: &Server, body: impl Into<reqwest::Body>) -> Response {
    let request = server.client.post(server.url(BATCH));
    let request = request.header("content-type", "application/json");
    request.body(body).send().await.unwrap()
}

/// The results in a response with status 200.
fn results(response: &Response) -> Vec<Value> {
    assert_eq!(response.status(), 200, "{response:?}");
    let mut body: Value = response.json();
    let Value::Array(results) = body["results"].take() else {
        panic!("{response:?}");
    };
    results
}

/// The status and the problem kind of each result; the kind of an order is empty.
fn outcomes(results: &[Value]) -> Vec<(u64, &str)> {
    let outcome = |result: &'_ Value| -> u64 {
        let status = result["status"].as_u64().unwrap();
        let (order, problem) = (result.get("order"), result.get("problem"));
        assert_eq!(order.is_some(), status == 201, "{result}");
        assert_eq!(problem.is_some(), status != 201, "{result}");
        status
    };
    let each = results.iter().map(|result| {
        let kind = result.get("problem").map_or("", problem_kind);
        (outcome(result), kind)
    });
    each.collect()
}

/// An order with a key.
fn keyed(product_id: &str, key: &str) -> Value {
    let mut order = order(product_id);
    order["idempotency_key"] = key.into();
    order
}

/// Whether a result is a replay.
fn is_replay(result: &Value) -> bool {
    let replayed = result.get("idempotency_replayed");
    assert!(replayed.is_none_or(|value| *value == true), "{result}");
    replayed.is_some()
}

/// `count` orders of the products `sku-0`, `sku-1` and so on.
fn orders(count: usize) -> Vec<Value> {
    (0..count).map(|i| order(&format!("sku-{i}"))).collect()
}
