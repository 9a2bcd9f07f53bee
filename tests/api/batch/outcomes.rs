//! Each order has the outcome that it would have in a request of its own.

use std::time::Duration;

use serde_json::{Value, json};

use super::{batch_request, orders, outcomes, post_batch, post_text, results};
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::{large_order, order, order_path};
use crate::support::problem::problem;
use crate::support::server::Server;

crate::on_both!(
    results_are_in_the_order_of_the_request,
    an_invalid_order_has_the_problem_of_a_single_request,
    orders_are_those_of_single_requests,
    each_order_has_one_event_with_the_trace_of_the_request,
    a_batch_without_a_valid_order_creates_nothing,
);

async fn results_are_in_the_order_of_the_request(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut batch = orders(100);
    // Some at both ends and some next to each other.
    let invalid = [0, 1, 2, 17, 50, 51, 98, 99];
    for index in invalid {
        batch[index]["quantity"] = 0.into();
    }
    let response = post_batch(&server, &batch).await;
    assert_eq!(response.header("content-type"), "application/json");
    let results = results(&response);
    assert_eq!(results.len(), 100);
    for (index, (result, (status, kind))) in results.iter().zip(outcomes(&results)).enumerate() {
        if invalid.contains(&index) {
            assert_eq!((status, kind), (422, "validation-failed"), "{index}");
            let pointer = &result["problem"]["errors"][0]["pointer"];
            assert_eq!(*pointer, format!("/orders/{index}/quantity"));
        } else {
            assert_eq!(status, 201, "{index}");
            assert_eq!(result["order"]["product_id"], format!("sku-{index}"));
            let stored = server.get(&order_path(&result["order"])).await;
            assert_eq!(stored.json::<Value>(), result["order"]);
        }
    }
    let created = 100 - invalid.len();
    assert_eq!(
        database.count("orders").await,
        i64::try_from(created).unwrap()
    );
    let metrics = server.scrape().await;
    for line in [
        format!("\norders_created_total {created}\n"),
        "\nhttp_requests_total{method=\"POST\",path=\"/api/v1/orders/batch\",status=\"200\"} 1\n"
            .to_owned(),
    ] {
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

/// JSON of orders that are not accepted.
fn invalid_orders() -> Vec<String> {
    let many: serde_json::Map<String, Value> =
        (0..51).map(|i| (i.to_string(), json!(""))).collect();
    let values = [
        json!({}),
        json!({"product_id": "a"}),
        json!({"product_id": "a", "quantity": "1"}),
        json!({"product_id": "a", "quantity": 1.5}),
        json!({"product_id": " ", "quantity": 0, "customer_id": "\u{7}", "metadata": {"": "v"}}),
        json!({"product_id": "a", "quantity": 1, "customer_id": 7}),
        json!({"product_id": "a", "quantity": 1, "status": "shipped"}),
        json!({"product_id": "a", "quantity": 1, "metadata": {"a/b~c": 1}}),
        json!({"product_id": "a", "quantity": 1, "metadata": many}),
        json!({"items": []}),
        json!({"items": [{"product_id": "a", "quantity": 1}], "quantity": 1}),
        json!({"items": [{"product_id": "a", "quantity": 1}, {"product_id": "a"}]}),
        json!({"items": [{"product_id": "a", "quantity": 1}, {"product_id": "a", "quantity": 0}]}),
        json!({"product_id": "a", "quantity": 1, "unit_amount": 1}),
        json!({"product_id": "a", "quantity": 1, "unit_amount": -1, "currency": "EUR"}),
        json!([]),
        json!(["a", 1]),
        json!(null),
        json!("a"),
        json!(7),
    ];
    let mut texts: Vec<_> = values.iter().map(Value::to_string).collect();
    texts.extend(
        [
            r#"{"product_id":"a","quantity":1,"quantity":2}"#,
            r#"{"product_id":"a","quantity":1e400}"#,
            r#"{"product_id":"a","quantity":1,"metadata":{"k":"1","k":"2"}}"#,
            r#"{"product_id":"half of a pair: \ud800","quantity":1}"#,
        ]
        .map(str::to_owned),
    );
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    texts.push(format!(
        r#"{{"product_id":"a","quantity":1,"metadata":{deep}}}"#
    ));
    texts.push(deep);
    texts
}

async fn an_invalid_order_has_the_problem_of_a_single_request(database: Database) {
    let server = Server::start(&database, &[]).await;
    const GOOD: &str = r#"{"product_id":"good","quantity":1}"#;
    let send = async |path: &str, body: String| {
        let request = server.client.post(server.url(path));
        let request = request.header("content-type", "application/json");
        let request = request.header("x-request-id", "same");
        request.body(body).send().await.unwrap()
    };
    let mut created = 0;
    for invalid in invalid_orders() {
        let mut expected = problem(send("/api/v1/orders", invalid.clone()).await);
        let errors = expected.get_mut("errors").and_then(Value::as_array_mut);
        for error in errors.into_iter().flatten() {
            let pointer = format!("/orders/1{}", error["pointer"].as_str().unwrap());
            error["pointer"] = pointer.into();
        }
        expected["instance"] = super::BATCH.into();
        let detail = expected["detail"].as_str().unwrap();
        expected["detail"] = detail
            .replace("The body is not JSON", "The order is not JSON")
            .into();
        let batch = format!(r#"{{"orders":[{GOOD},{invalid},{GOOD}]}}"#);
        let results = results(&send(super::BATCH, batch).await);
        let status = expected["status"].as_u64().unwrap();
        let statuses: Vec<_> = outcomes(&results)
            .iter()
            .map(|(status, _)| *status)
            .collect();
        assert_eq!(statuses, [201, status, 201], "{invalid}");
        assert_eq!(results[1]["problem"], expected, "{invalid}");
        created += 2;
    }
    assert_eq!(database.count("orders").await, created);
    assert_eq!(database.count("events").await, created);
}

async fn orders_are_those_of_single_requests(database: Database) {
    let server = Server::start(&database, &[]).await;
    let bodies = [
        order("sku-1"),
        json!({"product_id": "\u{1F600}\"\\", "quantity": 1_000_000, "customer_id": "c"}),
        json!({"product_id": "\u{e9}", "quantity": 3.0, "customer_id": null, "metadata": {"a": "\n", "b": ""}}),
        large_order(2),
        json!({
            "items": [
                {"product_id": "sku-1", "quantity": 2, "unit_amount": 1250},
                {"product_id": "discount", "quantity": 1, "unit_amount": -500},
            ],
            "currency": "EUR",
        }),
    ];
    let results = results(&post_batch(&server, &bodies).await);
    for (body, result) in bodies.iter().zip(results) {
        let mut single: Value = server.post(body).await.json();
        for differs in ["id", "created_at", "updated_at"] {
            single[differs] = result["order"][differs].clone();
        }
        assert_eq!(single.to_string(), result["order"].to_string());
    }
}

async fn each_order_has_one_event_with_the_trace_of_the_request(database: Database) {
    let server = Server::start(&database, &[]).await;
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = batch_request(&server, &orders(30)).header("traceparent", TRACE);
    let results = results(&request.send().await.unwrap());
    for result in &results {
        let path = format!("{}/events", order_path(&result["order"]));
        let events: Vec<Value> = server.get(&path).await.json();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["data"], result["order"]);
        assert_eq!(events[0]["type"], "order.created");
        assert_eq!(events[0]["traceparent"], TRACE);
    }
    // On PostgreSQL, events wait for older transactions of the whole cluster.
    eventually(
        "the feed has the events",
        Duration::from_secs(10),
        async || {
            let feed: Vec<Value> = server.get("/api/v1/events?limit=100").await.json();
            feed.len() == 30
        },
    )
    .await;
}

async fn a_batch_without_a_valid_order_creates_nothing(database: Database) {
    let server = Server::start(&database, &[]).await;
    let results = results(&post_text(&server, r#"{"orders":[{},{}]}"#).await);
    assert_eq!(outcomes(&results), [(422, "validation-failed"); 2]);
    assert_eq!(database.count("orders").await, 0);
}
