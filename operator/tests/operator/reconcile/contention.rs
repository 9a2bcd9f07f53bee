//! Another controller that wants the same field is not fought at full speed.

use std::time::Duration;

use order_operator::cluster::Kind;
use serde_json::json;
use tokio::time::advance;

use super::{IDLE_CALLS, idle_calls_and};
use crate::test_cluster::TestCluster;

/// The other controller does its part.
fn fight(cluster: &TestCluster) {
    cluster.change(Kind::Service, "orders", |service| {
        service["spec"]["selector"] = json!({"app": "other"});
        service["metadata"]["managedFields"] = json!([{
            "manager": "other-controller", "operation": "Update",
            "fieldsV1": {"f:spec": {"f:selector": {}}},
        }]);
    });
}

/// Three rounds, each answered at once.
async fn three_rounds(cluster: &TestCluster, fight: fn(&TestCluster)) {
    for _ in 0..3 {
        fight(cluster);
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
async fn who_does_not_give_in_is_answered_later_and_that_is_told_once() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    three_rounds(&cluster, fight).await;

    fight(&cluster);
    let told = ["get services orders", "status", "event Contested"];
    cluster.expect(&idle_calls_and(&told)).await;
    assert_eq!(cluster.status_and_reason("Degraded"), "True Contested");
    assert_eq!(
        cluster.status_and_reason("Ready"),
        "True Available",
        "pods serve nevertheless"
    );
    let message = cluster.condition("Degraded").message;
    assert!(
        message.ends_with("Service orders: spec.selector (changed by other-controller)"),
        "{message}"
    );
    fight(&cluster);
    cluster
        .expect(&idle_calls_and(&["get services orders"]))
        .await;

    // Not given up, only later: and nothing new is told of it.
    advance(Duration::from_secs(5)).await;
    let later = [
        "get services orders",
        "apply services orders",
        "event again",
    ];
    cluster.expect(&idle_calls_and(&later)).await;
    fight(&cluster);
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
        "told once: {calls:?}"
    );

    // It has ended: told as well, and the next time is as good as the first.
    advance(Duration::from_secs(601)).await;
    cluster
        .expect(&idle_calls_and(&["status", "event Recovered"]))
        .await;
    three_rounds(&cluster, fight).await;
}

#[tokio::test(start_paused = true)]
async fn who_takes_the_note_of_it_away_as_well_is_not_answered_faster() {
    fn replace(cluster: &TestCluster) {
        fight(cluster);
        cluster.change(Kind::Service, "orders", |service| {
            service["metadata"]["annotations"] = json!({});
        });
    }
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    three_rounds(&cluster, replace).await;
    replace(&cluster);
    let told = ["get services orders", "status", "event Contested"];
    cluster.expect(&idle_calls_and(&told)).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_spec_is_applied_at_once_whoever_fights() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let fight = |cluster: &TestCluster| {
        cluster.change(Kind::PodDisruptionBudget, "orders", |budget| {
            budget["spec"]["maxUnavailable"] = json!(9);
        });
    };
    for _ in 0..4 {
        fight(&cluster);
        cluster.run().await.0.unwrap();
    }
    assert_eq!(cluster.status_and_reason("Degraded"), "True Contested");
    cluster.edit_spec(|spec| spec["disruption"] = json!({"maxUnavailable": 2}));
    cluster.run().await.0.unwrap();
    let budget = cluster.get("poddisruptionbudgets", "orders").unwrap();
    assert_eq!(budget["spec"]["maxUnavailable"], 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_again_and_again_is_made_later() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let delete = || {
        cluster.remove(Kind::NetworkPolicy, "orders");
        // As the watch does.
        cluster
            .context
            .records
            .contention
            .note_deletion("osvc-uid", Kind::NetworkPolicy, "orders");
    };
    for _ in 0..3 {
        delete();
        let back = ["get networkpolicies orders", "apply networkpolicies orders"];
        cluster.expect(&idle_calls_and(&back)).await;
    }
    delete();
    let told = ["get networkpolicies orders", "status", "event Contested"];
    cluster.expect(&idle_calls_and(&told)).await;
    advance(Duration::from_secs(5)).await;
    let back = ["get networkpolicies orders", "apply networkpolicies orders"];
    cluster.expect(&idle_calls_and(&back)).await;
    cluster.expect(&IDLE_CALLS).await;
}
