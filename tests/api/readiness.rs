//! Readiness under real faults of the database.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::database::{Cluster, Database};
use crate::support::eventually;
use crate::support::server::{Server, migrate, order, problem, slug};

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

/// The reason, once it is another than the one before.
async fn becomes(server: &Server, expected: Option<&str>) {
    let what = format!("{expected:?}");
    eventually(&what, Duration::from_secs(4), async || {
        reason(server).await.as_deref() == expected
    })
    .await;
}

#[tokio::test]
async fn a_read_only_server_is_not_ready() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    becomes(&server, None).await;
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let admin = database.client().await;
    let writable = "SET default_transaction_read_only = off";
    admin.batch_execute(writable).await.unwrap();
    let alter = format!("ALTER DATABASE {name} SET default_transaction_read_only =");
    let read_only = format!(
        "{alter} on; SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()"
    );
    admin.batch_execute(&read_only).await.unwrap();
    becomes(&server, Some("read_only")).await;
    let refused = problem(server.post(&order("sku-1")).await);
    assert_eq!(slug(&refused), "unavailable");
    // New sessions may write again: those that may not must not be taken for the database.
    admin.batch_execute(&format!("{alter} off")).await.unwrap();
    becomes(&server, None).await;
    server.place("afterwards").await;
}

#[tokio::test]
async fn a_role_that_may_not_write_is_not_ready() {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    migrate(&database);
    let grants = "CREATE ROLE reader LOGIN;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader";
    database.execute(grants).await;
    let url = database.url().replace("postgres@", "reader@");
    let server = Server::spawn(&[("DATABASE_URL", &url)]).await;
    becomes(&server, Some("read_only")).await;
    let granted = "GRANT INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO reader;
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO reader";
    database.execute(granted).await;
    becomes(&server, None).await;
    server.place("sku-1").await;
}

#[tokio::test]
async fn a_standby_is_not_ready() {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    migrate(&database);
    let standby = cluster.standby();
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let (at, _) = standby.url.rsplit_once('/').unwrap();
    let url = format!("{at}/{name}");
    let server = Server::spawn(&[("DATABASE_URL", &url)]).await;
    becomes(&server, Some("read_only")).await;
    assert_eq!(
        slug(&problem(server.post(&order("sku-1")).await)),
        "unavailable"
    );
    assert_eq!(server.status("/api/v1/orders").await, 200);
    standby.promote();
    becomes(&server, None).await;
    server.place("sku-1").await;
}

#[tokio::test]
async fn without_the_row_of_the_feed_it_is_not_ready_and_takes_no_writes() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    let placed = server.place("before").await;
    database.execute("DELETE FROM feed").await;
    becomes(&server, Some("feed_missing")).await;
    assert_eq!(
        slug(&problem(server.post(&order("sku-1")).await)),
        "unavailable"
    );
    let patch = server
        .client
        .patch(server.url(&format!(
            "/api/v1/orders/{}",
            placed["id"].as_str().unwrap()
        )))
        .json(&serde_json::json!({"status": "confirmed"}));
    assert_eq!(slug(&problem(patch.send().await.unwrap())), "unavailable");
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
    assert_eq!(database.number("SELECT count(*) FROM events").await, 1);
    migrate(&database);
    becomes(&server, None).await;
    server.place("afterwards").await;
}

