//! Readiness under real faults of the database.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::database::{Cluster, Database};
use crate::support::eventually;
use crate::support::server::{Server, migrate, problem};

crate::on_both!(a_server_on_an_older_schema_becomes_ready);

async fn reason(server: &Server) -> Option<String> {
    let response = server.get("/readyz").await;
    if response.status() == 200 {
        return None;
    }
    assert_eq!(response.status(), 503);
    let problem: Value = problem(response);
    Some(problem["reason"].as_str().unwrap().to_owned())
}

async fn a_server_on_an_older_schema_becomes_ready(database: Database) {
    let server = Server::start(&database, &[("MIGRATE_ON_START", "false")]).await;
    assert_eq!(reason(&server).await.as_deref(), Some("schema_behind"));
    assert_eq!(server.status("/healthz").await, 200);
    migrate(&database);
    eventually("ready", Duration::from_secs(2), async || {
        reason(&server).await.is_none()
    })
    .await;
    server.place("sku-1").await;
}

#[tokio::test]
async fn the_probe_never_queues_behind_requests() {
    let database = Database::postgres().await;
    let variables = [("POOL_MAX_SIZE", "2"), ("REQUEST_TIMEOUT", "4s")];
    let server = Server::start(&database, &variables).await;
    let lock = database.client().await;
    lock.batch_execute("BEGIN; LOCK TABLE orders")
        .await
        .unwrap();
    let stuck: Vec<_> = (0..20)
        .map(|_| tokio::spawn(server.client.get(server.url("/api/v1/orders")).send()))
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    assert_eq!(reason(&server).await, None);
    assert!(start.elapsed() < Duration::from_secs(1));
    lock.batch_execute("ROLLBACK").await.unwrap();
    for request in stuck {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn it_follows_the_database_down_and_up() {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    let server = Server::start(&database, &[]).await;
    assert_eq!(reason(&server).await, None);
    server.place("before").await;
    let unavailable = async || reason(&server).await.as_deref() == Some("database_unavailable");

    cluster.stop();
    eventually("not ready", Duration::from_secs(2), unavailable).await;
    assert_eq!(server.status("/healthz").await, 200);
    assert_eq!(server.status("/api/v1/orders").await, 503);
    cluster.start_again();
    eventually("ready again", Duration::from_secs(5), async || {
        reason(&server).await.is_none()
    })
    .await;
    server.place("after a crash").await;

    cluster.signal(libc::SIGSTOP);
    eventually(
        "not ready while it hangs",
        Duration::from_secs(2),
        unavailable,
    )
    .await;
    assert_eq!(server.status("/healthz").await, 200);
    cluster.signal(libc::SIGCONT);
    eventually("ready again", Duration::from_secs(5), async || {
        reason(&server).await.is_none()
    })
    .await;
    server.place("after a hang").await;
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 3);
}

#[tokio::test]
async fn it_starts_without_a_database() {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    migrate(&database);
    cluster.stop();
    let server = Server::start(&database, &[("MIGRATE_ON_START", "false")]).await;
    assert_eq!(
        reason(&server).await.as_deref(),
        Some("database_unavailable")
    );
    cluster.start_again();
    eventually("ready", Duration::from_secs(5), async || {
        reason(&server).await.is_none()
    })
    .await;
    server.place("sku-1").await;
}
