//! External ids: one order of a tenant has each, and a request for another order is rejected.

mod locks;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::orders::{order, order_id, order_path, order_with_external_id};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(
    a_taken_external_id_is_rejected_with_the_order_that_has_it,
    a_key_counts_before_the_external_id,
    two_processes_create_one_order_for_one_external_id,
    retries_of_one_request_are_replays_in_two_processes,
    an_update_keeps_the_external_id,
);

/// Sends a request in a task of its own.
fn spawn_post(server: &Server, key: Option<String>, body: &Value) -> JoinHandle<Response> {
    let mut request = server.client.post(server.url("/api/v1/orders")).json(body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    tokio::spawn(async move { request.send().await.unwrap() })
}

/// Checks that the request was rejected because this order has its external id.
fn expect_taken_by(id: &str, response: Response) {
    assert_eq!(response.status(), 409);
    let rejected = problem(response);
    assert_eq!(problem_kind(&rejected), "external-id-taken");
    assert_eq!(rejected["order_id"], id, "{rejected}");
}

async fn a_taken_external_id_is_rejected_with_the_order_that_has_it(database: Database) {
    let server = Server::start(&database, &[]).await;
    let body = order_with_external_id("sku-1", "shop-1042");
    let created = server.post(&body).await;
    assert_eq!(created.status(), 201);
    let created: Value = created.json();
    assert_eq!(created["external_id"], "shop-1042");
    for other in [body.clone(), order_with_external_id("sku-2", "shop-1042")] {
        expect_taken_by(order_id(&created), server.post(&other).await);
        let rejected = server.post_with_key("key", &other).await;
        expect_taken_by(order_id(&created), rejected);
    }
    // The key was not used.
    let other = order_with_external_id("sku-1", "shop-1043");
    let accepted = server.post_with_key("key", &other).await;
    assert_eq!(accepted.status(), 201);
    // Bytes count, not letters.
    for different in ["Shop-1042", "shop-1042 ", "shop-104"] {
        let different = order_with_external_id("sku-1", different);
        assert_eq!(server.post(&different).await.status(), 201, "{different}");
    }
    assert_eq!(database.count("orders").await, 5);
    assert_eq!(database.count("events").await, 5);
    assert_eq!(database.count("idempotency_keys").await, 1);
}

async fn a_key_counts_before_the_external_id(database: Database) {
    let server = Server::start(&database, &[]).await;
    let body = order_with_external_id("sku-1", "a");
    let created = server.post_with_key("key", &body).await;
    let other: Value = server
        .post(&order_with_external_id("sku-1", "b"))
        .await
        .json();
    let replay = server.post_with_key("key", &body).await;
    assert_eq!(replay.status(), 201);
    assert_eq!(replay.header("idempotency-replayed"), "true");
    assert_eq!(replay.text(), created.text());
    for different in [order_with_external_id("sku-1", "b"), order("sku-1")] {
        let rejected = problem(server.post_with_key("key", &different).await);
        assert_eq!(problem_kind(&rejected), "idempotency-key-reused");
    }
    let rejected = server
        .post_with_key("other", &order_with_external_id("sku-1", "b"))
        .await;
    expect_taken_by(order_id(&other), rejected);
    assert_eq!(database.count("orders").await, 2);
}

async fn two_processes_create_one_order_for_one_external_id(database: Database) {
    let servers = [
        Server::start(&database, &[]).await,
        Server::start(&database, &[]).await,
    ];
    for round in 0..20 {
        let tasks: Vec<_> = (0..30)
            .map(|i| {
                let key = (i % 3 > 0).then(|| format!("{round}-{i}"));
                let product = format!("sku-{i}");
                let body = order_with_external_id(&product, &format!("shop-{round}"));
                spawn_post(&servers[i % 2], key, &body)
            })
            .collect();
        let (mut created, mut rejected) = (Vec::new(), Vec::new());
        for task in tasks {
            let response = task.await.unwrap();
            if response.status() == 201 {
                created.push(response.json::<Value>());
            } else {
                rejected.push(response);
            }
        }
        assert_eq!((created.len(), rejected.len()), (1, 29), "{created:?}");
        for response in rejected {
            expect_taken_by(order_id(&created[0]), response);
        }
    }
    assert_eq!(database.count("orders").await, 20);
    assert_eq!(database.count("events").await, 20);
    let keys = database.count("idempotency_keys").await;
    let of_orders = "idempotency_keys JOIN orders ON id = order_id";
    assert_eq!(database.count(of_orders).await, keys);
    assert!(keys <= 20, "{keys}");
}

async fn retries_of_one_request_are_replays_in_two_processes(database: Database) {
    let servers = [
        Server::start(&database, &[]).await,
        Server::start(&database, &[]).await,
    ];
    for round in 0..20 {
        let body = order_with_external_id("sku-1", &format!("shop-{round}"));
        let tasks: Vec<_> = (0..20)
            .map(|i| spawn_post(&servers[i % 2], Some(format!("key-{round}")), &body))
            .collect();
        let mut bodies = Vec::new();
        for task in tasks {
            let response = task.await.unwrap();
            assert_eq!(response.status(), 201);
            bodies.push(response.text());
        }
        bodies.dedup();
        assert_eq!(bodies.len(), 1, "{bodies:?}");
    }
    assert_eq!(database.count("orders").await, 20);
}

async fn an_update_keeps_the_external_id(database: Database) {
    let server = Server::start(&database, &[]).await;
    let body = order_with_external_id("sku-1", "shop-1042");
    let created: Value = server.post(&body).await.json();
    let path = order_path(&created);
    let rejected = server.patch(&path, &json!({"external_id": "other"})).await;
    assert_eq!(problem_kind(&problem(rejected)), "validation-failed");
    for patch in [json!({"quantity": 2}), json!({"status": "cancelled"})] {
        let updated = server.patch(&path, &patch).await;
        assert_eq!(updated.status(), 200);
        assert_eq!(updated.json::<Value>()["external_id"], "shop-1042");
    }
    // A cancelled order has its external id as well.
    expect_taken_by(order_id(&created), server.post(&body).await);
}
