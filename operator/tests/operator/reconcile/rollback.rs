//! A rollout that fails is taken back, and not tried again until the spec changes.

use serde_json::json;

use super::quiet_and;
use crate::test_cluster::World;

fn image(world: &World) -> String {
    let deployment = world.deployment();
    let image = deployment
        .pointer("/spec/template/spec/containers/0/image")
        .unwrap();
    image.as_str().unwrap().to_owned()
}

/// The second image is migrated and rolling out.
async fn rolling() -> World {
    let world = World::running(World::spec("orders:1")).await;
    world.edit(|spec| spec["image"] = json!("orders:2"));
    world.settle().await;
    world.finish_job("Complete");
    world.settle().await;
    assert_eq!(image(&world), "orders:2");
    world
}

#[tokio::test]
async fn a_missed_deadline_brings_the_last_good_template_back() {
    let world = rolling().await;
    let good = world.object().status.unwrap();
    assert!(good.failed_revision.is_none());
    world.get_stuck();
    world
        .expect(&quiet_and(&[
            "list pods",
            // Written before it is acted upon.
            "status",
            "apply deployments orders",
            "status",
            "event ProgressDeadlineExceeded",
        ]))
        .await;
    assert_eq!(image(&world), "orders:1");
    assert_eq!(world.said("Degraded"), "True ProgressDeadlineExceeded");
    let why = world.condition("Degraded").message;
    assert_eq!(
        why,
        "timed out progressing; orders:1 is back; not tried again until the spec changes"
    );
    assert_eq!(world.said("Ready"), "False RolledBack");

    world.roll_out();
    world.settle().await;
    assert_eq!(world.said("Ready"), "False RolledBack");
    assert_eq!(world.said("Progressing"), "False Complete");

    // Scaling is no reason to try it again.
    world.edit(|spec| spec["replicas"] = json!(4));
    world.settle().await;
    assert_eq!(image(&world), "orders:1");
    assert_eq!(world.deployment()["spec"]["replicas"], 4);
    world.roll_out();
    world.settle().await;
    super::assert_quiet(&world).await;

    world.edit(|spec| spec["image"] = json!("orders:3"));
    world.settle().await;
    world.finish_job("Complete");
    world.settle().await;
    assert_eq!(image(&world), "orders:3");
    world.roll_out();
    world.settle().await;
    assert_eq!(world.said("Ready"), "True Available");
    assert_eq!(world.said("Degraded"), "False AsExpected");
    assert!(world.object().status.unwrap().failed_revision.is_none());
}

#[tokio::test]
async fn a_crash_loop_does_not_wait_for_the_deadline() {
    let world = rolling().await;
    world.get_stuck();
    world.change(
        order_operator::cluster::Kind::Deployment,
        "orders",
        |deployment| {
            deployment["status"]["conditions"] = json!([]);
        },
    );
    world.put(
        "pods",
        "p",
        json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [{
            "name": "order-service", "image": "", "imageID": "", "ready": false, "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 101}},
        }]}}),
    );
    world.settle().await;
    assert_eq!(image(&world), "orders:1");
    assert_eq!(world.said("Degraded"), "True CrashLoopBackOff");
    assert!(
        world
            .condition("Degraded")
            .message
            .starts_with("pod p restarted 4 times, exit code 101; ")
    );
}

#[tokio::test]
async fn a_decision_is_not_forgotten_when_it_cannot_be_acted_upon_at_once() {
    let world = rolling().await;
    world.get_stuck();
    world.fail("apply deployments", 500, 1);
    let (result, _) = world.run().await;
    assert!(result.is_err());
    assert_eq!(world.said("Degraded"), "True ProgressDeadlineExceeded");
    world.settle().await;
    assert_eq!(image(&world), "orders:1");
    world.roll_out();
    world.settle().await;
    assert_eq!(image(&world), "orders:1", "not tried again");
}

#[tokio::test]
async fn a_first_rollout_that_fails_has_nothing_to_go_back_to() {
    let world = World::new(World::spec("orders:1"));
    world.settle().await;
    world.finish_job("Complete");
    world.settle().await;
    world.get_stuck();
    world.settle().await;
    assert_eq!(image(&world), "orders:1");
    assert_eq!(world.said("Ready"), "False RolloutFailed");
    assert!(
        world
            .condition("Degraded")
            .message
            .contains("there is nothing to go back to")
    );
}

#[tokio::test]
async fn a_status_that_is_older_than_the_decision_does_not_undo_it() {
    let world = rolling().await;
    let stale = world.object();
    world.get_stuck();
    world.run().await.0.unwrap();
    // The watch is late: the object still looks as it did before the decision.
    let object = std::sync::Arc::new(stale);
    order_operator::reconcile::reconcile(object, world.context.clone())
        .await
        .unwrap();
    assert_eq!(image(&world), "orders:1");
}
