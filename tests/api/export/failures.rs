//! Exports while the database fails.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{A_PART, LARGE, ORDERS, begin, create_all, cut_off_cause, exports, with_large_orders};
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::export::{End, Export};
use crate::support::orders::{order, order_id};
use crate::support::server::Server;

crate::on_both!(an_export_whose_orders_cannot_be_read_ends_without_the_last_chunk);

/// Reads the rest of an export that was cut off, and continues it.
async fn expect_resumable(server: &Server, mut export: Export) {
    let cut = export.end().await;
    assert_eq!((cut.status, cut.end), (200, End::Close));
    let mut orders = cut.orders();
    assert!(
        (10..LARGE).contains(&orders.len()),
        "{} orders",
        orders.len()
    );
    eventually(
        "its permit is released",
        Duration::from_secs(2),
        async || exports(server).await == 0,
    )
    .await;
    let path = format!(
        "{ORDERS}?starting_after={}",
        order_id(orders.last().unwrap())
    );
    let rest = Export::of(server, &path).await;
    rest.complete();
    orders.extend(rest.orders());
    let pages: Vec<Value> = Export::of(server, ORDERS).await.orders();
    assert_eq!(orders, pages);
    assert_eq!(orders.len(), LARGE);
}

const HIDE: &str = "ALTER TABLE orders RENAME TO hidden";
const SHOW: &str = "ALTER TABLE hidden RENAME TO orders";

async fn an_export_whose_orders_cannot_be_read_ends_without_the_last_chunk(database: Database) {
    let server = with_large_orders(&database, &[("REQUEST_TIMEOUT", "2s")]).await;
    let mut export = begin(&server).await;
    database.execute(HIDE).await;
    let start = Instant::now();
    export.end().await;
    let (took, cause) = (start.elapsed(), cut_off_cause(&server).await);
    if database.is_postgres() {
        // A migration may be in progress.
        assert!((1_500..8_000).contains(&took.as_millis()), "{took:?}");
        let begin = "no page could be read within 2s: ";
        assert!(cause.starts_with(begin), "{cause}");
    } else {
        assert!(took < Duration::from_secs(2), "a fault is not retried");
        assert_eq!(cause, "no such table: orders");
    }
    database.execute(SHOW).await;
    expect_resumable(&server, export).await;
}

#[tokio::test]
async fn an_export_continues_after_a_failure_of_the_database() {
    let database = Database::postgres().await;
    let server = with_large_orders(&database, &[]).await;
    let mut export = begin(&server).await;
    database.execute(HIDE).await;
    let errors = "db_errors_total{kind=\"unavailable\"}";
    let before: u64 = server.metric(errors).await;
    let reading = tokio::spawn(async move { export.end().await });
    eventually("reads have failed", Duration::from_secs(5), async || {
        server.metric::<u64>(errors).await >= before + 2
    })
    .await;
    database.execute(SHOW).await;
    assert_eq!(reading.await.unwrap().complete().len(), LARGE);
}

#[tokio::test]
async fn an_export_continues_on_another_connection() {
    let database = Database::postgres().await;
    let server = with_large_orders(&database, &[]).await;
    let mut export = begin(&server).await;
    for bytes in [A_PART, 2 * A_PART, 4 * A_PART] {
        export.read_bytes(bytes).await;
        let terminated = database
            .number(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
        assert!(terminated > 0);
    }
    assert_eq!(export.end().await.complete().len(), LARGE);
}

#[tokio::test]
async fn an_export_ends_without_the_last_chunk_when_the_server_stays_down() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let server = with_large_orders(&database, &[("REQUEST_TIMEOUT", "3s")]).await;
    let mut export = begin(&server).await;
    cluster.crash();
    let start = Instant::now();
    let cut = export.end().await;
    assert_eq!(cut.end, End::Close);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    assert!(!cut.lines().is_empty());
    assert!(
        cut.body.len() < 2_000_000,
        "the second page was not read before"
    );
    assert!(
        cut_off_cause(&server)
            .await
            .starts_with("no page could be read within 3s: ")
    );
    cluster.start_again();
    eventually("it is ready again", Duration::from_secs(10), async || {
        server.status("/readyz").await == 200
    })
    .await;
    expect_resumable(&server, export).await;
}

#[tokio::test]
async fn an_export_survives_an_overload() {
    let database = Database::postgres().await;
    let variables = [
        ("QUEUE_CAPACITY", "4"),
        ("STATEMENT_TIMEOUT", "60s"),
        ("REQUEST_TIMEOUT", "60s"),
    ];
    let server = with_large_orders(&database, &variables).await;
    let mut export = begin(&server).await;
    // Creates wait, and reads of orders do not.
    let lock = database
        .begin("LOCK TABLE idempotency_keys IN ACCESS EXCLUSIVE MODE")
        .await;
    let full = tokio::spawn({
        let (client, url) = (server.client.clone(), server.url(ORDERS));
        async move {
            let create = |key: i32| {
                let request = client.post(&url).header("idempotency-key", key.to_string());
                request.json(&order("sku-1")).send()
            };
            futures_util::future::join_all((0..2).map(create)).await
        }
    });
    let creates = "queue_depth{queue=\"create\"}";
    eventually("both creates wait", Duration::from_secs(5), async || {
        server.metric::<usize>(creates).await == 2
    })
    .await;
    // They are the share of the caller. Lists and new exports are rejected.
    assert_eq!(server.status("/api/v1/orders?limit=5").await, 429);
    let mut rejected = Export::open(&server, ORDERS).await;
    assert_eq!(rejected.status().await, 429);
    assert_eq!(export.end().await.complete().len(), LARGE);
    lock.batch_execute("COMMIT").await.unwrap();
    for created in full.await.unwrap() {
        assert_eq!(created.unwrap().status(), 201);
    }
    create_all(&server, [order("sku-2")]).await;
}
