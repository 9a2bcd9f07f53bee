//! Nothing to do is nothing written.

use order_operator::cluster::Kind;
use serde_json::json;

use super::QUIET;
use crate::test_cluster::World;

#[tokio::test]
async fn a_hundred_idle_reconciles_write_nothing() {
    let world = World::running(World::spec("orders:1")).await;
    for _ in 0..100 {
        world.expect(&QUIET).await;
    }
}

#[tokio::test]
async fn a_new_leader_compares_everything_and_writes_nothing() {
    let mut spec = World::spec("orders:1");
    spec["resources"] = json!({"requests": {"cpu": "1000m"}, "limits": {"memory": "1024Mi"}});
    let world = World::running(spec).await;
    // The API server spells amounts its own way.
    world.change(Kind::Deployment, "orders", |deployment| {
        let resources = &mut deployment["spec"]["template"]["spec"]["containers"][0]["resources"];
        resources["requests"]["cpu"] = json!("1");
        resources["limits"]["memory"] = json!("1Gi");
    });
    world.roll_out();
    world.context.index.clear();
    world
        .expect(&[
            "get secrets db",
            "get deployments orders",
            "get serviceaccounts orders",
            "get networkpolicies orders",
            "get configmaps orders-config-*",
            "get services orders",
            "get poddisruptionbudgets orders",
        ])
        .await;
    world.expect(&QUIET).await;
}

#[tokio::test]
async fn transition_times_are_kept_and_the_generation_is_everywhere() {
    let world = World::running(World::spec("orders:1")).await;
    let before = world.condition("Ready").last_transition_time;
    world.edit(|spec| spec["disruption"] = json!({"maxUnavailable": 2}));
    world.settle().await;
    assert_eq!(world.condition("Ready").last_transition_time, before);
    let status = world.object().status.unwrap();
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
            "Progressing",
            "Degraded",
            "Migrated",
            "Paused",
            "Conflict"
        ]
    );
}

#[tokio::test]
async fn settings_roll_the_pods_and_old_ones_are_forgotten_afterwards() {
    let world = World::running(World::spec("orders:1")).await;
    world.edit(|spec| spec["settings"] = json!({"poolMaxSize": 7}));
    world.settle().await;
    assert_eq!(
        world.names(Kind::ConfigMap).len(),
        2,
        "old pods may restart"
    );
    world.roll_out();
    world.settle().await;
    assert_eq!(world.names(Kind::ConfigMap).len(), 1);
    let name = world.names(Kind::ConfigMap).pop().unwrap();
    assert_eq!(
        world.get("configmaps", &name).unwrap()["data"]["POOL_MAX_SIZE"],
        "7"
    );
}

#[tokio::test]
async fn what_is_switched_off_is_deleted() {
    let world = World::running(World::spec("orders:1")).await;
    world.edit(|spec| {
        spec["networkPolicy"] = json!({"enabled": false});
        spec["disruption"] = json!({"enabled": false});
    });
    world
        .expect(&[
            "get secrets db",
            "get deployments orders",
            "delete networkpolicies orders",
            "delete poddisruptionbudgets orders",
            "status",
        ])
        .await;
    world.expect(&QUIET).await;
}

#[tokio::test]
async fn while_paused_only_the_status_is_written() {
    let world = World::running(World::spec("orders:1")).await;
    world.edit(|spec| {
        spec["paused"] = json!(true);
        spec["image"] = json!("orders:2");
    });
    world.change(Kind::Service, "orders", |service| {
        service["spec"]["ports"] = json!([])
    });
    world
        .expect(&[
            "get secrets db",
            "get deployments orders",
            "status",
            "event Paused",
        ])
        .await;
    assert_eq!(world.said("Paused"), "True Paused");
    assert_eq!(world.said("Progressing"), "False Paused");
    assert_eq!(world.said("Migrated"), "True Migrated");
    world.expect(&QUIET).await;
    world.edit(|spec| spec["paused"] = json!(false));
    world.settle().await;
    assert_eq!(world.said("Paused"), "False NotPaused");
    assert_eq!(world.said("Migrated"), "False Migrating");
}

#[tokio::test]
async fn an_object_on_its_way_out_is_left_to_the_garbage_collector() {
    let world = World::running(World::spec("orders:1")).await;
    let mut object = world.get("orderservices", "orders").unwrap();
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    world.put("orderservices", "orders", object);
    world.expect(&[]).await;
    let applied = world.deployment();
    assert!(applied["metadata"].get("finalizers").is_none());
    let owner = &applied["metadata"]["ownerReferences"][0];
    assert_eq!(
        (owner["uid"].as_str(), owner["controller"].as_bool()),
        (Some("osvc-uid"), Some(true))
    );
}
