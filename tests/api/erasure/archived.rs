//! Orders that were archived and removed before the erasure, and of which events remain.

use serde_json::{Value, json};

use super::{erase, events_of, expect_consistent, personal_order};
use crate::support::database::Database;
use crate::support::orders::{order_id, order_path};
use crate::support::server::Server;

crate::on_both!(
    events_of_archived_orders_are_redacted,
    an_archived_order_without_events_loses_its_customer,
);

/// Archives an order as `order-service maintain` does it: a last event, and a row in place of the order.
async fn archive(database: &Database, order: &Value) {
    let version = order["version"].as_i64().unwrap() + 1;
    let mut data = order.clone();
    data["version"] = version.into();
    let id = order_id(order);
    let (data, customer_id) = (data.to_string(), order["customer_id"].as_str().unwrap());
    let sql = if database.is_postgres() {
        format!(
            "BEGIN;
             INSERT INTO events (tenant, order_id, version, event_type, position, occurred_at, data, data_bytes,
                authtype) SELECT 'default', '{id}', {version}, 'archived',
                pg_current_xact_id()::text::bigint + xid_offset, now(), '{data}', octet_length('{data}'), 'system'
                FROM feed;
             INSERT INTO archived_orders VALUES ('default', '{id}', '{customer_id}', {version}, now() - interval '1 d');
             DELETE FROM idempotency_keys WHERE order_id = '{id}';
             DELETE FROM order_items WHERE order_id = '{id}';
             DELETE FROM orders WHERE id = '{id}';
             COMMIT"
        )
    } else {
        let id = format!("x'{}'", id.replace('-', ""));
        format!(
            "BEGIN;
             INSERT INTO events (tenant, order_id, version, event_type, occurred_at, recorded_at, data, data_bytes,
                authtype) VALUES ('default', {id}, {version}, 'archived', unixepoch() * 1000000,
                unixepoch() * 1000000, '{data}', length('{data}'), 'system');
             INSERT INTO archived_orders VALUES ('default', {id}, '{customer_id}', {version}, 1000000);
             DELETE FROM idempotency_keys WHERE order_id = {id};
             DELETE FROM order_items WHERE order_id = {id};
             DELETE FROM orders WHERE id = {id};
             COMMIT"
        )
    };
    database.execute(&sql).await;
}

async fn events_of_archived_orders_are_redacted(database: Database) {
    let server = Server::start(&database, &[]).await;
    let mut paths = Vec::new();
    for i in 0..20 {
        let created: Value = server
            .post(&personal_order("ann", &i.to_string()))
            .await
            .json();
        archive(&database, &created).await;
        paths.push(order_path(&created));
    }
    let stays: Value = server.post(&personal_order("ann", "stays")).await.json();
    let other: Value = server.post(&personal_order("bob", "other")).await.json();
    archive(&database, &other).await;

    let erasure = erase(&server, "ann").await;
    assert_eq!(
        (&erasure["orders"], &erasure["archived_orders"]),
        (&json!(1), &json!(20))
    );
    assert_eq!(erasure["events"], 41);
    let stays: Value = server.get(&order_path(&stays)).await.json();
    for path in &paths {
        let events = events_of(&server, path).await;
        let types: Vec<_> = events
            .iter()
            .map(|event| event["type"].as_str().unwrap())
            .collect();
        assert_eq!(types, ["order.created", "order.archived", "order.erased"]);
        for (version, event) in (1..).zip(&events) {
            let data = &event["data"];
            assert_eq!(data["version"], version);
            assert_eq!(data["customer_id"], stays["customer_id"]);
            assert_eq!(
                (&data["external_id"], &data["metadata"]),
                (&Value::Null, &json!({}))
            );
        }
        let [.., archived, erased] = &events[..] else {
            panic!()
        };
        assert!(erased["data"]["updated_at"].as_str() >= archived["data"]["updated_at"].as_str());
        assert_eq!(erased["time"], erased["data"]["updated_at"]);
    }
    let rows =
        "SELECT count(*) FROM archived_orders WHERE customer_id LIKE 'erased-%' AND version = 3";
    assert_eq!(database.number(rows).await, 20);
    // The row is needed as long as the new event is stored.
    let recent = if database.is_postgres() {
        "archived_at > now() - interval '1 hour'"
    } else {
        "archived_at > (unixepoch() - 3600) * 1000000"
    };
    let rows = format!("SELECT count(*) FROM archived_orders WHERE {recent}");
    assert_eq!(database.number(&rows).await, 20);
    assert_eq!(
        database
            .number("SELECT count(*) FROM archived_orders WHERE customer_id = 'bob'")
            .await,
        1
    );
    expect_consistent(&database).await;
}

async fn an_archived_order_without_events_loses_its_customer(database: Database) {
    let server = Server::start(&database, &[]).await;
    let created: Value = server.post(&personal_order("ann", "1")).await.json();
    archive(&database, &created).await;
    database.execute("DELETE FROM events").await;
    let erasure = erase(&server, "ann").await;
    assert_eq!(
        (&erasure["archived_orders"], &erasure["events"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(database.count("events").await, 0);
    let rows =
        "SELECT count(*) FROM archived_orders WHERE customer_id LIKE 'erased-%' AND version = 2";
    assert_eq!(database.number(rows).await, 1);
}
