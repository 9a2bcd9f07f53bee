//! Old orders are written to files, verified, and removed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::orders::{order, order_id, order_path};
use crate::support::server::Server;
use crate::{
    archive, create_old_order, create_old_partition, maintain, make_old, record_days_ago, report,
};

crate::on_both!(
    final_orders_that_are_old_are_archived_and_others_stay,
    an_archived_order_is_gone_and_its_events_remain,
    the_key_of_an_archived_order_goes_with_it_unless_keys_have_a_retention,
    the_record_of_an_archived_order_goes_with_its_last_event,
    an_archive_has_a_file_for_each_tenant,
    many_orders_are_archived_in_one_run,
);

/// The orders in all finished files of the archive, by id, with their lines. Checks that each is in one file, and the
/// checksums of the files.
pub(crate) fn archived(directory: &Path) -> BTreeMap<String, String> {
    let mut orders = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".ndjson") {
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let order: Value = serde_json::from_str(line).unwrap();
                let twice = orders.insert(order_id(&order).to_owned(), line.to_owned());
                assert_eq!(twice, None, "an order is in two finished files");
            }
        } else if name.ends_with(".sha256") && path.with_extension("").exists() {
            let check = Command::new("sha256sum")
                .args(["--check", "--strict", "--quiet", &name])
                .current_dir(directory)
                .output()
                .unwrap();
            assert!(check.status.success(), "{check:?}");
        }
    }
    orders
}

/// The names of the files that end in this way.
pub(crate) fn files(directory: &Path, end: &str) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(end)).collect()
}

