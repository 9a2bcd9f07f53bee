//! Statements of common requests are planned a few times for each session, and not for each request.

use serde_json::{Value, json};

use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::orders::{order, order_path};
use crate::support::server::Server;

use super::EVENT;

/// The requests of each kind.
const REQUESTS: i64 = 60;
/// PostgreSQL plans a statement five times for its parameters before it considers a plan for unknown ones. One client
/// uses one session, unless the service needs another one at the same time.
const MAX_PLANS: i64 = 2 * 6;

/// SQL that inserts enough orders for the costs of plans to differ as in production.
fn insert_rows() -> String {
    format!(
        "INSERT INTO orders (tenant, id, status, customer_id, metadata, version, created_at, updated_at, json_bytes)
         SELECT 'default', (lpad(to_hex(i), 12, '0') || '70008000000000000000')::uuid, 'delivered', 'c' || i % 500,
            '{{}}', 1, now(), now(), 288
         FROM generate_series(1, 20000) AS i;
         INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
         SELECT tenant, id, 1, 'p', 1, status FROM orders;
         INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, data, data_bytes)
         SELECT tenant, 'created', 'api_key', id, 1, row_number() OVER () / 100, now(), '{EVENT}', 300 FROM orders;
         INSERT INTO idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
         SELECT tenant, sha256(('key-' || id)::bytea), id, sha256(id::text::bytea), 1, '{{}}', now() FROM orders;
         ANALYZE"
    )
}

#[tokio::test]
async fn common_statements_are_not_planned_for_each_request() {
    let conf = "shared_preload_libraries = 'pg_stat_statements'\n\
                pg_stat_statements.track_planning = on";
    let cluster = Cluster::start_with(&[("POSTGRES_CONF", conf)]);
    let database = cluster.database().await;
    migrate(&database);
    database.execute(&insert_rows()).await;
    database
        .execute("CREATE EXTENSION pg_stat_statements")
        .await;
    let server = Server::start(&database, &[]).await;
    let mut paths = Vec::new();
    for number in 0..REQUESTS {
        let key = format!("new-{number}");
        let response = server.post_with_key(&key, &order("sku")).await;
        assert_eq!(response.status(), 201);
        paths.push(order_path(&response.json::<Value>()));
        let replay = server.post_with_key(&key, &order("sku")).await;
        assert_eq!(replay.status(), 201);
    }
    for path in &paths {
        let change = json!({"metadata": {"a": "b"}});
        assert_eq!(server.patch(path, &change).await.status(), 200);
        for path in [
            path,
            &format!("{path}/events"),
            "/api/v1/orders",
            "/api/v1/orders?status=delivered&limit=10",
            "/api/v1/orders?customer_id=c7",
        ] {
            assert_eq!(server.status(path).await, 200);
        }
    }
    let mut link = "/api/v1/events?limit=2".to_owned();
    for _ in 0..REQUESTS {
        let page = server.get(&link).await;
        assert_eq!(page.status(), 200);
        link = page.next_link().unwrap();
    }
    // Statements are executed inside others as well, by foreign keys and functions.
    let measured = format!(
        "FROM pg_stat_statements WHERE toplevel AND calls >= {REQUESTS}
         AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    );
    let statements = database
        .number(&format!("SELECT count(*) {measured}"))
        .await;
    assert!(statements >= 9, "{statements}");
    let client = database.client().await;
    let often = format!("SELECT calls, plans, query {measured} AND plans > {MAX_PLANS}");
    let often = client.query(&often, &[]).await.unwrap();
    let often: Vec<(i64, i64, String)> = often
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert!(often.is_empty(), "{often:#?}");
}
