//! The lines of orders: the two forms of a body, limits and pointers, and where lines appear.

mod amounts;
mod filter;
mod longest_order;
mod model;
mod numbers;
mod snapshots;
mod updates;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::events::read_events;
use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    a_body_with_one_product_means_the_same_as_one_line,
    a_retry_in_the_other_form_is_a_replay,
    an_order_of_several_lines_has_no_product_and_no_quantity_of_its_own,
    an_order_has_one_to_a_hundred_lines,
    every_violation_in_a_line_has_its_pointer,
    the_two_forms_of_a_body_exclude_each_other,
    reads_events_and_replays_have_the_lines_and_the_total,
);

/// Creates an order and returns it.
async fn create(server: &Server, body: &Value) -> Value {
    let response = server.post(body).await;
    assert_eq!(response.status(), 201, "{body} {response:?}");
    response.json()
}

/// Sends a body as text, which can have what `Value` cannot.
async fn post_text(server: &Server, body: &str) -> Response {
    let request = server.client.post(server.url("/api/v1/orders"));
    let request = request.header("content-type", "application/json");
    request.body(body.to_owned()).send().await.unwrap()
}

/// The pointers of a response that reports violations.
fn pointers(response: Response) -> Vec<String> {
    assert_eq!(response.status(), 422, "{response:?}");
    let rejected = problem(response);
    assert_eq!(problem_kind(&rejected), "validation-failed", "{rejected}");
    let errors = rejected["errors"].as_array().unwrap();
    assert!(errors.iter().all(|error| error["detail"] != ""));
    let pointers = errors.iter().map(|error| error["pointer"].as_str());
    pointers
        .map(|pointer| pointer.unwrap().to_owned())
        .collect()
}

