//! Orders with many versions and with long events are erased in small transactions.

use serde_json::{Value, json};

use super::{erase, expect_consistent, request};
use crate::support::database::Database;
use crate::support::orders::{large_order, order_id, order_path};
use crate::support::server::Server;

crate::on_both!(
    an_order_with_many_versions_is_erased,
    long_events_are_erased_with_a_short_statement_timeout,
);

async fn an_order_with_many_versions_is_erased(database: Database) {
    const VERSIONS: i64 = 3_000;
    let server = Server::start(&database, &[]).await;
    let mut body = large_order(1);
    body["customer_id"] = json!("ann");
    let created: Value = server.post(&body).await.json();
    let id = order_id(&created).to_owned();
    let sql = if database.is_postgres() {
        format!(
            "INSERT INTO events (tenant, order_id, version, event_type, position, occurred_at, data, data_bytes, authtype)
                SELECT tenant, order_id, v, 'updated', position, occurred_at, data, data_bytes, authtype
                FROM events, generate_series(2, {VERSIONS}) AS v;
             UPDATE orders SET version = {VERSIONS}"
        )
    } else {
        format!(
            "WITH RECURSIVE n(v) AS (SELECT 2 UNION ALL SELECT v + 1 FROM n WHERE v < {VERSIONS})
                INSERT INTO events (tenant, order_id, version, event_type, occurred_at, recorded_at, data, data_bytes,
                    authtype)
                SELECT tenant, order_id, v, 'updated', occurred_at, recorded_at, data, data_bytes, authtype
                FROM events, n;
             UPDATE orders SET version = {VERSIONS}"
        )
    };
    database.execute(&sql).await;
    let erasure = erase(&server, "ann").await;
    assert_eq!(erasure["events"], VERSIONS);
    let order: Value = server.get(&format!("/api/v1/orders/{id}")).await.json();
    assert_eq!(order["version"], VERSIONS + 1);
    assert_eq!(
        database
            .number("SELECT count(*) FROM events WHERE data_bytes > 1000")
            .await,
        0
    );
    expect_consistent(&database).await;
}

/// A step that takes longer than a statement may take is repeated with less.
async fn long_events_are_erased_with_a_short_statement_timeout(database: Database) {
    let server = Server::start(&database, &[("MAX_BODY_BYTES", "1000000")]).await;
    for i in 0..20 {
        let mut body = large_order(50);
        body["customer_id"] = json!("ann");
        let created = server.post_with_key(&format!("key-{i}"), &body).await;
        assert_eq!(created.status(), 201);
        let path = order_path(&created.json());
        let patched = server
            .patch(&path, &json!({"metadata": {"key-0": "short"}}))
            .await;
        assert_eq!(patched.status(), 200);
    }
    drop(server);
    let server = Server::start(&database, &[("STATEMENT_TIMEOUT", "15ms")]).await;
    let path = request(&server, "ann").await;
    let erasure = super::done(&server, &path).await;
    assert_eq!(
        (&erasure["orders"], &erasure["events"]),
        (&json!(20), &json!(40))
    );
    assert_eq!(
        database
            .number("SELECT count(*) FROM events WHERE data_bytes > 1000")
            .await,
        0
    );
    expect_consistent(&database).await;
}
