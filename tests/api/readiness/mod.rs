//! Readiness under faults of the database.

mod writes;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::binary::migrate;
use crate::support::cluster::Cluster;
use crate::support::database::{Database, connect};
use crate::support::eventually;
use crate::support::orders::{order, order_path};
use crate::support::problem::{problem, problem_kind};
use crate::support::server::Server;

crate::on_both!(a_service_on_an_older_schema_is_ready_after_the_migration);

/// Why the service is not ready; `None` when it is.
async fn readiness_reason(server: &Server) -> Option<String> {
    let response = server.get("/readyz").await;
    if response.status() == 200 {
        return None;
    }
    assert_eq!(response.status(), 503);
    let problem: Value = problem(response);
    Some(problem["reason"].as_str().unwrap().to_owned())
}

async fn a_service_on_an_older_schema_is_ready_after_the_migration(database: Database) {
    let server = Server::start(&database, &[("MIGRATE_ON_START", "false")]).await;
    assert_eq!(
        readiness_reason(&server).await.as_deref(),
        Some("schema_behind")
    );
    assert_eq!(server.status("/healthz").await, 200);
    migrate(&database);
    eventually("ready", Duration::from_secs(2), async || {
        readiness_reason(&server).await.is_none()
    })
    .await;
    server.create("sku-1").await;
}

#[tokio::test]
async fn the_readiness_probe_does_not_wait_for_requests() {
    let database = Database::postgres().await;
    let variables = [("POOL_MAX_SIZE", "2"), ("REQUEST_TIMEOUT", "4s")];
    let server = Server::start(&database, &variables).await;
    let lock = database.begin("LOCK TABLE orders").await;
    let waiting: Vec<_> = (0..20)
        .map(|_| tokio::spawn(server.client.get(server.url("/api/v1/orders")).send()))
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    assert_eq!(readiness_reason(&server).await, None);
    assert!(start.elapsed() < Duration::from_secs(1));
    lock.batch_execute("ROLLBACK").await.unwrap();
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn readiness_follows_crashes_and_hangs_of_the_database() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let server = Server::start(&database, &[]).await;
    assert_eq!(readiness_reason(&server).await, None);
    server.create("before").await;
    let unavailable =
        async || readiness_reason(&server).await.as_deref() == Some("database_unavailable");

    cluster.crash();
    eventually("not ready", Duration::from_secs(2), unavailable).await;
    assert_eq!(server.status("/healthz").await, 200);
    assert_eq!(server.status("/api/v1/orders").await, 503);
    cluster.start_again();
    eventually("ready again", Duration::from_secs(5), async || {
        readiness_reason(&server).await.is_none()
    })
    .await;
    server.create("after a crash").await;

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
        readiness_reason(&server).await.is_none()
    })
    .await;
    server.create("after a hang").await;
    assert_eq!(database.count("orders").await, 3);
}

#[tokio::test]
async fn the_service_starts_without_a_database() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    migrate(&database);
    cluster.crash();
    let server = Server::start(&database, &[("MIGRATE_ON_START", "false")]).await;
    assert_eq!(
        readiness_reason(&server).await.as_deref(),
        Some("database_unavailable")
    );
    cluster.start_again();
    eventually("ready", Duration::from_secs(5), async || {
        readiness_reason(&server).await.is_none()
    })
    .await;
    server.create("sku-1").await;
}

/// Waits until the service is ready (`None`) or reports this reason.
async fn expect_reason(server: &Server, expected: Option<&str>) {
    let what = format!("{expected:?}");
    eventually(&what, Duration::from_secs(4), async || {
        readiness_reason(server).await.as_deref() == expected
    })
    .await;
}

#[tokio::test]
async fn without_the_row_of_the_feed_the_service_is_not_ready_and_rejects_writes() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let created = server.create("before").await;
    database.execute("DELETE FROM feed").await;
    expect_reason(&server, Some("feed_missing")).await;
    assert_eq!(
        problem_kind(&problem(server.post(&order("sku-1")).await)),
        "unavailable"
    );
    let confirmed = serde_json::json!({"status": "confirmed"});
    let rejected = problem(server.patch(&order_path(&created), &confirmed).await);
    assert_eq!(problem_kind(&rejected), "unavailable");
    assert_eq!(database.count("orders").await, 1);
    assert_eq!(database.count("events").await, 1);
    migrate(&database);
    expect_reason(&server, None).await;
    server.create("afterwards").await;
}

#[tokio::test]
async fn a_service_on_a_restored_dump_is_ready_after_the_migration() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    server.create("before").await;
    expect_reason(&server, None).await;
    // The cluster of the dump had assigned more transaction ids.
    database
        .execute("UPDATE events SET position = position + 1000000")
        .await;
    expect_reason(&server, Some("feed_behind")).await;
    // No reader of the feed would get the event.
    assert_eq!(
        problem_kind(&problem(server.post(&order("sku-1")).await)),
        "unavailable"
    );
    assert_eq!(database.count("orders").await, 1);
    migrate(&database);
    expect_reason(&server, None).await;
    server.create("afterwards").await;
    let events: Value = server.get("/api/v1/events").await.json();
    assert_eq!(events.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn terminated_connections_and_a_revoked_login_do_not_change_readiness() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let admin = database.client().await;
    admin
        .batch_execute("CREATE ROLE service LOGIN SUPERUSER PASSWORD 'first'")
        .await
        .unwrap();
    let url = database.url().replace("postgres@", "service:first@");
    let server = Server::spawn(&[("DATABASE_URL", &url), ("MIGRATE_ON_START", "true")]).await;
    expect_reason(&server, None).await;
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = 'service'";
    for _ in 0..5 {
        admin.batch_execute(terminate).await.unwrap();
        server.create("sku-1").await;
        assert_eq!(readiness_reason(&server).await, None);
        tokio::time::sleep(Duration::from_millis(1_050)).await;
    }
    // From now on no connection can be opened; open connections work.
    admin
        .batch_execute("ALTER ROLE service NOLOGIN")
        .await
        .unwrap();
    let probe = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = 'service' AND query LIKE '%transaction_read_only%'";
    for _ in 0..5 {
        admin.batch_execute(probe).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert_eq!(readiness_reason(&server).await, None);
        server.create("sku-1").await;
    }
}

#[tokio::test]
async fn a_change_of_readiness_is_logged_once_with_its_cause() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    let server = Server::start(&database, &[]).await;
    expect_reason(&server, None).await;
    cluster.crash();
    expect_reason(&server, Some("database_unavailable")).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(
        readiness_reason(&server).await.as_deref(),
        Some("database_unavailable")
    );
    let logs = server.logs();
    let warnings: Vec<_> = logs
        .iter()
        .filter(|line| line["msg"] == "not ready")
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["level"], "WARN");
    assert!(!warnings[0]["error"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn readiness_names_an_encoding_that_is_not_supported() {
    let cluster = Cluster::start();
    let create = "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0";
    let admin = connect(&cluster.url).await;
    admin.batch_execute(create).await.unwrap();
    let (address, _) = cluster.url.rsplit_once('/').unwrap();
    let url = format!("{address}/latin");
    let server = Server::spawn(&[("DATABASE_URL", &url)]).await;
    expect_reason(&server, Some("encoding")).await;
    let rejected = problem(server.get("/readyz").await);
    assert!(rejected["detail"].as_str().unwrap().contains("LATIN1"));
}
