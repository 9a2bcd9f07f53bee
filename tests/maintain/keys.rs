//! Idempotency keys have a retention of their own, or live as long as their orders.

use serde_json::json;

use crate::support::database::Database;
use crate::support::orders::{order, order_id};
use crate::support::server::Server;
use crate::{maintained, make_old};

crate::on_both!(
    keys_are_removed_when_their_orders_are_old_enough,
    without_a_retention_keys_stay
);

async fn keys_are_removed_when_their_orders_are_old_enough(database: Database) {
    let server = Server::start(&database, &[]).await;
    let old = server.post_with_key("old", &order("a")).await.json();
    let young = server.post_with_key("young", &order("b")).await.json();
    let old = make_old(&database, order_id(&old), 40).await;
    make_old(&database, order_id(&young), 20).await;
    let report = maintained(&database, &[("IDEMPOTENCY_RETENTION", "30d")]);
    assert_eq!(report["idempotency_keys_removed"], 1);
    // The order is still there, and the key creates another one.
    assert_eq!(server.status(&format!("/api/v1/orders/{old}")).await, 200);
    let again = server.post_with_key("old", &order("a")).await;
    assert_eq!(again.status(), 201);
    assert!(!again.headers().contains_key("idempotency-replayed"));
    assert_ne!(again.json::<serde_json::Value>()["id"], json!(old));
    let replay = server.post_with_key("young", &order("b")).await;
    assert_eq!(replay.header("idempotency-replayed"), "true");
}

async fn without_a_retention_keys_stay(database: Database) {
    let server = Server::start(&database, &[]).await;
    let old = server.post_with_key("old", &order("a")).await.json();
    make_old(&database, order_id(&old), 4_000).await;
    let report = maintained(&database, &[("EVENT_RETENTION", "1h")]);
    assert_eq!(report["idempotency_keys_removed"], 0);
    assert_eq!(database.count("idempotency_keys").await, 1);
}
