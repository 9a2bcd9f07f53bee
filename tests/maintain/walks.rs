//! A run reads what it removes, and not the rest of the tables (PostgreSQL).

use serde_json::json;

use super::archive::insert_old_orders;
use crate::support::binary::migrate;
use crate::support::database::Database;
use crate::{maintain, report};

/// The numbers of rows that stay and that are removed.
const YOUNG: i64 = 30_000;
const OLD: i64 = 200;
/// Each removed row is found, compared, looked up and removed with its lines, keys and records.
const MAX_ROWS_READ: i64 = 40 * OLD;

const TABLES: &str =
    "('orders', 'order_items', 'idempotency_keys', 'archived_orders', 'events_default')";

#[tokio::test]
async fn a_run_does_not_read_what_it_keeps() {
    let database = Database::postgres().await;
    migrate(&database);
    let dir = tempfile::tempdir().unwrap();
    insert_old_orders(&database, OLD).await;
    database
        .execute(&format!(
            "INSERT INTO orders (tenant, id, status, metadata, version, created_at, updated_at, json_bytes)
            SELECT 'default', ('01a3' || lpad(to_hex(i), 8, '0') || '7000800000000000' || '0000')::uuid, 'delivered',
                '{{}}', 1, now(), now(), 300 FROM generate_series(1, {YOUNG}) AS i;
            INSERT INTO order_items (tenant, order_id, line, product_id, quantity, status)
            SELECT tenant, id, 1, 'sku', 1, status FROM orders WHERE status = 'delivered';
            INSERT INTO idempotency_keys (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
            SELECT tenant, sha256(id::text::bytea), id, sha256('x'), 1, '{{}}', created_at FROM orders;
            INSERT INTO archived_orders (tenant, order_id, version, archived_at)
            SELECT 'default', gen_random_uuid(), 1, now() FROM generate_series(1, {YOUNG});
            ANALYZE"
        ))
        .await;
    let rows_read = async || {
        database
            .number(&format!(
                "SELECT (sum(coalesce(seq_tup_read, 0)) + sum(coalesce(idx_tup_fetch, 0)))::bigint
                FROM pg_stat_user_tables WHERE relname IN {TABLES}"
            ))
            .await
    };
    // The session that wrote reports its numbers when it ends.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let before = rows_read().await;
    let settings = [
        ("ORDER_RETENTION", "30d"),
        ("IDEMPOTENCY_RETENTION", "30d"),
        ("EVENT_RETENTION", "30d"),
    ];
    let args = ["--archive-to", dir.path().to_str().unwrap()];
    let report = report(&maintain(&database, &settings, &args));
    assert_eq!(report["orders_archived"], OLD);
    assert_eq!(report["idempotency_keys_removed"], OLD);
    assert_eq!(report["postponed"], json!([]));
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let read = rows_read().await - before;
    eprintln!("{read} rows read to remove {OLD} orders and keys");
    assert!((OLD..MAX_ROWS_READ).contains(&read), "{read}");
}