async fn final_orders_that_are_old_are_archived_and_others_stay(database: Database) {
    let server = Server::start(&database, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for status in ["delivered", "cancelled"] {
        let order = create_old_order(&server, &database, 10, status).await;
        expected.push(order_id(&order).to_owned());
    }
    let shipped = create_old_order(&server, &database, 10, "shipped").await;
    let young = server.create("young").await;
    server
        .patch(&order_path(&young), &json!({"status": "cancelled"}))
        .await;
    // Created long ago, and cancelled now.
    let late = create_old_order(&server, &database, 10, "pending").await;
    server
        .patch(&order_path(&late), &json!({"status": "cancelled"}))
        .await;
    let report = archive(&database, dir.path());
    assert_eq!(
        (&report["orders_archived"], &report["orders_changed"]),
        (&2.into(), &0.into())
    );
    let archived = archived(dir.path());
    expected.sort();
    assert_eq!(archived.keys().cloned().collect::<Vec<_>>(), expected);
    for stays in [&shipped, &young, &late] {
        assert_eq!(server.status(&order_path(stays)).await, 200);
    }
    assert_eq!(database.count("orders").await, 3);
    assert_eq!(database.count("order_items").await, 3);
    let file = &report["files"][0];
    assert_eq!(file["orders"], 2);
    assert_eq!(
        files(dir.path(), ".ndjson"),
        [file["name"].as_str().unwrap()]
    );
    assert_eq!(files(dir.path(), ".ndjson.sha256").len(), 1);
    assert_eq!(files(dir.path(), ".partial").len(), 0);
    // Nothing is left to do.
    let report = archive(&database, dir.path());
    assert_eq!(
        (&report["orders_archived"], &report["files"]),
        (&0.into(), &json!([]))
    );
}

async fn an_archived_order_is_gone_and_its_events_remain(database: Database) {
    let server = Server::start(&database, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let order = create_old_order(&server, &database, 10, "delivered").await;
    let path = order_path(&order);
    archive(&database, dir.path());
    assert_eq!(server.status(&path).await, 404);
    assert_eq!(
        server.get("/api/v1/orders").await.json::<Value>(),
        json!([])
    );
    assert_eq!(
        server
            .get("/api/v1/orders?status=delivered")
            .await
            .json::<Value>(),
        json!([])
    );
    assert_eq!(
        server
            .patch(&path, &json!({"metadata": {"a": "b"}}))
            .await
            .status(),
        404
    );
    let events: Vec<Value> = server.get(&format!("{path}/events")).await.json();
    assert_eq!(events.len(), 5);
    let last = events.last().unwrap();
    assert_eq!(last["type"], "order.archived");
    assert_eq!(last["sequence"], "5");
    assert_eq!(
        (&last["authtype"], &last["authid"]),
        (&json!("system"), &Value::Null)
    );
    // The order as it was, in the version of the event.
    let mut expected = order.clone();
    expected["version"] = 5.into();
    assert_eq!(last["data"], expected);
    let line = archived(dir.path()).remove(order_id(&order)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
    let feed: Vec<Value> = server.get("/api/v1/events").await.json();
    assert_eq!(feed.last().unwrap(), last);
    // A client that follows the events of the order is not told that it never existed.
    let rest = server.get(&format!("{path}/events?after=5")).await;
    assert_eq!((rest.status(), rest.json::<Value>()), (200, json!([])));
    let record = "archived_orders WHERE version = 5 AND customer_id IS NULL";
    assert_eq!(database.count(record).await, 1);
}

async fn the_key_of_an_archived_order_goes_with_it_unless_keys_have_a_retention(
    database: Database,
) {
    let server = Server::start(&database, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    let args = ["--archive-to", dir.path().to_str().unwrap()];
    let mut kept = Value::Null;
    for (key, retention) in [("kept", "30d"), ("removed", "")] {
        let created: Value = server.post_with_key(key, &order(key)).await.json();
        let cancel = json!({"status": "cancelled"});
        assert_eq!(
            server.patch(&order_path(&created), &cancel).await.status(),
            200
        );
        make_old(&database, order_id(&created), 10).await;
        let settings = [
            ("ORDER_RETENTION", "7d"),
            ("IDEMPOTENCY_RETENTION", retention),
        ];
        let report = report(&maintain(&database, &settings, &args));
        assert_eq!(report["orders_archived"], 1);
        if key == "kept" {
            kept = created;
        }
    }
    assert_eq!(database.count("orders").await, 0);
    assert_eq!(database.count("idempotency_keys").await, 1);
    let replay = server.post_with_key("kept", &order("kept")).await;
    assert_eq!(
        (replay.status(), replay.header("idempotency-replayed")),
        (201, "true")
    );
    assert_eq!(replay.json::<Value>(), kept);
    let new = server.post_with_key("removed", &order("removed")).await;
    assert_eq!(new.status(), 201);
    assert!(!new.headers().contains_key("idempotency-replayed"));
}

async fn the_record_of_an_archived_order_goes_with_its_last_event(database: Database) {
    let server = Server::start(&database, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    create_old_partition(&database, 150).await;
    for _ in 0..2 {
        create_old_order(&server, &database, 400, "cancelled").await;
    }
    let args = ["--archive-to", dir.path().to_str().unwrap()];
    let settings = [("ORDER_RETENTION", "7d"), ("EVENT_RETENTION", "90d")];
    let first = report(&maintain(&database, &settings, &args));
    assert_eq!(
        (
            &first["orders_archived"],
            &first["archived_orders_forgotten"]
        ),
        (&2.into(), &0.into())
    );
    // Both were archived long ago, and the events of the first are removed with their month.
    let time = crate::days_ago(&database, 150);
    database
        .execute(&format!("UPDATE archived_orders SET archived_at = {time}"))
        .await;
    let first_order = "order_id = (SELECT min(order_id) FROM archived_orders)";
    let first_order = if database.is_postgres() {
        "order_id = (SELECT order_id FROM archived_orders ORDER BY order_id LIMIT 1)"
    } else {
        first_order
    };
    // SQLite removes the oldest events only.
    let reorder = format!("UPDATE events SET seq = -seq WHERE {first_order}");
    database.execute(&reorder).await;
    record_days_ago(&database, 150, first_order).await;
    let second = report(&maintain(&database, &settings, &args));
    assert_eq!(second["archived_orders_forgotten"], 1);
    assert_eq!(database.count("archived_orders").await, 1);
    assert_eq!(
        database
            .count(&format!("archived_orders WHERE {first_order}"))
            .await,
        1
    );
}

async fn an_archive_has_a_file_for_each_tenant(database: Database) {
    let server = Server::start(&database, &[]).await;
    let dir = tempfile::tempdir().unwrap();
    for tenant in ["acme", "..", "a-b_c"] {
        let order = create_old_order(&server, &database, 10, "cancelled").await;
        let id = order_id(&order).to_owned();
        let id = if database.is_postgres() {
            format!("'{id}'")
        } else {
            format!("x'{}'", id.replace('-', ""))
        };
        database
            .execute(&format!(
                "UPDATE orders SET tenant = '{tenant}' WHERE id = {id};
                UPDATE order_items SET tenant = '{tenant}' WHERE order_id = {id};
                UPDATE events SET tenant = '{tenant}' WHERE order_id = {id}"
            ))
            .await;
    }
    let report = archive(&database, dir.path());
    assert_eq!(report["orders_archived"], 3);
    let mut names = files(dir.path(), ".ndjson");
    names.sort();
    assert_eq!(names.len(), 3);
    for (name, tenant) in names.iter().zip(["..", "a-b_c", "acme"]) {
        assert!(name.starts_with(&format!("orders-{tenant}-0")), "{name}");
    }
}

/// Inserts cancelled orders of the year 2001, with their events.
pub(crate) async fn insert_old_orders(database: &Database, count: i64) {
    let sql = if database.is_postgres() {
        format!(
            "INSERT INTO orders (tenant, id, status, customer_id, metadata, version, created_at, updated_at, json_bytes)
            SELECT 'default', ('00e4' || lpad(to_hex(i), 8, '0') || '70008000000000000000')::uuid, 'cancelled',
                'c' || i % 10, '{{\"note\": \"x\"}}', 2, '2001-01-01', '2001-01-02', 300 FROM generate_series(1, {count}) AS i;
            INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
            SELECT tenant, id, 1, 'sku', 1, status FROM orders;
            INSERT INTO events (tenant, event_type, authtype, order_id, version, position, occurred_at, data, data_bytes)
            SELECT tenant, 'updated', 'api_key', orders.id, 2, pg_current_xact_id()::text::bigint + xid_offset, now(), '{{}}', 300
            FROM orders, feed"
        )
    } else {
        format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
            INSERT INTO orders (tenant, id, status, customer_id, metadata, version, created_at, updated_at, json_bytes)
            SELECT 'default', CAST(char(1) || printf('%015d', i) AS BLOB), 'cancelled',
                'c' || i % 10, '{{\"note\": \"x\"}}', 2, 978307200000000, 978393600000000, 300 FROM n;
            INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
            SELECT tenant, id, 1, 'sku', 1, status FROM orders;
            INSERT INTO events (tenant, event_type, authtype, order_id, version, occurred_at, recorded_at, data, data_bytes)
            SELECT tenant, 'updated', 'api_key', id, 2, 0, unixepoch() * 1000000, '{{}}', 300 FROM orders"
        )
    };
    database.execute(&sql).await;
}

async fn many_orders_are_archived_in_one_run(database: Database) {
    crate::support::binary::migrate(&database);
    let dir = tempfile::tempdir().unwrap();
    insert_old_orders(&database, 1_050).await;
    let report = archive(&database, dir.path());
    assert_eq!(report["orders_archived"], 1_050);
    assert_eq!(archived(dir.path()).len(), 1_050);
    assert_eq!(database.count("orders").await, 0);
    assert_eq!(database.count("order_items").await, 0);
    assert_eq!(database.count("archived_orders").await, 1_050);
    assert_eq!(
        database.count("events WHERE event_type = 'archived'").await,
        1_050
    );
}
