//! What somebody else changes is set back, and it is said who it was.

use order_operator::cluster::Kind;
use serde_json::json;

use super::{QUIET, quiet_and};
use crate::test_cluster::World;

#[tokio::test]
async fn a_changed_field_is_set_back_and_its_manager_named() {
    let world = World::running(World::spec("orders:1")).await;
    world.change(Kind::Deployment, "orders", |deployment| {
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
    let (result, calls) = world.run().await;
    result.unwrap();
    assert_eq!(
        calls[2..],
        [
            "apply deployments orders",
            "status",
            "event DriftCorrected",
            "event RollingOut"
        ]
    );
    let image = "/spec/template/spec/containers/0/image";
    assert_eq!(world.deployment().pointer(image).unwrap(), "orders:1");
}

#[tokio::test]
async fn the_event_names_field_and_manager_and_is_counted_when_it_happens_again() {
    let world = World::running(World::spec("orders:1")).await;
    let break_it = || {
        world.change(Kind::Service, "orders", |service| {
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
    world.expect(&quiet_and(&corrected)).await;
    let event = world.last_event();
    let note = event["note"].as_str().unwrap();
    assert!(note.starts_with("Service orders: set back "), "{note}");
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
    world.expect(&quiet_and(&again)).await;
    assert_eq!(world.last_event()["series"]["count"], 2);
    world.expect(&QUIET).await;
}

#[tokio::test]
async fn a_deleted_object_comes_back() {
    let world = World::running(World::spec("orders:1")).await;
    world.remove(Kind::PodDisruptionBudget, "orders");
    let back = [
        "get poddisruptionbudgets orders",
        "apply poddisruptionbudgets orders",
    ];
    world.expect(&quiet_and(&back)).await;
    world.remove(Kind::Deployment, "orders");
    world.settle().await;
    assert_eq!(world.deployment()["spec"]["replicas"], 2);
}

#[tokio::test]
async fn what_others_add_stays() {
    let world = World::running(World::spec("orders:1")).await;
    world.change(Kind::Deployment, "orders", |deployment| {
        deployment["metadata"]["annotations"]["team"] = json!("a");
        let template = &mut deployment["spec"]["template"];
        template["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] = json!("now");
        template["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({"name": "sidecar"}));
    });
    world.roll_out();
    world.expect(&QUIET).await;
}
