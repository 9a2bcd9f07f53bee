//! Objects of other owners are not changed.

use order_operator::cluster::Kind;
use serde_json::json;

use super::IDLE_CALLS;
use crate::test_cluster::{TestCluster, is_read};

fn foreign(name: &str) -> serde_json::Value {
    json!({"metadata": {"name": name, "namespace": "shop", "labels": {"app": "other"}},
        "spec": {"selector": {"app": "other"}}})
}

#[tokio::test]
async fn a_foreign_service_is_not_changed_and_other_objects_are_applied() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.put("services", "orders", foreign("orders"));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Conflict"), "True ForeignObject");
    assert_eq!(cluster.status_and_reason("Ready"), "False Conflict");
    assert!(
        cluster
            .condition("Conflict")
            .message
            .ends_with("Service orders")
    );
    assert_eq!(
        cluster.get("services", "orders").unwrap()["spec"],
        foreign("orders")["spec"]
    );
    assert_eq!(cluster.names(Kind::Job).len(), 1, "the migration runs");

    let (_, calls) = cluster.run().await;
    assert!(
        calls.contains(&"get services orders".to_owned()),
        "it is read again"
    );

    // Once it is deleted, the operator uses the name.
    cluster.remove(Kind::Service, "orders");
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Conflict"), "False NoConflict");
}

#[tokio::test]
async fn nothing_runs_with_a_foreign_identity_or_in_a_foreign_deployment() {
    for (plural, kind) in [
        ("serviceaccounts", "ServiceAccount"),
        ("deployments", "Deployment"),
    ] {
        let cluster = TestCluster::new(TestCluster::spec("orders:1"));
        cluster.put(plural, "orders", foreign("orders"));
        cluster.settle().await;
        assert!(cluster.names(Kind::Job).is_empty(), "nothing is migrated");
        assert_eq!(
            cluster.status_and_reason("Conflict"),
            "True ForeignObject",
            "{kind}"
        );
        assert!(
            cluster
                .condition("Conflict")
                .message
                .ends_with(&format!("{kind} orders"))
        );
        if plural == "deployments" {
            assert_eq!(cluster.deployment()["spec"], foreign("orders")["spec"]);
        } else {
            assert!(cluster.names(Kind::Deployment).is_empty());
        }
    }
}

#[tokio::test]
async fn an_object_of_another_orderservice_is_foreign() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    let mut object = foreign("orders");
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "orders.example.com/v1alpha1",
        "kind": "OrderService", "name": "other", "uid": "u", "controller": true}]);
    cluster.put("services", "orders", object);
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Conflict"), "True ForeignObject");
}

#[tokio::test]
async fn objects_of_a_deleted_orderservice_of_the_same_name_are_waited_for() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    let mut object = foreign("orders");
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "orders.example.com/v1alpha1",
        "kind": "OrderService", "name": "orders", "uid": "older", "controller": true}]);
    cluster.put("services", "orders", object);
    let (result, _) = cluster.run().await;
    assert_eq!(
        result.unwrap_err().to_string(),
        "Service orders is being deleted"
    );
}

#[tokio::test]
async fn orphaned_objects_are_adopted() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.change(Kind::Deployment, "orders", |deployment| {
        deployment["metadata"]["ownerReferences"] = json!([]);
    });
    cluster.settle().await;
    assert_eq!(
        cluster.deployment()["metadata"]["ownerReferences"][0]["uid"],
        "osvc-uid"
    );
    assert_eq!(cluster.status_and_reason("Conflict"), "False NoConflict");
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn an_object_that_is_being_deleted_is_waited_for_and_not_written() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.change(Kind::Service, "orders", |service| {
        service["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        service["spec"]["selector"] = json!({"app": "other"});
    });
    let (result, calls) = cluster.run().await;
    let error = result.unwrap_err().to_string();
    assert_eq!(error, "Service orders is being deleted");
    assert!(calls.iter().all(|call| is_read(call)), "{calls:?}");
}

#[tokio::test]
async fn nothing_rolls_out_after_a_migration_of_another_owner() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.settle().await;
    let job = cluster.names(Kind::Job).pop().unwrap();
    cluster.remove(Kind::Job, &job);
    let mut foreign = foreign(&job);
    foreign["status"] = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    cluster.put("jobs", &job, foreign);
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Conflict"), "True ForeignObject");
    assert_eq!(cluster.status_and_reason("Migrated"), "False Conflict");
    assert!(cluster.names(Kind::Deployment).is_empty());
}
