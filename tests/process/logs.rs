use std::time::Duration;

use crate::support::database::{Cluster, Database};
use crate::support::eventually;
use crate::support::server::{Server, order};

#[tokio::test]
async fn every_line_is_json_and_no_secret_is_in_any() {
    let cluster = Cluster::start();
    let database = Database::postgres_in(cluster.url.clone()).await;
    // The cluster trusts everybody, so any password is right.
    let url = database
        .url()
        .replace("postgres@", "postgres:planted%2Dsecret@");
    let server = Server::spawn(&[
        (
            "DATABASE_URL",
            &format!("{url}?application_name=planted-parameter"),
        ),
        ("MIGRATE_ON_START", "true"),
        ("RUST_LOG", "trace"),
    ])
    .await;
    server.place("sku-1").await;
    server.post(&serde_json::json!({"product_id": 7})).await;
    server.get("/nope").await;
    cluster.stop();
    assert_eq!(server.post(&order("sku-2")).await.status(), 503);
    eventually(
        "the failure is logged",
        Duration::from_secs(2),
        async || {
            server
                .logs()
                .iter()
                .any(|line| line["target"] == "order_service::access" && line["status"] == 503)
        },
    )
    .await;
    let logs = server.logs();
    assert!(logs.len() > 20);
    for line in &logs {
        for field in ["ts", "level", "target", "msg"] {
            assert!(line[field].is_string(), "{field} in {line}");
        }
        let text = line.to_string();
        assert!(
            !text.contains("secret") && !text.contains("planted"),
            "{text}"
        );
    }
    let failed = logs
        .iter()
        .find(|l| l["target"] == "order_service::access" && l["status"] == 503);
    let failed = failed.unwrap();
    assert_eq!(failed["level"], "WARN");
    assert_eq!(failed["route"], "/api/v1/orders");
    assert!(failed["duration_seconds"].is_number());
    let id = &failed["request_id"];
    let cause = logs
        .iter()
        .find(|l| l["msg"] == "request failed" && &l["request_id"] == id);
    assert!(cause.unwrap()["cause"].is_string());
}

#[tokio::test]
async fn the_start_is_logged_with_every_resolved_setting() {
    let server = Server::on_sqlite(&[("POOL_MAX_SIZE", "3")]).await;
    let logs = server.logs();
    let start = logs.iter().find(|line| line["msg"] == "starting").unwrap();
    for (field, value) in [
        ("pool_max_size", "3"),
        ("pool_min_idle", "3"),
        ("workers", "2"),
        ("statement_timeout", "5s"),
        ("migrate_on_start", "true"),
        ("log_format", "json"),
    ] {
        assert_eq!(start[field], value, "{start}");
    }
    assert!(
        start["database_url"]
            .as_str()
            .unwrap()
            .starts_with("sqlite://")
    );
}

#[tokio::test]
async fn answered_requests_are_logged_at_debug_only() {
    let quiet = Server::on_sqlite(&[]).await;
    quiet.place("sku-1").await;
    let loud = Server::on_sqlite(&[("RUST_LOG", "order_service::access=debug,info")]).await;
    loud.place("sku-1").await;
    let lines = |server: &Server| {
        let logs = server.logs();
        logs.into_iter()
            .filter(|l| l["target"] == "order_service::access")
            .count()
    };
    eventually("logged", Duration::from_secs(2), async || lines(&loud) == 1).await;
    assert_eq!(lines(&quiet), 0);
}
