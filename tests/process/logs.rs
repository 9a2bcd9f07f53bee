//! The log: its form, its levels, and the absence of secrets.

use std::time::Duration;

use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::orders::order;
use crate::support::server::Server;

#[tokio::test]
async fn every_line_is_json_and_contains_no_secret() {
    let cluster = Cluster::start();
    let database = cluster.database().await;
    // The cluster trusts every client, so it accepts any password.
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
    server.create("sku-1").await;
    server.post(&serde_json::json!({"product_id": 7})).await;
    server.get("/nope").await;
    cluster.crash();
    assert_eq!(server.post(&order("sku-2")).await.status(), 503);
    eventually(
        "the failure is logged",
        Duration::from_secs(2),
        async || {
            let log = server.access_log();
            log.iter().any(|line| line["status"] == 503)
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
    let access = server.access_log();
    let failed = access.iter().find(|line| line["status"] == 503).unwrap();
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
async fn the_start_is_logged_with_every_setting() {
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
async fn requests_without_errors_are_logged_at_debug() {
    let at_info = Server::on_sqlite(&[]).await;
    at_info.create("sku-1").await;
    let at_debug = Server::on_sqlite(&[("RUST_LOG", "order_service::access=debug,info")]).await;
    at_debug.create("sku-1").await;
    eventually("it is logged", Duration::from_secs(2), async || {
        at_debug.access_log().len() == 1
    })
    .await;
    assert_eq!(at_info.access_log().len(), 0);
}
