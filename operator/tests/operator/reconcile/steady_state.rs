//! Without changes nothing is written; paused and deleted objects are not changed.

use order_operator::cluster::Kind;
use serde_json::json;

use super::IDLE_CALLS;
use crate::test_cluster::TestCluster;

#[tokio::test]
async fn a_hundred_idle_reconciles_write_nothing() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    for _ in 0..100 {
        cluster.expect(&IDLE_CALLS).await;
    }
}

#[tokio::test]
async fn a_new_leader_compares_everything_and_writes_nothing() {
    let mut spec = TestCluster::spec("orders:1");
    spec["resources"] = json!({"requests": {"cpu": "1000m"}, "limits": {"memory": "1024Mi"}});
    let cluster = TestCluster::running(spec).await;
    // The API server returns another spelling of quantities.
    cluster.change(Kind::Deployment, "orders", |deployment| {
        let resources = &mut deployment["spec"]["template"]["spec"]["containers"][0]["resources"];
        resources["requests"]["cpu"] = json!("1");
        resources["limits"]["memory"] = json!("1Gi");
    });
    cluster.roll_out();
    cluster.context.records.index.clear();
    cluster
        .expect(&[
            "get secrets db",
            "get deployments orders",
            "get secrets orders-url-*",
            "get serviceaccounts orders",
            "get networkpolicies orders",
            "get configmaps orders-config-*",
            "get services orders",
            "get poddisruptionbudgets orders",
            "get cronjobs orders-maintain",
        ])
        .await;
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn conditions_keep_their_transition_time_and_have_the_generation() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let before = cluster.condition("Ready").last_transition_time;
    cluster.edit_spec(|spec| spec["disruption"] = json!({"maxUnavailable": 2}));
    cluster.settle().await;
    assert_eq!(cluster.condition("Ready").last_transition_time, before);
    let status = cluster.object().status.unwrap();
    assert_eq!(status.observed_generation, Some(2));
    assert!(
        status
            .conditions
            .iter()
            .all(|condition| condition.observed_generation == Some(2))
    );
    let types: Vec<_> = status
        .conditions
        .iter()
        .map(|condition| condition.type_.as_str())
        .collect();
    assert_eq!(
        types,
        [
            "Ready",
            "Available",
            "Progressing",
            "Degraded",
            "Migrated",
            "Secured",
            "Paused",
            "Conflict"
        ]
    );
}

#[tokio::test]
async fn changed_settings_roll_the_pods_and_old_config_maps_are_deleted_afterwards() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["settings"] = json!({"poolMaxSize": 7}));
    cluster.settle().await;
    assert_eq!(
        cluster.names(Kind::ConfigMap).len(),
        2,
        "old pods may restart"
    );
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.names(Kind::ConfigMap).len(), 1);
    let name = cluster.names(Kind::ConfigMap).pop().unwrap();
    assert_eq!(
        cluster.get("configmaps", &name).unwrap()["data"]["POOL_MAX_SIZE"],
        "7"
    );
}

#[tokio::test]
async fn objects_that_are_switched_off_are_deleted() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| {
        spec["networkPolicy"] = json!({"enabled": false});
        spec["disruption"] = json!({"enabled": false});
    });
    cluster
        .expect(&[
            "get secrets db",
            "get deployments orders",
            "get secrets orders-url-*",
            "delete networkpolicies orders",
            "delete poddisruptionbudgets orders",
            "status",
        ])
        .await;
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn while_paused_only_the_status_is_written() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| {
        spec["paused"] = json!(true);
        spec["image"] = json!("orders:2");
    });
    cluster.change(Kind::Service, "orders", |service| {
        service["spec"]["ports"] = json!([])
    });
    cluster
        .expect(&[
            "get secrets db",
            "get deployments orders",
            "status",
            "event Paused",
        ])
        .await;
    assert_eq!(cluster.status_and_reason("Paused"), "True Paused");
    assert_eq!(cluster.status_and_reason("Progressing"), "False Paused");
    assert_eq!(cluster.status_and_reason("Migrated"), "True Migrated");
    cluster.expect(&IDLE_CALLS[..2]).await;
    cluster.edit_spec(|spec| spec["paused"] = json!(false));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Paused"), "False NotPaused");
    assert_eq!(cluster.status_and_reason("Migrated"), "False Migrating");
}

#[tokio::test]
async fn a_deleted_orderservice_is_left_to_the_garbage_collector() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let mut object = cluster.get("orderservices", "orders").unwrap();
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    cluster.put("orderservices", "orders", object);
    cluster.expect(&[]).await;
    let applied = cluster.deployment();
    assert!(applied["metadata"].get("finalizers").is_none());
    let owner = &applied["metadata"]["ownerReferences"][0];
    assert_eq!(
        (owner["uid"].as_str(), owner["controller"].as_bool()),
        (Some("osvc-uid"), Some(true))
    );
}
