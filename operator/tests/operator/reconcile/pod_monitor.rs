//! The PodMonitor, whose kind the cluster may not have.

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::{IDLE_CALLS, assert_idle};
use crate::test_cluster::TestCluster;

fn spec() -> Value {
    let mut spec = TestCluster::spec("orders:1");
    spec["monitoring"] = json!({"podMonitor": {"labels": {"release": "prometheus"}}});
    spec
}

#[tokio::test]
async fn a_pod_monitor_is_created_kept_and_deleted_with_the_spec() {
    let cluster = TestCluster::running(spec()).await;
    let monitor = cluster.get("podmonitors", "orders").unwrap();
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], "metrics");
    let selector = json!({"matchLabels": {
        "app.kubernetes.io/name": "order-service", "app.kubernetes.io/instance": "orders",
        "app.kubernetes.io/component": "server",
    }});
    assert_eq!(monitor["spec"]["selector"], selector);
    assert_eq!(
        cluster.status_and_reason("Monitored"),
        "True PodMonitorApplied"
    );
    assert_idle(&cluster).await;

    let mut changed = monitor;
    changed["spec"]["podMetricsEndpoints"][0]["port"] = json!("http");
    cluster.put("podmonitors", "orders", changed);
    cluster.settle().await;
    let monitor = cluster.get("podmonitors", "orders").unwrap();
    assert_eq!(monitor["spec"]["podMetricsEndpoints"][0]["port"], "metrics");

    cluster.edit_spec(|spec| spec["monitoring"] = json!({}));
    cluster.settle().await;
    assert!(cluster.names(Kind::PodMonitor).is_empty());
    let conditions = cluster.object().status.unwrap().conditions;
    assert!(
        conditions
            .iter()
            .all(|condition| condition.type_ != "Monitored")
    );
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn a_cluster_without_pod_monitors_is_reported_and_nothing_else_is_affected() {
    let cluster = TestCluster::new(spec());
    // The response for an unknown path names no object.
    cluster.fail("get podmonitors", 404, 1000);
    let cluster = cluster.rolled_out().await;
    assert_eq!(
        cluster.status_and_reason("Monitored"),
        "False PodMonitorNotSupported"
    );
    assert_eq!(cluster.event_notes("PodMonitorNotSupported").len(), 1);
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    assert_idle(&cluster).await;
    // The Prometheus operator is installed.
    cluster.stop_failing();
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        calls.contains(&"apply podmonitors orders".to_owned()),
        "{calls:?}"
    );
    assert_eq!(
        cluster.status_and_reason("Monitored"),
        "True PodMonitorApplied"
    );
}

#[tokio::test]
async fn a_foreign_pod_monitor_is_not_changed() {
    let cluster = TestCluster::new(spec());
    let foreign = json!({"metadata": {"name": "orders", "namespace": "shop"}, "spec": {}});
    cluster.put("podmonitors", "orders", foreign);
    cluster.run().await.0.unwrap();
    assert_eq!(cluster.status_and_reason("Conflict"), "True ForeignObject");
    assert_eq!(cluster.status_and_reason("Monitored"), "False Conflict");
    let monitor = cluster.get("podmonitors", "orders").unwrap();
    assert_eq!(monitor["spec"], json!({}));
}
