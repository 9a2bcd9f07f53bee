//! Who decides how many pods there are changes hands without a dip.

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::{QUIET, quiet_and};
use crate::test_cluster::World;

fn autoscale(spec: &mut Value) {
    spec.as_object_mut().unwrap().remove("replicas");
    spec["autoscaling"] = json!({"minReplicas": 3, "maxReplicas": 9});
}

fn owns_replicas(world: &World) -> bool {
    let fields = &world.deployment()["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    fields.get("f:replicas").is_some()
}

fn scale(world: &World, replicas: i64) {
    world.change(Kind::Deployment, "orders", |deployment| {
        deployment["spec"]["replicas"] = json!(replicas);
    });
    world.roll_out();
}

#[tokio::test]
async fn the_autoscaler_takes_over_and_gives_back() {
    let world = World::running(World::spec("orders:1")).await;
    world.edit(|spec| spec["replicas"] = json!(5));
    world.settle().await;
    world.roll_out();
    world.settle().await;
    assert!(owns_replicas(&world));

    world.edit(autoscale);
    world
        .expect(&quiet_and(&[
            // Given up first: left out of an apply, it would fall back to one.
            "release deployments orders",
            "apply deployments orders",
            "get horizontalpodautoscalers orders",
            "apply horizontalpodautoscalers orders",
            "status",
        ]))
        .await;
    assert_eq!(world.deployment()["spec"]["replicas"], 5);
    assert!(!owns_replicas(&world));

    scale(&world, 8);
    world.settle().await;
    assert_eq!(
        world.deployment()["spec"]["replicas"],
        8,
        "the autoscaler is not fought"
    );
    assert_eq!(world.said("Ready"), "True Available");
    world.expect(&QUIET).await;

    world.edit(|spec| {
        spec.as_object_mut().unwrap().remove("autoscaling");
        spec["replicas"] = json!(8);
    });
    world
        .expect(&quiet_and(&[
            "delete horizontalpodautoscalers orders",
            "apply deployments orders",
            "status",
        ]))
        .await;
    assert_eq!(world.deployment()["spec"]["replicas"], 8);
    assert!(owns_replicas(&world));
}

#[tokio::test]
async fn with_an_autoscaler_from_the_start_there_are_the_fewest_pods_at_once() {
    let mut spec = World::spec("orders:1");
    autoscale(&mut spec);
    let world = World::new(spec);
    world.settle().await;
    world.finish_job("Complete");
    let (result, calls) = world.run().await;
    result.unwrap();
    let made = [
        "apply deployments orders",
        "release deployments orders",
        "get horizontalpodautoscalers orders",
        "apply horizontalpodautoscalers orders",
    ];
    assert_eq!(calls[3..7], made);
    assert_eq!(world.deployment()["spec"]["replicas"], 3);
    assert!(
        !owns_replicas(&world),
        "never owned while an autoscaler rules"
    );
    world.settle().await;
    assert_eq!(world.deployment()["spec"]["replicas"], 3);
}

#[tokio::test]
async fn an_autoscaler_that_would_leave_zero_alone_is_given_a_start() {
    let world = World::running(World::spec("orders:1")).await;
    world.edit(|spec| spec["replicas"] = json!(0));
    world.settle().await;
    world.roll_out();
    world.settle().await;
    assert_eq!(world.deployment()["spec"]["replicas"], 0);
    world.edit(autoscale);
    world.settle().await;
    assert_eq!(world.deployment()["spec"]["replicas"], 3);
    assert!(!owns_replicas(&world));
}

#[tokio::test]
async fn replicas_changed_by_hand_are_set_back_without_an_autoscaler() {
    let world = World::running(World::spec("orders:1")).await;
    scale(&world, 7);
    let (result, calls) = world.run().await;
    result.unwrap();
    assert!(
        calls.contains(&"event DriftCorrected".to_owned()),
        "{calls:?}"
    );
    assert_eq!(world.deployment()["spec"]["replicas"], 2);
}
