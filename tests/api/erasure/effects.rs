//! What an erasure changes, and what it keeps.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::{erase, events_of, expect_consistent, orders_of, personal_order};
use crate::support::auth_file::{AuthFile, api_key, bearer};
use crate::support::client::Response;
use crate::support::database::Database;
use crate::support::export::Export;
use crate::support::orders::order_path;
use crate::support::server::Server;

crate::on_both!(
    orders_events_and_replays_lose_their_personal_data_and_nothing_else,
    an_external_id_can_be_used_again,
    a_customer_can_be_erased_again,
    an_export_has_all_orders_of_a_customer,
);

/// The order without what an erasure changes.
fn kept(order: &Value) -> Value {
    let mut order = order.clone();
    let members = order.as_object_mut().unwrap();
    for changed in [
        "customer_id",
        "external_id",
        "metadata",
        "version",
        "updated_at",
    ] {
        assert!(members.remove(changed).is_some(), "{changed}");
    }
    order
}

async fn post(server: &Server, key: &str, body: &Value) -> Response {
    let post = server.client.post(server.url("/api/v1/orders")).json(body);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let post = post
        .header("idempotency-key", key)
        .header("traceparent", trace)
        .header("authorization", bearer(&api_key("shop")));
    post.send().await.unwrap()
}

async fn orders_events_and_replays_lose_their_personal_data_and_nothing_else(database: Database) {
    let all = ["orders:read", "orders:write", "events:read", "admin"];
    let file = AuthFile::with_keys(&[("shop", &all, "default")]);
    let variables = [("AUTH_FILE", &*file.path()), ("AUTH_ANONYMOUS", "all")];
    let server = Server::start(&database, &variables).await;
    let mut before = Vec::new();
    for i in 0..40 {
        let body = personal_order("ann", &i.to_string());
        let created: Value = post(&server, &format!("key-{i}"), &body).await.json();
        let path = order_path(&created);
        for status in ["confirmed", "shipped", "delivered"].iter().take(i % 4) {
            let patch =
                json!({"status": status, "metadata": {"more": format!("metadata-{status}")}});
            assert_eq!(server.patch(&path, &patch).await.status(), 200);
        }
        let order: Value = server.get(&path).await.json();
        before.push((path, order));
    }
    let other = personal_order("bob", "other");
    let other: Value = post(&server, "other", &other).await.json();
    let others = events_of(&server, &order_path(&other)).await;

    let erasure = erase(&server, "ann").await;
    let versions: i64 = before
        .iter()
        .map(|(_, order)| order["version"].as_i64().unwrap())
        .sum();
    assert_eq!(
        [
            &erasure["orders"],
            &erasure["events"],
            &erasure["idempotency_keys"]
        ],
        [40, versions, 40].map(Value::from).each_ref()
    );
    let mut customers = HashSet::new();
    for (i, (path, order)) in before.iter().enumerate() {
        let after: Value = server.get(path).await.json();
        assert_eq!(kept(&after), kept(order));
        assert_eq!(
            after["version"].as_i64(),
            order["version"].as_i64().map(|v| v + 1)
        );
        assert_eq!(
            (&after["external_id"], &after["metadata"]),
            (&Value::Null, &json!({}))
        );
        assert!(after["updated_at"].as_str() >= order["updated_at"].as_str());
        customers.insert(after["customer_id"].as_str().unwrap().to_owned());
        let events = events_of(&server, path).await;
        let (last, earlier) = events.split_last().unwrap();
        assert_eq!(
            (&last["type"], &last["data"]),
            (&json!("order.erased"), &after)
        );
        assert_eq!(last["authtype"], "unauthenticated");
        for (version, event) in (1..).zip(earlier) {
            assert_eq!(event["data"]["version"], version);
            assert_eq!(event["data"]["customer_id"], after["customer_id"]);
            assert_eq!(
                (&event["data"]["external_id"], &event["data"]["metadata"]),
                (&Value::Null, &json!({}))
            );
            assert_eq!(event["data"]["items"], order["items"]);
            assert_eq!(
                (event.get("authid"), event.get("traceparent")),
                (None, None),
                "{event}"
            );
            let author = if version == 1 {
                "api_key"
            } else {
                "unauthenticated"
            };
            assert_eq!(event["authtype"], author);
        }
        let replay = post(
            &server,
            &format!("key-{i}"),
            &personal_order("ann", &i.to_string()),
        )
        .await;
        assert_eq!(
            (replay.status(), replay.header("idempotency-replayed")),
            (201, "true")
        );
        assert_eq!(replay.json::<Value>(), earlier[0]["data"]);
        // Later changes keep the pseudonym.
        if order["status"] == "pending" {
            let changed = server.patch(path, &json!({"status": "confirmed"})).await;
            assert_eq!(changed.json::<Value>()["customer_id"], after["customer_id"]);
        }
    }
    let [pseudonym] = customers
        .into_iter()
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let random = pseudonym.strip_prefix("erased-").unwrap();
    assert_eq!(uuid::Uuid::parse_str(random).unwrap().get_version_num(), 4);
    assert_eq!(orders_of(&server, &pseudonym).await.len(), 40);
    assert_eq!(orders_of(&server, "ann").await, Vec::<Value>::new());
    assert_eq!(server.get(&order_path(&other)).await.json::<Value>(), other);
    assert_eq!(events_of(&server, &order_path(&other)).await, others);
    let replay = post(&server, "other", &personal_order("bob", "other")).await;
    assert_eq!(replay.json::<Value>(), other);
    expect_consistent(&database).await;
}

async fn an_external_id_can_be_used_again(database: Database) {
    let server = Server::start(&database, &[]).await;
    let body = personal_order("ann", "1");
    assert_eq!(server.post(&body).await.status(), 201);
    assert_eq!(server.post(&body).await.status(), 409);
    erase(&server, "ann").await;
    assert_eq!(server.post(&body).await.status(), 201);
}

async fn a_customer_can_be_erased_again(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut pseudonyms = HashSet::new();
    for i in 0..3 {
        let created: Value = server
            .post(&personal_order("ann", &i.to_string()))
            .await
            .json();
        let erasure = erase(&server, "ann").await;
        assert_eq!(erasure["orders"], 1);
        let after: Value = server.get(&order_path(&created)).await.json();
        pseudonyms.insert(after["customer_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(pseudonyms.len(), 3, "each erasure has its own pseudonym");
    assert_eq!(erase(&server, "ann").await["orders"], 0);
    expect_consistent(&database).await;
}

/// What a customer is sent who asks for its data.
async fn an_export_has_all_orders_of_a_customer(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut expected = Vec::new();
    for i in 0..150 {
        let customer_id = if i % 3 == 0 { "ann/é" } else { "bob" };
        let created: Value = server
            .post(&personal_order(customer_id, &i.to_string()))
            .await
            .json();
        if customer_id == "ann/é" {
            expected.push(created);
        }
    }
    expected.reverse();
    let path = "/api/v1/orders?customer_id=ann%2F%C3%A9";
    assert_eq!(Export::of(&server, path).await.complete().len(), 50);
    assert_eq!(Export::of(&server, path).await.orders(), expected);
    erase(&server, "ann/é").await;
    assert_eq!(
        Export::of(&server, path).await.complete(),
        Vec::<String>::new()
    );
}