/// The events of the feed, once it has this many. On PostgreSQL it waits for earlier transactions of the cluster.
async fn feed(server: &Server, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let events = read_events(server, "/api/v1/events").await;
        if events.len() >= count {
            return events;
        }
        assert!(Instant::now() < deadline, "{events:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An order without the members that differ between two equal requests.
fn without_identity(mut order: Value) -> Value {
    for member in ["id", "created_at", "updated_at"] {
        assert_ne!(order[member].take(), Value::Null);
    }
    order
}

/// Pairs of bodies with the same meaning.
fn equal_bodies() -> [(Value, Value); 3] {
    let metadata = json!({"colour": "blue"});
    [
        (
            json!({"product_id": "a", "quantity": 3}),
            json!({"items": [{"product_id": "a", "quantity": 3}]}),
        ),
        (
            json!({"product_id": "a", "quantity": 3, "unit_amount": null, "currency": null}),
            json!({"items": [{"product_id": "a", "quantity": 3, "unit_amount": null}], "external_id": null}),
        ),
        (
            json!({"product_id": "a", "quantity": 3, "unit_amount": 250, "currency": "EUR", "metadata": metadata}),
            json!({"items": [{"product_id": "a", "quantity": 3, "unit_amount": 250}], "currency": "EUR",
                "customer_id": null, "metadata": metadata}),
        ),
    ]
}

async fn a_body_with_one_product_means_the_same_as_one_line(database: Database) {
    let server = Server::start(&database, &[]).await;
    for (short, long) in equal_bodies() {
        let (short, long) = (create(&server, &short).await, create(&server, &long).await);
        assert_eq!(
            (&short["product_id"], &short["quantity"]),
            (&json!("a"), &json!(3))
        );
        assert_eq!(without_identity(short), without_identity(long));
    }
}

async fn a_retry_in_the_other_form_is_a_replay(database: Database) {
    let server = Server::start(&database, &[]).await;
    for (i, (short, long)) in equal_bodies().into_iter().enumerate() {
        for (j, [first, retry]) in [[&short, &long], [&long, &short]].into_iter().enumerate() {
            let key = format!("{i}-{j}");
            let created = server.post_with_key(&key, first).await;
            assert_eq!(created.headers().get("idempotency-replayed"), None);
            let replay = server.post_with_key(&key, retry).await;
            assert_eq!((replay.status(), replay.text()), (201, created.text()));
            assert_eq!(replay.header("idempotency-replayed"), "true");
        }
    }
    assert_eq!(database.count("orders").await, 6);
    // Amounts, the order of lines, and the currency are part of the meaning.
    let line = |product: &str, amount: i64| json!({"product_id": product, "quantity": 1, "unit_amount": amount});
    let body = json!({"items": [line("a", 1), line("b", 2)], "currency": "EUR"});
    assert_eq!(server.post_with_key("k", &body).await.status(), 201);
    for other in [
        json!({"items": [line("b", 2), line("a", 1)], "currency": "EUR"}),
        json!({"items": [line("a", 2), line("b", 1)], "currency": "EUR"}),
        json!({"items": [line("a", 1), line("b", 2)], "currency": "USD"}),
        json!({"items": [line("a", 1), line("b", 2)], "currency": "EUR", "external_id": "x"}),
        json!({"items": [{"product_id": "a", "quantity": 1}, {"product_id": "b", "quantity": 1}]}),
        json!({"items": [line("a", 1)], "currency": "EUR"}),
    ] {
        let rejected = problem(server.post_with_key("k", &other).await);
        assert_eq!(problem_kind(&rejected), "idempotency-key-reused", "{other}");
    }
}

async fn an_order_of_several_lines_has_no_product_and_no_quantity_of_its_own(database: Database) {
    let server = Server::start(&database, &[]).await;
    let items = json!([
        {"product_id": "sku-2", "quantity": 2, "unit_amount": 1500},
        {"product_id": "sku-1", "quantity": 1, "unit_amount": 99},
        {"product_id": "sku-2", "quantity": 1, "unit_amount": -500},
    ]);
    let order = create(&server, &json!({"items": items, "currency": "EUR"})).await;
    assert_eq!(order["items"], items);
    assert_eq!(
        (&order["product_id"], &order["quantity"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&order["currency"], &order["total_amount"]),
        (&json!("EUR"), &json!(2599))
    );
    let read: Value = server.get(&order_path(&order)).await.json();
    assert_eq!(read, order);
    assert_eq!(
        server.get("/api/v1/orders").await.json::<Value>(),
        json!([order])
    );
}

async fn an_order_has_one_to_a_hundred_lines(database: Database) {
    let server = Server::start(&database, &[]).await;
    let lines = |n: u64| -> Value {
        let line = |i| json!({"product_id": format!("p{i}"), "quantity": i + 1, "unit_amount": 1});
        (0..n).map(line).collect()
    };
    for n in [1, 2, 100] {
        let order = create(&server, &json!({"items": lines(n), "currency": "JPY"})).await;
        assert_eq!(
            (&order["items"], &order["total_amount"]),
            (&lines(n), &json!(n * (n + 1) / 2))
        );
        assert_eq!(server.get(&order_path(&order)).await.json::<Value>(), order);
    }
    for n in [0, 101, 150] {
        let response = server
            .post(&json!({"items": lines(n), "currency": "JPY"}))
            .await;
        assert_eq!(pointers(response), ["/items"], "{n}");
    }
    assert_eq!(database.count("order_items").await, 103);
}

async fn every_violation_in_a_line_has_its_pointer(database: Database) {
    let server = Server::start(&database, &[]).await;
    let good = json!({"product_id": "a", "quantity": 1});
    // Each rule by itself, in the fourth line. A value of the wrong type is reported alone.
    for (line, pointer) in [
        (
            json!({"product_id": "a", "quantity": 0}),
            "/items/3/quantity",
        ),
        (
            json!({"product_id": "a", "quantity": 1_000_001}),
            "/items/3/quantity",
        ),
        (
            json!({"product_id": "a", "quantity": "1"}),
            "/items/3/quantity",
        ),
        (
            json!({"product_id": "a", "quantity": null}),
            "/items/3/quantity",
        ),
        (
            json!({"product_id": " ", "quantity": 1}),
            "/items/3/product_id",
        ),
        (
            json!({"product_id": "\0", "quantity": 1}),
            "/items/3/product_id",
        ),
        (
            json!({"product_id": "x".repeat(129), "quantity": 1}),
            "/items/3/product_id",
        ),
        (
            json!({"product_id": null, "quantity": 1}),
            "/items/3/product_id",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "unit_amount": "1"}),
            "/items/3/unit_amount",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "price": 1}),
            "/items/3/price",
        ),
        (
            json!({"product_id": "a", "quantity": 1, "line": 4}),
            "/items/3/line",
        ),
        (json!({"product_id": "a"}), "/items/3"),
        (json!({"quantity": 1}), "/items/3"),
        (json!({}), "/items/3"),
        (json!(null), "/items/3"),
        (json!("a"), "/items/3"),
        // serde accepts an array for a struct.
        (json!(["a", 1]), "/items/3"),
        (json!(["a", 1, null]), "/items/3"),
    ] {
        let body = json!({"items": [good, good, good, line]});
        assert_eq!(pointers(server.post(&body).await), [pointer], "{line}");
    }
    for items in [json!(null), json!({}), json!("a"), json!({"0": good})] {
        let body = json!({"items": items});
        assert_eq!(pointers(server.post(&body).await), ["/items"], "{items}");
    }
    // All violations together, also those of other members.
    let body = json!({
        "items": [
            {"product_id": "", "quantity": 0, "unit_amount": 1},
            {"product_id": "a", "quantity": 1},
            {"product_id": "a", "quantity": 1, "unit_amount": 1_000_000_000_001_i64},
        ],
        "currency": "eur", "external_id": "", "customer_id": " ", "metadata": {"a/b": "\0"},
    });
    assert_eq!(
        pointers(server.post(&body).await),
        [
            "/items/0/product_id",
            "/items/0/quantity",
            "/items/1/unit_amount",
            "/items/2/unit_amount",
            "/currency",
            "/external_id",
            "/customer_id",
            "/metadata/a~1b",
        ]
    );
    assert_eq!(database.count("order_items").await, 0);
}