#[tokio::test]
async fn a_restored_dump_is_not_ready_before_it_is_migrated() {
    let database = Database::postgres().await;
    let server = Server::start(&database, &[]).await;
    server.place("before").await;
    becomes(&server, None).await;
    // The cluster that the dump came from had counted further.
    database
        .execute("UPDATE events SET position = position + 1000000")
        .await;
    becomes(&server, Some("feed_behind")).await;
    // Nobody who follows the feed would get the event.
    assert_eq!(
        slug(&problem(server.post(&order("sku-1")).await)),
        "unavailable"
    );
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
    migrate(&database);
    becomes(&server, None).await;
    server.place("afterwards").await;
    let events: Value = server.get("/api/v1/events").await.json();
    assert_eq!(events.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn terminated_backends_and_a_rotated_login_do_not_make_it_unready() {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    let admin = database.client().await;
    admin
        .batch_execute("CREATE ROLE service LOGIN SUPERUSER PASSWORD 'first'")
        .await
        .unwrap();
    let url = database.url().replace("postgres@", "service:first@");
    let server = Server::spawn(&[("DATABASE_URL", &url), ("MIGRATE_ON_START", "true")]).await;
    becomes(&server, None).await;
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = 'service'";
    for _ in 0..5 {
        admin.batch_execute(terminate).await.unwrap();
        server.place("sku-1").await;
        assert_eq!(reason(&server).await, None);
        tokio::time::sleep(Duration::from_millis(1_050)).await;
    }
    // From now on no connection can be opened; what is open works.
    admin
        .batch_execute("ALTER ROLE service NOLOGIN")
        .await
        .unwrap();
    let probe = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE usename = 'service' AND query LIKE '%transaction_read_only%'";
    for _ in 0..5 {
        admin.batch_execute(probe).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_050)).await;
        assert_eq!(reason(&server).await, None);
        server.place("sku-1").await;
    }
}

#[tokio::test]
async fn a_change_of_readiness_is_logged_once_with_its_cause() {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    let server = Server::start(&database, &[]).await;
    becomes(&server, None).await;
    cluster.stop();
    becomes(&server, Some("database_unavailable")).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(
        reason(&server).await.as_deref(),
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
async fn an_sqlite_database_that_cannot_be_written_is_not_ready() {
    let database = Database::sqlite();
    migrate(&database);
    let url = format!("{}?mode=ro", database.url());
    let server = Server::spawn(&[("DATABASE_URL", &url), ("MIGRATE_ON_START", "false")]).await;
    becomes(&server, Some("read_only")).await;
    assert_eq!(
        slug(&problem(server.post(&order("sku-1")).await)),
        "unavailable"
    );
    assert_eq!(server.status("/api/v1/orders").await, 200);
}

#[tokio::test]
async fn an_sqlite_file_that_is_gone_or_replaced_takes_no_orders() {
    let database = Database::sqlite();
    let url = database.url();
    let file = url.strip_prefix("sqlite://").unwrap();
    let server = Server::start(&database, &[]).await;
    server.place("before").await;
    becomes(&server, None).await;
    let kept = format!("{file}.kept");
    for end in ["", "-wal", "-shm"] {
        std::fs::rename(format!("{file}{end}"), format!("{kept}{end}")).unwrap();
    }
    assert_eq!(
        slug(&problem(server.post(&order("lost")).await)),
        "unavailable"
    );
    becomes(&server, Some("database_unavailable")).await;
    assert!(!std::path::Path::new(file).exists(), "no empty one is made");
    // Another file takes its place.
    let other = Database::sqlite();
    migrate(&other);
    std::fs::copy(other.url().strip_prefix("sqlite://").unwrap(), file).unwrap();
    becomes(&server, None).await;
    server.place("afterwards").await;
    assert_eq!(database.number("SELECT count(*) FROM orders").await, 1);
}

#[tokio::test]
async fn a_database_of_another_encoding_is_named() {
    let cluster = Cluster::start();
    let create = "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0";
    let admin = crate::support::database::connect(&cluster.url).await;
    admin.batch_execute(create).await.unwrap();
    let (at, _) = cluster.url.rsplit_once('/').unwrap();
    let url = format!("{at}/latin");
    let server = Server::spawn(&[("DATABASE_URL", &url)]).await;
    becomes(&server, Some("encoding")).await;
    let refused = problem(server.get("/readyz").await);
    assert!(refused["detail"].as_str().unwrap().contains("LATIN1"));
}
