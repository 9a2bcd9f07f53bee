//! An order that was removed continues its versions.

use serde_json::{Value, json};

use super::{Input, at, line};
use crate::support::binary::migrate;
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::server::Server;

crate::on_both!(
    an_archived_order_continues_its_versions,
    an_order_whose_events_are_left_continues_its_versions,
    a_status_that_cannot_follow_the_last_one_is_a_reject
);

const ID: &str = "016f5e66-ebe8-7000-8000-000000000001";

/// The id as a literal of the database.
fn id_literal(database: &Database) -> String {
    if database.is_postgres() {
        format!("'{ID}'")
    } else {
        format!("X'{}'", ID.replace('-', ""))
    }
}

/// Removes the order and leaves its events.
async fn remove(database: &Database) {
    let id = id_literal(database);
    database
        .execute(&format!(
            "DELETE FROM orders WHERE id = {id}; DELETE FROM order_items WHERE order_id = {id}"
        ))
        .await;
}

/// A delivered order of version 4.
fn delivered() -> Value {
    let mut line = line("a", 1);
    line["id"] = ID.into();
    line["status"] = "delivered".into();
    line["version"] = 4.into();
    line["updated_at"] = at(100).into();
    line
}

async fn imported_order(database: &Database, expected_version: i64) -> Value {
    let server = Server::start(database, &[]).await;
    let order: Value = server.get(&format!("/api/v1/orders/{ID}")).await.json();
    assert_eq!(order["version"], expected_version, "{order}");
    let events: Vec<Value> = server
        .get(&format!("{}/events", order_path(&order)))
        .await
        .json();
    let last = events.last().unwrap();
    assert_eq!(last["data"], order);
    assert_eq!(last["sequence"], expected_version.to_string());
    assert_eq!(last["type"], "order.imported");
    let times: Vec<_> = events
        .iter()
        .map(|event| event["time"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    order
}

async fn an_archived_order_continues_its_versions(database: Database) {
    migrate(&database);
    let input = Input::of([delivered()]);
    assert_eq!(input.import(&database).counts(), (1, 0, 0));
    remove(&database).await;
    let id = id_literal(&database);
    let archived_at = if database.is_postgres() {
        "'2024-01-01T00:00:00Z'"
    } else {
        "1704067200000000"
    };
    database
        .execute(&format!(
            "INSERT INTO archived_orders (tenant, order_id, customer_id, version, archived_at)
                VALUES ('default', {id}, NULL, 5, {archived_at}), ('other', {id}, NULL, 9, {archived_at});
            DELETE FROM events"
        ))
        .await;
    assert_eq!(input.import(&database).counts(), (1, 0, 0));
    let order = imported_order(&database, 6).await;
    assert_eq!(order["created_at"], at(1));
    assert!(order["updated_at"].as_str() > Some("2026"), "{order}");
    // Only the trace of this order is gone.
    assert_eq!(
        database
            .number("SELECT sum(version) FROM archived_orders")
            .await,
        9
    );
    assert_eq!(input.import(&database).counts(), (0, 1, 0));
}

async fn an_order_whose_events_are_left_continues_its_versions(database: Database) {
    migrate(&database);
    let input = Input::of([delivered(), line("b", 2)]);
    assert_eq!(input.import(&database).counts(), (2, 0, 0));
    remove(&database).await;
    assert_eq!(input.import(&database).counts(), (1, 1, 0));
    imported_order(&database, 5).await;
}

async fn a_status_that_cannot_follow_the_last_one_is_a_reject(database: Database) {
    migrate(&database);
    let input = Input::of([delivered()]);
    assert_eq!(input.import(&database).counts(), (1, 0, 0));
    remove(&database).await;
    let mut pending = delivered();
    pending["status"] = "pending".into();
    let other = Input::of([pending]);
    let imported = other.import(&database);
    assert_eq!((imported.code(), imported.counts()), (1, (0, 0, 1)));
    assert_eq!(other.rejects()[0]["errors"][0]["pointer"], json!("/status"));
    assert_eq!(database.count("orders").await, 0);
    assert_eq!(database.count("events").await, 1);
}