async fn the_two_forms_of_a_body_exclude_each_other(database: Database) {
    let server = Server::start(&database, &[]).await;
    let items = json!([{"product_id": "a", "quantity": 1}]);
    for (body, expected) in [
        (
            json!({"items": items, "product_id": "a"}),
            &["/product_id"][..],
        ),
        (json!({"items": items, "quantity": 1}), &["/quantity"]),
        (
            json!({"items": items, "unit_amount": 1, "currency": "EUR"}),
            &["/unit_amount"],
        ),
        (
            json!({"items": items, "product_id": "a", "quantity": 1, "unit_amount": 1}),
            &["/product_id", "/quantity", "/unit_amount"],
        ),
        // The object lacks a member.
        (json!({}), &[""]),
        (json!({"product_id": "a"}), &[""]),
        (json!({"quantity": 1}), &[""]),
        (json!({"unit_amount": 1, "currency": "EUR"}), &[""]),
        (
            json!({"total_amount": 1, "product_id": "a", "quantity": 1}),
            &["/total_amount"],
        ),
    ] {
        assert_eq!(pointers(server.post(&body).await), expected, "{body}");
    }
    for body in [
        r#"{"items":[{"product_id":"a","quantity":1}],"items":[{"product_id":"a","quantity":1}]}"#,
        r#"{"items":[{"product_id":"a","quantity":1,"quantity":1}]}"#,
    ] {
        assert_eq!(pointers(post_text(&server, body).await).len(), 1, "{body}");
    }
    assert_eq!(database.count("orders").await, 0);
}

async fn reads_events_and_replays_have_the_lines_and_the_total(database: Database) {
    let server = Server::start(&database, &[]).await;
    let body = json!({
        "items": [
            {"product_id": "a", "quantity": 2, "unit_amount": 10},
            {"product_id": "b", "quantity": 1, "unit_amount": -5},
        ],
        "currency": "EUR",
    });
    let created = server.post_with_key("k", &body).await;
    let order: Value = created.json();
    let items = json!([
        {"product_id": "c", "quantity": 1, "unit_amount": 7},
        {"product_id": "c", "quantity": 1, "unit_amount": 8},
        {"product_id": "a", "quantity": 1, "unit_amount": 9},
    ]);
    let updated: Value = server
        .patch(&order_path(&order), &json!({"items": items}))
        .await
        .json();
    assert_eq!(
        (&updated["items"], &updated["total_amount"]),
        (&items, &json!(24))
    );
    let confirmed: Value = server
        .patch(&order_path(&order), &json!({"status": "confirmed"}))
        .await
        .json();
    assert_eq!(confirmed["items"], items);

    // A replay returns the order as it was created.
    let replay = server.post_with_key("k", &body).await;
    assert_eq!((replay.status(), replay.text()), (201, created.text()));
    // Each event has the order as it was after its change.
    let versions = json!([order, updated, confirmed]);
    let path = format!("{}/events", order_path(&order));
    let of_order: Vec<Value> = server.get(&path).await.json();
    assert_eq!(
        of_order
            .iter()
            .map(|event| event["data"].clone())
            .collect::<Value>(),
        versions
    );
    assert_eq!(feed(&server, 3).await, of_order);
}
