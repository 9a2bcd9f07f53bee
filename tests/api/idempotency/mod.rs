//! Idempotency keys: replays and conflicts.

mod faults;

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::orders::order;
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    fifty_concurrent_requests_with_one_key_create_one_order,
    another_body_with_the_same_key_is_rejected,
    equivalent_bodies_with_the_same_key_are_replays,
    a_replay_returns_the_order_as_it_was_created,
    malformed_keys_are_rejected,
    two_processes_create_one_order_for_one_key,
    a_key_whose_request_failed_is_not_used,
);

/// Whether the response is a replay.
fn is_replay(response: &Response) -> bool {
    let header = response.headers().get("idempotency-replayed");
    assert!(header.is_none_or(|value| value == "true"));
    header.is_some()
}

/// The number of orders and of events.
async fn rows(database: &Database) -> (i64, i64) {
    (
        database.count("orders").await,
        database.count("events").await,
    )
}

/// Sends the same request `times` times concurrently, to the servers in turn.
async fn post_concurrently(
    servers: &[&Server],
    times: usize,
    key: &str,
    body: &Value,
) -> Vec<Response> {
    let tasks: Vec<_> = (0..times)
        .map(|i| {
            let server = servers[i % servers.len()];
            let request = server.client.post(server.url("/api/v1/orders"));
            tokio::spawn(request.header("idempotency-key", key).json(body).send())
        })
        .collect();
    let mut responses = Vec::new();
    for task in tasks {
        responses.push(task.await.unwrap().unwrap());
    }
    responses
}

/// Checks that the responses are one creation and its replays.
fn expect_one_order(responses: &[Response]) {
    let bodies: HashSet<_> = responses.iter().map(Response::text).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    let ids: HashSet<_> = responses.iter().map(|a| a.header("location")).collect();
    assert_eq!(ids.len(), 1);
    assert!(
        responses
            .iter()
            .all(|a| a.status() == 201 && a.header("etag") == "\"1\"")
    );
    let replays = responses.iter().filter(|a| is_replay(a)).count();
    assert_eq!(replays, responses.len() - 1);
}

async fn fifty_concurrent_requests_with_one_key_create_one_order(database: Database) {
    let server = Server::start(&database, &[]).await;
    expect_one_order(&post_concurrently(&[&server], 50, "key-1", &order("sku-1")).await);
    assert_eq!(rows(&database).await, (1, 1));
    let metrics = server.scrape().await;
    assert!(metrics.contains("\norders_created_total 1\n"), "{metrics}");
    assert!(
        metrics.contains("\norders_idempotent_replays_total 49\n"),
        "{metrics}"
    );
    // Another key, and no key, create other orders.
    assert!(!is_replay(
        &server.post_with_key("key-2", &order("sku-1")).await
    ));
    server.create("sku-1").await;
    assert_eq!(rows(&database).await, (3, 3));
}

async fn another_body_with_the_same_key_is_rejected(database: Database) {
    let server = Server::start(&database, &[]).await;
    assert_eq!(
        server.post_with_key("k", &order("sku-1")).await.status(),
        201
    );
    for other in [
        json!({"product_id": "sku-2", "quantity": 1}),
        json!({"product_id": "sku-1", "quantity": 2}),
        json!({"product_id": "sku-1", "quantity": 1, "customer_id": "c"}),
        json!({"product_id": "sku-1", "quantity": 1, "metadata": {"a": ""}}),
    ] {
        let rejected = problem(server.post_with_key("k", &other).await);
        assert_eq!(problem_kind(&rejected), "idempotency-key-reused", "{other}");
    }
    // Within one batch as well.
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let request = server.client.post(server.url("/api/v1/orders"));
            let body = order(&format!("sku-{}", i % 2));
            tokio::spawn(request.header("idempotency-key", "both").json(&body).send())
        })
        .collect();
    let mut created = HashSet::new();
    let mut rejected = 0;
    for task in tasks {
        let response = task.await.unwrap().unwrap();
        match response.status() {
            201 => drop(created.insert(response.text())),
            422 => rejected += 1,
            other => panic!("{other}: {response:?}"),
        }
    }
    assert_eq!((created.len(), rejected), (1, 20));
    assert_eq!(rows(&database).await, (2, 2));
}

async fn equivalent_bodies_with_the_same_key_are_replays(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut responses = Vec::new();
    for body in [
        r#"{"product_id":"a","quantity":3}"#,
        r#"{ "quantity" : 3, "product_id" : "a" }"#,
        r#"{"product_id":"a","quantity":3,"customer_id":null,"metadata":{}}"#,
        r#"{"product_id":"\u0061","quantity":3.0}"#,
    ] {
        let request = server.client.post(server.url("/api/v1/orders"));
        let request = request
            .header("content-type", "application/json")
            .body(body);
        responses.push(request.header("idempotency-key", "k").send().await.unwrap());
    }
    expect_one_order(&responses);
    let post_metadata = |metadata: &str| {
        let body = format!(r#"{{"product_id":"a","quantity":3,"metadata":{metadata}}}"#);
        let request = server.client.post(server.url("/api/v1/orders")).body(body);
        request
            .header("content-type", "application/json")
            .header("idempotency-key", "m")
            .send()
    };
    let first = post_metadata(r#"{"x":"1","y":"2"}"#).await.unwrap();
    let second = post_metadata(r#"{"y":"2","x":"1"}"#).await.unwrap();
    expect_one_order(&[first, second]);
}

async fn a_replay_returns_the_order_as_it_was_created(database: Database) {
    let server = Server::start(&database, &[]).await;
    let created = server.post_with_key("k", &order("sku-1")).await;
    let path = created.header("location").to_owned();
    let confirmed = server.patch(&path, &json!({"status": "confirmed"})).await;
    assert_eq!(confirmed.header("etag"), "\"2\"");
    let replay = server.post_with_key("k", &order("sku-1")).await;
    assert_eq!(replay.text(), created.text());
    expect_one_order(&[created, replay]);
}

async fn malformed_keys_are_rejected(database: Database) {
    let server = Server::start(&database, &[]).await;
    for key in ["", "has space", &"x".repeat(256), "tab\there", "é"] {
        let rejected = problem(server.post_with_key(key, &order("a")).await);
        assert_eq!(problem_kind(&rejected), "malformed-request", "{key:?}");
    }
    let twice = server
        .client
        .post(server.url("/api/v1/orders"))
        .json(&order("a"));
    let twice = twice
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    assert_eq!(
        problem_kind(&problem(twice.send().await.unwrap())),
        "malformed-request"
    );
    assert_eq!(rows(&database).await, (0, 0));
    for key in ["x", &"x".repeat(255), "!~\"quoted\""] {
        assert_eq!(
            server.post_with_key(key, &order("a")).await.status(),
            201,
            "{key}"
        );
    }
}

async fn two_processes_create_one_order_for_one_key(database: Database) {
    let one = Server::start(&database, &[]).await;
    let two = Server::start(&database, &[]).await;
    for round in 0..20 {
        let key = format!("key-{round}");
        expect_one_order(&post_concurrently(&[&one, &two], 20, &key, &order("sku-1")).await);
    }
    assert_eq!(rows(&database).await, (20, 20));
}

async fn a_key_whose_request_failed_is_not_used(database: Database) {
    let server = Server::start(&database, &[]).await;
    let bad = json!({"product_id": "a", "quantity": 0});
    assert_eq!(server.post_with_key("k", &bad).await.status(), 422);
    assert_eq!(server.post_with_key("k", &order("a")).await.status(), 201);
}
