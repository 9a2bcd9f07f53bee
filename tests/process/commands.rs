//! Commands, their exit codes, and the settings that they read.

use std::time::{Duration, Instant};

use crate::support::binary::{command, migrate, run, stderr};
use crate::support::cluster::Cluster;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::orders::order;
use crate::support::server::Server;

crate::on_both!(
    migrate_check_reports_whether_a_migration_is_pending,
    healthcheck_succeeds_while_the_service_is_ready
);

#[test]
fn an_invalid_setting_exits_with_2_and_names_the_variable() {
    for (variable, value) in [
        ("POOL_MAX_SIZE", "none"),
        ("POOL_MIN_IDLE", "few"),
        ("DATABASE_URL", "sqlite://:memory:"),
        ("WORKERS", "0"),
        ("REQUEST_TIMEOUT", "soon"),
        ("BIND_ADDRESS", "nowhere"),
        ("DATABASE_URL", "mysql://u:planted-secret@h/d"),
        ("DATABASE_URL", "postgres://u:planted-secret@h:port/d"),
        ("DATABASE_URL_FILE", "/no/such/file"),
        ("LOG_FORMAT", "xml"),
        ("RUST_LOG", "order_service=loud"),
        ("MIGRATE_ON_START", "maybe"),
        ("AUTH_ANONYMOUS", "some"),
    ] {
        let out = run(&[], &[(variable, value)]);
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{variable}: {text}");
        assert!(text.contains(variable), "{text}");
        assert!(
            text.contains("takes") || text.contains("possible values"),
            "{text}"
        );
        assert!(!text.contains("planted"), "{text}");
    }
    assert_eq!(run(&["no-such-command"], &[]).status.code(), Some(2));
}

#[test]
fn help_does_not_show_values_of_the_environment() {
    let out = run(
        &["--help"],
        &[("DATABASE_URL", "postgres://u:planted-secret@h/d")],
    );
    assert!(out.status.success());
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(
        text.contains("DATABASE_URL") && !text.contains("planted"),
        "{text}"
    );
}

#[tokio::test]
async fn a_port_in_use_exits_with_1_and_names_the_variable() {
    let server = Server::on_sqlite(&[]).await;
    let in_use = server.address();
    for variable in ["BIND_ADDRESS", "METRICS_ADDRESS"] {
        let mut variables = vec![
            ("DATABASE_URL", "sqlite::memory:"),
            ("BIND_ADDRESS", "127.0.0.1:0"),
            ("METRICS_ADDRESS", "127.0.0.1:0"),
        ];
        variables.push((variable, in_use));
        let out = run(&[], &variables);
        assert_eq!(out.status.code(), Some(1));
        assert!(stderr(&out).contains(variable), "{}", stderr(&out));
    }
}

async fn migrate_check_reports_whether_a_migration_is_pending(database: Database) {
    let url = database.url();
    let variables = [("DATABASE_URL", url.as_str())];
    let pending = run(&["migrate", "--check"], &variables);
    assert_eq!(pending.status.code(), Some(1));
    assert!(
        stderr(&pending).contains("create_orders"),
        "{}",
        stderr(&pending)
    );
    migrate(&database);
    assert_eq!(
        run(&["migrate", "--check"], &variables).status.code(),
        Some(0)
    );
    let again = run(&["migrate"], &variables);
    assert!(
        String::from_utf8(again.stdout)
            .unwrap()
            .contains("nothing to do")
    );
}

async fn healthcheck_succeeds_while_the_service_is_ready(database: Database) {
    let server = Server::start(&database, &[("MIGRATE_ON_START", "false")]).await;
    let address = server.address().to_owned();
    let check = || run(&["healthcheck"], &[("BIND_ADDRESS", &address)]);
    let not_ready = check();
    assert_eq!(not_ready.status.code(), Some(1));
    assert!(
        stderr(&not_ready).contains("schema_behind"),
        "{}",
        stderr(&not_ready)
    );
    migrate(&database);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(check().status.code(), Some(0));
    drop(server);
    assert_eq!(check().status.code(), Some(1));
}

#[test]
fn migrate_waits_for_the_database_up_to_its_wait_option() {
    let cluster = Cluster::start();
    cluster.crash();
    let variables = [("DATABASE_URL", cluster.url.as_str())];
    let start = Instant::now();
    assert_eq!(run(&["migrate"], &variables).status.code(), Some(3));
    assert!(start.elapsed() < Duration::from_secs(2));
    let waiting = command(&["migrate", "--wait", "30s"], &variables)
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    cluster.start_again();
    assert!(waiting.wait_with_output().unwrap().status.success());
}

#[tokio::test]
async fn the_url_file_is_read_for_every_new_connection() {
    let (old, new) = (Database::postgres().await, Database::postgres().await);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("database-url");
    std::fs::write(&file, format!("{}\n", old.url())).unwrap();
    let server = Server::spawn(&[
        ("DATABASE_URL_FILE", file.to_str().unwrap()),
        ("DATABASE_URL", "sqlite://never-used.db"),
        ("MIGRATE_ON_START", "true"),
        ("POOL_MIN_IDLE", "0"),
        ("POOL_MAX_LIFETIME", "200ms"),
    ])
    .await;
    server.create("old").await;
    migrate(&new);
    std::fs::write(&file, new.url()).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.create("new").await;
    let count = "SELECT count(*) FROM orders";
    assert_eq!((old.number(count).await, new.number(count).await), (1, 1));
    // The listener for events connects to the new database as well.
    let listeners = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND query ~ '(LISTEN|NOTIFY) order_events'";
    eventually(
        "it listens on the new database",
        Duration::from_secs(5),
        async || (old.number(listeners).await, new.number(listeners).await) == (0, 1),
    )
    .await;
}

#[tokio::test]
async fn all_connections_share_a_database_in_memory() {
    let server = Server::spawn(&[("DATABASE_URL", "sqlite::memory:")]).await;
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let request = server.client.post(server.url("/api/v1/orders"));
            tokio::spawn(request.json(&order(&format!("sku-{i}"))).send())
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 201);
    }
    let list: serde_json::Value = server.get("/api/v1/orders").await.json();
    assert_eq!(list.as_array().unwrap().len(), 40);
    assert_eq!(server.status("/readyz").await, 200);
}
