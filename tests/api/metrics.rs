//! The metrics of the contract.

use std::collections::BTreeSet;

use prometheus_parse::Scrape;

use crate::support::database::Database;
use crate::support::orders::order_path;
use crate::support::server::Server;

crate::on_both!(
    every_metric_of_the_contract_is_exposed_with_its_labels,
    the_number_of_series_does_not_depend_on_the_paths_requested
);

/// The metrics of section 3 of the contract for the features that exist.
const NAMES: [&str; 29] = [
    "auth_total",
    "auth_file_reload_total",
    "db_errors_total",
    "log_lines_dropped_total",
    "batch_size",
    "event_partitions_ahead_seconds",
    "event_streams",
    "erasure_oldest_seconds",
    "feed_lag_seconds",
    "feed_lag_failures_total",
    "orders_idempotent_replays_total",
    "http_requests_total",
    "http_request_duration_seconds",
    "request_stage_seconds",
    "http_requests_in_flight",
    "http_connections",
    "http_response_buffer_bytes",
    "db_pool_connections",
    "db_pool_max_connections",
    "db_pool_acquire_seconds",
    "db_query_duration_seconds",
    "queue_depth",
    "queue_rejected_total",
    "orders_created_total",
    "panics_total",
    "build_info",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
];

async fn scrape(server: &Server) -> Scrape {
    // The parser ends the labels at the first brace, even within a value.
    let text = server.scrape().await.replace("{id}", "<id>");
    Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap()
}

async fn every_metric_of_the_contract_is_exposed_with_its_labels(database: Database) {
    let server = Server::start(&database, &[("POOL_MAX_SIZE", "7")]).await;
    let order = server.create("sku-1").await;
    let path = order_path(&order);
    assert_eq!(server.status(&path).await, 200);
    let scrape = scrape(&server).await;
    let names: BTreeSet<_> = scrape
        .samples
        .iter()
        .map(|sample| sample.metric.as_str())
        .collect();
    for name in NAMES {
        assert!(names.contains(name), "no {name} in {names:?}");
        assert!(
            !scrape.docs.get(name).is_none_or(String::is_empty),
            "{name} has no help text"
        );
    }
    let labels = |metric: &str, label: &str| -> BTreeSet<_> {
        let samples = scrape
            .samples
            .iter()
            .filter(|sample| sample.metric == metric);
        samples
            .filter_map(|sample| sample.labels.get(label))
            .map(str::to_owned)
            .collect()
    };
    let value = |metric: &str| {
        let sample = scrape
            .samples
            .iter()
            .find(|sample| sample.metric == metric)
            .unwrap();
        match sample.value {
            prometheus_parse::Value::Counter(n) | prometheus_parse::Value::Gauge(n) => n,
            ref other => panic!("{metric}: {other:?}"),
        }
    };
    let paths = ["/api/v1/orders", "/api/v1/orders/<id>"].map(str::to_owned);
    assert_eq!(labels("http_requests_total", "path"), paths.into());
    assert_eq!(
        labels("db_pool_connections", "state"),
        ["idle", "in_use"].map(str::to_owned).into()
    );
    assert_eq!(
        labels("request_stage_seconds_count", "stage"),
        ["queue", "pool", "database", "write"]
            .map(str::to_owned)
            .into()
    );
    assert_eq!(
        labels("build_info", "version"),
        [env!("CARGO_PKG_VERSION").to_owned()].into()
    );
    assert!((value("orders_created_total") - 1.0).abs() < 1e-9);
    assert!((value("db_pool_max_connections") - 7.0).abs() < 1e-9);
    assert!(value("http_requests_in_flight").abs() < 1e-9);
    let duration = scrape
        .samples
        .iter()
        .find(|s| s.metric == "http_request_duration_seconds_sum");
    let Some(prometheus_parse::Value::Untyped(seconds)) = duration.map(|s| s.value.clone()) else {
        panic!("{duration:?}");
    };
    assert!(
        seconds > 0.0 && seconds < 5.0,
        "seconds, not milliseconds: {seconds}"
    );
}

async fn the_number_of_series_does_not_depend_on_the_paths_requested(database: Database) {
    let server = Server::start(&database, &[]).await;
    let series = async || {
        scrape(&server)
            .await
            .samples
            .iter()
            .filter(|s| s.metric == "http_requests_total")
            .count()
    };
    let before = series().await;
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let (client, api) = (server.client.clone(), server.api.clone());
        tasks.spawn(async move {
            for i in 0..1_250 {
                // Half below `/api/v1/orders/`, half elsewhere; all are 404.
                let prefix = if i % 2 == 0 {
                    "/api/v1/orders/"
                } else {
                    "/random-"
                };
                let url = format!("{api}{prefix}{worker}-{i}");
                assert_eq!(client.get(url).send().await.unwrap().status(), 404);
            }
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    // One for `/api/v1/orders/{id}` and one for `unmatched`.
    assert_eq!(series().await - before, 2);
}
