//! An erasure continues after its process was killed, and after the database has restarted.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{customer_path, done, expect_consistent, orders_of, personal_order, request};
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::server::Server;

crate::on_both!(
    killed_processes_lose_nothing_and_repeat_nothing,
    a_process_that_ends_leaves_its_erasure_to_the_next_at_once,
);

fn random(below: u128) -> u64 {
    u64::try_from(Uuid::new_v4().as_u128() % below).unwrap()
}

async fn killed_processes_lose_nothing_and_repeat_nothing(database: Database) {
    const ORDERS: usize = 300;
    let mut paths = Vec::new();
    let server = Server::start(&database, &[]).await;
    for i in 0..ORDERS {
        // All are erased by one of 30 erasures, so that each round interrupts one at another place.
        let customer_id = format!("customer-{}", i % 30);
        let body = personal_order(&customer_id, &i.to_string());
        let created = server.post_with_key(&format!("key-{i}"), &body).await;
        let path = order_path(&created.json());
        for n in 0..3 {
            let patch = json!({"metadata": {"note": format!("metadata-{i}-{n}")}});
            assert_eq!(server.patch(&path, &patch).await.status(), 200);
        }
        paths.push(path);
    }
    drop(server);
    let paths = Arc::new(paths);
    for round in 0..30 {
        let server = Arc::new(Server::start(&database, &[]).await);
        let customer_id = format!("customer-{round}");
        let response = server.delete(&customer_path(&customer_id)).await;
        assert_eq!(response.status(), 202);
        let updates: Vec<_> = (0..4)
            .map(|n| {
                let (server, paths) = (Arc::clone(&server), Arc::clone(&paths));
                tokio::spawn(async move {
                    for i in 0..20 {
                        let path = server.url(&paths[(round + 30 * (i % 10)) % ORDERS]);
                        let patch = json!({"metadata": {"count": format!("{round}-{n}-{i}")}});
                        // The service may be dead by now.
                        let _ = server.client.patch(path).json(&patch).send().await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(random(60))).await;
        server.signal(libc::SIGKILL);
        for update in updates {
            update.await.unwrap();
        }
    }
    let server = Server::start(&database, &[]).await;
    for round in 0..30 {
        let path = request(&server, &format!("customer-{round}")).await;
        done(&server, &path).await;
        assert_eq!(
            orders_of(&server, &format!("customer-{round}")).await,
            Vec::<Value>::new()
        );
    }
    let orders = i64::try_from(ORDERS).unwrap();
    assert_eq!(
        database
            .number("SELECT count(*) FROM events WHERE event_type = 'erased'")
            .await,
        orders
    );
    let counted = "SELECT CAST(sum(orders) AS bigint) FROM erasures";
    assert_eq!(database.number(counted).await, orders);
    let counted = "SELECT CAST(sum(idempotency_keys) AS bigint) FROM erasures";
    assert_eq!(database.number(counted).await, orders);
    let counted = "SELECT CAST(sum(events) AS bigint) FROM erasures";
    let before = "SELECT count(*) FROM events e WHERE version < (SELECT version FROM events x
        WHERE x.tenant = e.tenant AND x.order_id = e.order_id AND x.event_type = 'erased')";
    assert_eq!(
        database.number(counted).await,
        database.number(before).await
    );
    for (table, column) in [("events", "data"), ("idempotency_keys", "document")] {
        for personal in ["customer-", "external-", "metadata-"] {
            let left = format!(
                "SELECT count(*) FROM {table} WHERE CAST({column} AS text) LIKE '%{personal}%'"
            );
            assert_eq!(database.number(&left).await, 0, "{personal} in {table}");
        }
    }
    expect_consistent(&database).await;
}

async fn a_process_that_ends_leaves_its_erasure_to_the_next_at_once(database: Database) {
    let mut server = Server::start(&database, &[]).await;
    for i in 0..200 {
        assert_eq!(
            server
                .post(&personal_order("ann", &i.to_string()))
                .await
                .status(),
            201
        );
    }
    let path = request(&server, "ann").await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    server.signal(libc::SIGTERM);
    assert!(
        server
            .wait_for_exit(Duration::from_secs(20))
            .await
            .success()
    );
    let left = database
        .number("SELECT count(*) FROM orders WHERE customer_id = 'ann'")
        .await;
    assert!(left > 0, "the erasure was done before the process ended");
    let start = std::time::Instant::now();
    let server = Server::start(&database, &[]).await;
    done(&server, &path).await;
    // The lease lasts ten seconds.
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    expect_consistent(&database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_continues_after_the_database_has_restarted() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let server = Server::start(&database, &[]).await;
    for i in 0..200 {
        assert_eq!(
            server
                .post(&personal_order("ann", &i.to_string()))
                .await
                .status(),
            201
        );
    }
    let path = request(&server, "ann").await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        cluster.crash();
        cluster.start_again();
    }
    let erasure = done(&server, &path).await;
    assert_eq!(erasure["orders"], 200);
    assert_eq!(orders_of(&server, "ann").await, Vec::<Value>::new());
    expect_consistent(&database).await;
}
