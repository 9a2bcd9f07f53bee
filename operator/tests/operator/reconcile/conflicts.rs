//! What belongs to somebody else is left alone.

use order_operator::cluster::Kind;
use serde_json::json;

use super::QUIET;
use crate::test_cluster::World;

fn foreign(name: &str) -> serde_json::Value {
    json!({"metadata": {"name": name, "namespace": "shop", "labels": {"app": "other"}},
        "spec": {"selector": {"app": "other"}}})
}

#[tokio::test]
async fn a_foreign_service_is_left_alone_and_the_rest_goes_on() {
    let world = World::new(World::spec("orders:1"));
    world.put("services", "orders", foreign("orders"));
    world.settle().await;
    assert_eq!(world.said("Conflict"), "True ForeignObject");
    assert_eq!(world.said("Ready"), "False Conflict");
    assert!(
        world
            .condition("Conflict")
            .message
            .ends_with("Service orders")
    );
    assert_eq!(
        world.get("services", "orders").unwrap()["spec"],
        foreign("orders")["spec"]
    );
    assert_eq!(world.names(Kind::Job).len(), 1, "the migration goes on");

    let (_, calls) = world.run().await;
    assert!(
        calls.contains(&"get services orders".to_owned()),
        "it is looked at again"
    );

    // Once it is gone the name is taken.
    world.remove(Kind::Service, "orders");
    world.settle().await;
    assert_eq!(world.said("Conflict"), "False NoConflict");
}

#[tokio::test]
async fn nothing_runs_with_a_foreign_identity_or_in_a_foreign_deployment() {
    for (plural, kind) in [
        ("serviceaccounts", "ServiceAccount"),
        ("deployments", "Deployment"),
    ] {
        let world = World::new(World::spec("orders:1"));
        world.put(plural, "orders", foreign("orders"));
        world.settle().await;
        assert!(
            world.names(Kind::Job).is_empty(),
            "nor is anything migrated"
        );
        assert_eq!(world.said("Conflict"), "True ForeignObject", "{kind}");
        assert!(
            world
                .condition("Conflict")
                .message
                .ends_with(&format!("{kind} orders"))
        );
        if plural == "deployments" {
            assert_eq!(world.deployment()["spec"], foreign("orders")["spec"]);
        } else {
            assert!(world.names(Kind::Deployment).is_empty());
        }
    }
}

#[tokio::test]
async fn an_object_of_another_orderservice_is_foreign() {
    let world = World::new(World::spec("orders:1"));
    let mut object = foreign("orders");
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "orders.example.com/v1alpha1",
        "kind": "OrderService", "name": "other", "uid": "u", "controller": true}]);
    world.put("services", "orders", object);
    world.settle().await;
    assert_eq!(world.said("Conflict"), "True ForeignObject");
}

#[tokio::test]
async fn what_a_deleted_one_of_the_same_name_left_is_waited_for() {
    let world = World::new(World::spec("orders:1"));
    let mut object = foreign("orders");
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "orders.example.com/v1alpha1",
        "kind": "OrderService", "name": "orders", "uid": "older", "controller": true}]);
    world.put("services", "orders", object);
    let (result, _) = world.run().await;
    assert_eq!(
        result.unwrap_err().to_string(),
        "Service orders is being deleted"
    );
}

#[tokio::test]
async fn what_was_orphaned_on_purpose_is_taken_back() {
    let world = World::running(World::spec("orders:1")).await;
    world.change(Kind::Deployment, "orders", |deployment| {
        deployment["metadata"]["ownerReferences"] = json!([]);
    });
    world.settle().await;
    assert_eq!(
        world.deployment()["metadata"]["ownerReferences"][0]["uid"],
        "osvc-uid"
    );
    assert_eq!(world.said("Conflict"), "False NoConflict");
    world.expect(&QUIET).await;
}
