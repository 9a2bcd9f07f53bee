//! Why a migration does not run is in the conditions, and after a minute in `Degraded`.

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use crate::test_cluster::TestCluster;

/// A time so many seconds before now.
pub fn seconds_ago(seconds: i64) -> String {
    (jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// A cluster whose migration has been created this long ago.
async fn migrating(seconds: i64) -> TestCluster {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.settle().await;
    let job = cluster.names(Kind::Job).pop().unwrap();
    cluster.change(Kind::Job, &job, |job| {
        job["metadata"]["creationTimestamp"] = json!(seconds_ago(seconds));
        job["status"] = json!({"active": 1});
    });
    cluster
}

fn put_pod(cluster: &TestCluster, name: &str, age: i64, status: Value) {
    let metadata = json!({"name": name, "uid": name, "creationTimestamp": seconds_ago(age)});
    let pod = json!({"metadata": metadata, "status": status});
    cluster.put("pods", name, pod);
}

fn put_event(cluster: &TestCluster, about: &str, reason: &str, message: &str, age: i64) {
    let time = seconds_ago(age);
    let event = json!({
        "metadata": {"name": "e"}, "involvedObject": {"uid": about}, "reason": reason, "message": message,
        "type": "Warning", "firstTimestamp": time, "lastTimestamp": time, "eventTime": null,
    });
    cluster.put("events", "e", event);
}

/// Expects this message in `Migrated`, and this reason in `Degraded`.
async fn expect(cluster: &TestCluster, message: &str, degraded: &str) {
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Migrated"),
        "False MigrationRetrying"
    );
    assert_eq!(cluster.condition("Migrated").message, message);
    assert_eq!(cluster.status_and_reason("Degraded"), degraded);
    assert_eq!(
        cluster.status_and_reason("Ready"),
        "False MigrationRetrying"
    );
}

#[tokio::test]
async fn an_unschedulable_migration_is_reported_and_degraded_after_a_minute() {
    let status = |age: i64| {
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/3 nodes are available",
            "lastTransitionTime": seconds_ago(age)}]})
    };
    let message = "Unschedulable: 0/3 nodes are available";
    let cluster = migrating(30).await;
    put_pod(&cluster, "p", 30, status(30));
    expect(&cluster, message, "False AsExpected").await;
    put_pod(&cluster, "p", 90, status(61));
    expect(&cluster, message, "True Unschedulable").await;
    assert_eq!(cluster.condition("Degraded").message, message);
    // It is scheduled.
    let running =
        json!({"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True"}]});
    put_pod(&cluster, "p", 90, running);
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Migrated"), "False Migrating");
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn a_migration_whose_pod_a_quota_rejects_is_reported() {
    let cluster = migrating(90).await;
    let job = cluster.names(Kind::Job).pop().unwrap();
    let uid = cluster.get("jobs", &job).unwrap()["metadata"]["uid"].clone();
    let text = "Error creating: pods \"p\" is forbidden: exceeded quota: q, requested: pods=1";
    put_event(&cluster, uid.as_str().unwrap(), "FailedCreate", text, 80);
    let message = "QuotaExceeded: exceeded quota: q, requested: pods=1";
    expect(&cluster, message, "True QuotaExceeded").await;
}

#[tokio::test]
async fn a_volume_that_cannot_be_mounted_is_reported() {
    let cluster = migrating(90).await;
    let status = json!({
        "phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{"name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ContainerCreating"}}}],
    });
    put_pod(&cluster, "p", 90, status);
    put_event(&cluster, "another", "FailedMount", "another pod", 80);
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Migrated"), "False Migrating");
    put_event(&cluster, "p", "FailedMount", "secret \"ca\" not found", 80);
    let message = "FailedMount: secret \"ca\" not found";
    expect(&cluster, message, "True FailedMount").await;
}

#[tokio::test]
async fn an_unreachable_database_is_reported_without_raw_log_lines() {
    let cluster = migrating(90).await;
    let log = r#"{"ts":"2026-01-01T00:00:00Z","level":"INFO","msg":"waiting for the database to respond"}
order-service: connection refused
"#;
    let status = json!({"phase": "Failed", "containerStatuses": [{
        "name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 3, "message": log, "startedAt": seconds_ago(80)}}}]});
    put_pod(&cluster, "p", 85, status);
    let message = "DatabaseUnreachable: exit code 3: connection refused";
    expect(&cluster, message, "True DatabaseUnreachable").await;
    // The next attempt does not hide it until it can be connected.
    let running = |since: i64| {
        json!({"phase": "Running", "containerStatuses": [{
            "name": "migrate", "image": "", "imageID": "", "ready": true, "restartCount": 0,
            "state": {"running": {"startedAt": seconds_ago(since)}}}]})
    };
    put_pod(&cluster, "q", 10, running(10));
    expect(&cluster, message, "True DatabaseUnreachable").await;
    put_pod(&cluster, "q", 10, running(100));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Migrated"), "False Migrating");
}

#[tokio::test]
async fn the_cause_of_a_failed_handshake_is_in_the_message() {
    let cluster = migrating(90).await;
    let error = "order-service: the database is not available: no connection to \
        orders-rw.databases.svc.cluster.local:5432 could be opened: TLS handshake with the server: error performing \
        TLS handshake: invalid peer certificate: UnknownIssuer";
    let status = json!({"phase": "Failed", "containerStatuses": [{
        "name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 3, "message": error, "startedAt": seconds_ago(80)}}}]});
    put_pod(&cluster, "p", 85, status);
    cluster.settle().await;
    for type_ in ["Migrated", "Degraded"] {
        let message = cluster.condition(type_).message;
        assert!(message.chars().count() <= 160, "{message}");
        assert!(
            message.starts_with("DatabaseUnreachable: exit code 3: "),
            "{message}"
        );
        assert!(
            message.ends_with("invalid peer certificate: UnknownIssuer"),
            "{message}"
        );
    }
    let note = &cluster.event_notes("MigrationRetrying")[0];
    assert!(
        note.ends_with(error.trim_start_matches("order-service: ")),
        "{note}"
    );
}

#[tokio::test]
async fn the_newest_of_many_pods_is_found() {
    let cluster = migrating(90).await;
    let status = |code: i32| {
        json!({"phase": "Failed", "containerStatuses": [{
            "name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": code}}}]})
    };
    for index in 0..120 {
        let code = if index == 119 { 1 } else { 3 };
        put_pod(
            &cluster,
            &format!("p{index:03}"),
            1200 - index,
            status(code),
        );
    }
    cluster.settle().await;
    let message = cluster.condition("Migrated").message;
    assert_eq!(message, "ContainerFailed: exit code 1");
}

#[tokio::test]
async fn the_reason_of_a_failed_migration_is_not_the_eviction_of_its_last_pod() {
    let cluster = migrating(90).await;
    let failed = json!({"phase": "Failed", "containerStatuses": [{
        "name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 1, "message": "column x exists"}}}]});
    put_pod(&cluster, "p", 85, failed);
    let evicted = json!({"phase": "Failed", "conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]});
    put_pod(&cluster, "q", 20, evicted);
    cluster.finish_job("Failed");
    cluster.settle().await;
    let message = cluster.condition("Migrated").message;
    assert_eq!(message, "ContainerFailed: exit code 1: column x exists");
}
