//! Changes that another controller repeats are reverted with growing pauses.

use std::time::Duration;

use order_operator::cluster::Kind;
use serde_json::json;
use tokio::time::advance;

use super::{IDLE_CALLS, idle_calls_and};
use crate::test_cluster::TestCluster;

/// The other controller changes the field.
pub fn change_selector(cluster: &TestCluster) {
    cluster.change(Kind::Service, "orders", |service| {
        service["spec"]["selector"] = json!({"app": "other"});
        service["metadata"]["managedFields"] = json!([{
            "manager": "other-controller", "operation": "Update",
            "fieldsV1": {"f:spec": {"f:selector": {}}},
        }]);
    });
}

/// Three changes, each reverted at once.
async fn three_reverts(cluster: &TestCluster, change: fn(&TestCluster)) {
    for _ in 0..3 {
        change(cluster);
        let (result, calls) = cluster.run().await;
        result.unwrap();
        assert!(
            calls.contains(&"apply services orders".to_owned()),
            "{calls:?}"
        );
        assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_changes_are_reverted_later_and_reported_once() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    three_reverts(&cluster, change_selector).await;

    change_selector(&cluster);
    let reported = ["get services orders", "status", "event Contested"];
    cluster.expect(&idle_calls_and(&reported)).await;
    assert_eq!(cluster.status_and_reason("Degraded"), "True Contested");
    assert_eq!(
        cluster.status_and_reason("Ready"),
        "True Available",
        "pods serve"
    );
    let message = cluster.condition("Degraded").message;
    assert!(
        message.ends_with("Service orders: spec.selector (changed by other-controller)"),
        "{message}"
    );
    change_selector(&cluster);
    cluster
        .expect(&idle_calls_and(&["get services orders"]))
        .await;

    // Reverted later, and not reported again.
    advance(Duration::from_secs(5)).await;
    let later = [
        "get services orders",
        "apply services orders",
        "event again",
    ];
    cluster.expect(&idle_calls_and(&later)).await;
    change_selector(&cluster);
    cluster
        .expect(&idle_calls_and(&["get services orders"]))
        .await;
    advance(Duration::from_secs(10)).await;
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        calls.contains(&"apply services orders".to_owned()),
        "{calls:?}"
    );
    assert!(
        !calls.contains(&"status".to_owned()),
        "reported once: {calls:?}"
    );

    // The end is reported, and the next change is reverted at once.
    advance(Duration::from_secs(601)).await;
    cluster
        .expect(&idle_calls_and(&["status", "event Recovered"]))
        .await;
    three_reverts(&cluster, change_selector).await;
}

#[tokio::test(start_paused = true)]
async fn removing_the_digest_annotation_does_not_avoid_the_pause() {
    fn replace(cluster: &TestCluster) {
        change_selector(cluster);
        cluster.change(Kind::Service, "orders", |service| {
            service["metadata"]["annotations"] = json!({});
        });
    }
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    three_reverts(&cluster, replace).await;
    replace(&cluster);
    let reported = ["get services orders", "status", "event Contested"];
    cluster.expect(&idle_calls_and(&reported)).await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_spec_is_applied_at_once_despite_contention() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let change_selector = |cluster: &TestCluster| {
        cluster.change(Kind::PodDisruptionBudget, "orders", |budget| {
            budget["spec"]["maxUnavailable"] = json!(9);
        });
    };
    for _ in 0..4 {
        change_selector(&cluster);
        cluster.run().await.0.unwrap();
    }
    assert_eq!(cluster.status_and_reason("Degraded"), "True Contested");
    cluster.edit_spec(|spec| spec["disruption"] = json!({"maxUnavailable": 2}));
    cluster.run().await.0.unwrap();
    let budget = cluster.get("poddisruptionbudgets", "orders").unwrap();
    assert_eq!(budget["spec"]["maxUnavailable"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_repeatedly_deleted_object_is_created_later() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let delete = || {
        cluster.remove(Kind::NetworkPolicy, "orders");
        // As the watch records it.
        cluster.context.records.contention.record_deletion(
            "osvc-uid",
            Kind::NetworkPolicy,
            "orders",
        );
    };
    for _ in 0..3 {
        delete();
        let back = ["get networkpolicies orders", "apply networkpolicies orders"];
        cluster.expect(&idle_calls_and(&back)).await;
    }
    delete();
    let reported = ["get networkpolicies orders", "status", "event Contested"];
    cluster.expect(&idle_calls_and(&reported)).await;
    advance(Duration::from_secs(5)).await;
    let back = ["get networkpolicies orders", "apply networkpolicies orders"];
    cluster.expect(&idle_calls_and(&back)).await;
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn the_deletions_of_the_operator_are_recorded_as_its_own() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let budget = cluster.get("poddisruptionbudgets", "orders").unwrap();
    let uid = budget["metadata"]["uid"].as_str().unwrap();
    let contention = &cluster.context.records.contention;
    assert!(!contention.is_own_deletion(uid));
    cluster.edit_spec(|spec| spec["disruption"] = json!({"enabled": false}));
    cluster.settle().await;
    assert!(contention.is_own_deletion(uid));
}
