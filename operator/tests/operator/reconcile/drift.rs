//! Changes by other field managers are reverted and reported.

use order_operator::cluster::Kind;
use serde_json::json;

use super::{IDLE_CALLS, idle_calls_and};
use crate::test_cluster::TestCluster;

#[tokio::test]
async fn a_changed_field_is_reverted() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.change(Kind::Deployment, "orders", |deployment| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("evil:1");
        deployment["metadata"]["managedFields"]
            .as_array_mut()
            .unwrap()
            .push(json!({
                "manager": "kubectl-edit", "operation": "Update",
                "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {
                    "k:{\"name\":\"order-service\"}": {"f:image": {}}}}}}},
            }));
    });
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert_eq!(
        calls[3..],
        [
            "apply deployments orders",
            "status",
            "event DriftCorrected",
            "event RollingOut"
        ]
    );
    let image = "/spec/template/spec/containers/0/image";
    assert_eq!(cluster.deployment().pointer(image).unwrap(), "orders:1");
}

#[tokio::test]
async fn the_event_names_field_and_manager_and_is_counted_when_repeated() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let break_it = || {
        cluster.change(Kind::Service, "orders", |service| {
            service["spec"]["selector"] = json!({"app": "other"});
            service["metadata"]["managedFields"] = json!([{
                "manager": "kubectl-patch", "operation": "Update",
                "fieldsV1": {"f:spec": {"f:selector": {}}},
            }]);
        });
    };
    break_it();
    let corrected = [
        "get services orders",
        "apply services orders",
        "event DriftCorrected",
    ];
    cluster.expect(&idle_calls_and(&corrected)).await;
    let event = cluster.last_event();
    let note = event["note"].as_str().unwrap();
    assert!(note.starts_with("Service orders: reverted "), "{note}");
    assert!(
        note.contains("spec.selector (changed by kubectl-patch)"),
        "{note}"
    );
    assert_eq!(event["type"], "Warning");

    break_it();
    let again = [
        "get services orders",
        "apply services orders",
        "event again",
    ];
    cluster.expect(&idle_calls_and(&again)).await;
    assert_eq!(cluster.last_event()["series"]["count"], 2);
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn a_deleted_object_is_created_again() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.remove(Kind::PodDisruptionBudget, "orders");
    let back = [
        "get poddisruptionbudgets orders",
        "apply poddisruptionbudgets orders",
    ];
    cluster.expect(&idle_calls_and(&back)).await;
    cluster.remove(Kind::Deployment, "orders");
    cluster.settle().await;
    assert_eq!(cluster.deployment()["spec"]["replicas"], 2);
}

#[tokio::test]
async fn fields_that_other_managers_add_stay() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.change(Kind::Deployment, "orders", |deployment| {
        deployment["metadata"]["annotations"]["team"] = json!("a");
        let template = &mut deployment["spec"]["template"];
        template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = json!("now");
        template["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "sidecar"}));
    });
    cluster.roll_out();
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn a_rollout_undo_is_reverted_and_reported() {
    for restarts in [false, true] {
        let mut cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
        let old = cluster.deployment();
        cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
        let mut cluster_2 = cluster.rolled_out().await;
        if restarts {
            cluster_2 = cluster_2.with_new_operator();
            cluster_2.settle().await;
        }
        cluster = cluster_2;
        // As kubectl does: the template and all annotations of the old revision.
        cluster.change(Kind::Deployment, "orders", |deployment| {
            deployment["spec"]["template"] = old["spec"]["template"].clone();
            deployment["metadata"]["annotations"] = old["metadata"]["annotations"].clone();
            let annotations: serde_json::Map<_, _> = old["metadata"]["annotations"]
                .as_object()
                .unwrap()
                .keys()
                .map(|name| (format!("f:{name}"), json!({})))
                .collect();
            let entries = deployment["metadata"]["managedFields"].as_array_mut();
            entries.unwrap().push(json!({
                "manager": "kubectl-rollout", "operation": "Update", "time": "2026-01-02T03:04:05Z",
                "fieldsV1": {"f:metadata": {"f:annotations": annotations}, "f:spec": {"f:template": {
                    "f:metadata": {"f:labels": {"f:orders.example.com/revision": {}}},
                    "f:spec": {"f:containers": {"k:{\"name\":\"order-service\"}": {"f:image": {}}}},
                }}},
            }));
        });
        let (result, calls) = cluster.run().await;
        result.unwrap();
        let image = "/spec/template/spec/containers/0/image";
        assert_eq!(cluster.deployment().pointer(image).unwrap(), "orders:2");
        assert!(
            calls.contains(&"event DriftCorrected".to_owned()),
            "{calls:?}"
        );
        let notes = cluster.event_notes("DriftCorrected");
        let [note] = notes.as_slice() else {
            panic!("{notes:?}")
        };
        assert!(
            note.contains("containers[name=order-service].image (changed by kubectl-rollout)")
                && note.ends_with("; changed at 2026-01-02T03:04:05Z"),
            "{note}"
        );
        assert!(!note.contains("metadata.annotations"), "{note}");
    }
}

#[tokio::test]
async fn drift_without_a_field_manager_says_so() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.change(Kind::Service, "orders", |service| {
        service["spec"]["selector"] = json!({"app": "other"});
        service["metadata"]["managedFields"] = json!([]);
    });
    cluster.run().await.0.unwrap();
    let notes = cluster.event_notes("DriftCorrected");
    assert_eq!(
        notes,
        [
            "Service orders: reverted spec.selector (changed; metadata.managedFields does not \
          contain by which client)"
        ]
    );
}
