use std::time::{Duration, Instant};

use crate::support::database::{Cluster, Database};
use crate::support::eventually;
use crate::support::server::{Server, command, migrate, run};

crate::on_both!(
    check_tells_whether_a_migration_is_pending,
    healthcheck_follows_readiness
);

fn stderr(out: &std::process::Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_bad_value_ends_the_start_with_2_and_names_the_variable() {
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
fn help_does_not_show_what_the_environment_holds() {
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
async fn a_taken_port_ends_the_start_with_1_and_names_the_variable() {
    let server = Server::on_sqlite(&[]).await;
    let taken = server.api.strip_prefix("http://").unwrap();
    for variable in ["BIND_ADDRESS", "METRICS_ADDRESS"] {
        let mut variables = vec![
            ("DATABASE_URL", "sqlite::memory:"),
            ("BIND_ADDRESS", "127.0.0.1:0"),
            ("METRICS_ADDRESS", "127.0.0.1:0"),
        ];
        variables.push((variable, taken));
        let out = run(&[], &variables);
        assert_eq!(out.status.code(), Some(1));
        assert!(stderr(&out).contains(variable), "{}", stderr(&out));
    }
}

async fn check_tells_whether_a_migration_is_pending(database: Database) {
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

async fn healthcheck_follows_readiness(database: Database) {
    let server = Server::start(&database, &[("MIGRATE_ON_START", "false")]).await;
    let address = server.api.strip_prefix("http://").unwrap().to_owned();
    let check = || run(&["healthcheck"], &[("BIND_ADDRESS", &address)]);
    let behind = check();
    assert_eq!(behind.status.code(), Some(1));
    assert!(
        stderr(&behind).contains("schema_behind"),
        "{}",
        stderr(&behind)
    );
    migrate(&database);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(check().status.code(), Some(0));
    drop(server);
    assert_eq!(check().status.code(), Some(1));
}

#[test]
fn migrate_waits_for_the_database_as_long_as_it_is_told() {
    let cluster = Cluster::start();
    cluster.stop();
    let variables = [("DATABASE_URL", cluster.url.as_str())];
    let at_once = Instant::now();
    assert_eq!(run(&["migrate"], &variables).status.code(), Some(1));
    assert!(at_once.elapsed() < Duration::from_secs(2));
    let waits = command(&["migrate", "--wait", "30s"], &variables)
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    cluster.start_again();
    assert!(waits.wait_with_output().unwrap().status.success());
}

#[tokio::test]
async fn the_url_is_read_from_the_file_for_every_new_connection() {
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
    server.place("old").await;
    migrate(&new);
    std::fs::write(&file, new.url()).unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.place("new").await;
    let count = "SELECT count(*) FROM orders";
    assert_eq!((old.number(count).await, new.number(count).await), (1, 1));
    // What listens for events moves as well.
    let listens = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND query ~ '(LISTEN|NOTIFY) order_events'";
    eventually("it listens there", Duration::from_secs(5), async || {
        (old.number(listens).await, new.number(listens).await) == (0, 1)
    })
    .await;
}

#[tokio::test]
async fn a_database_in_memory_is_one_for_all_connections() {
    let server = Server::spawn(&[("DATABASE_URL", "sqlite::memory:")]).await;
    let tasks: Vec<_> = (0..40)
        .map(|i| {
            let request = server.client.post(server.url("/api/v1/orders"));
            tokio::spawn(
                request
                    .json(&crate::support::server::order(&format!("sku-{i}")))
                    .send(),
            )
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap().status(), 201);
    }
    let list: serde_json::Value = server.get("/api/v1/orders").await.json();
    assert_eq!(list.as_array().unwrap().len(), 40);
    assert_eq!(server.status("/readyz").await, 200);
}
