//! From nothing to serving, and from one image to the next: the migration always comes first.

use order_operator::cluster::Kind;
use serde_json::json;

use super::{QUIET, quiet_and};
use crate::test_cluster::World;

const SURROUNDINGS: [&str; 10] = [
    "get serviceaccounts orders",
    "apply serviceaccounts orders",
    "get networkpolicies orders",
    "apply networkpolicies orders",
    "get configmaps orders-config-*",
    "apply configmaps orders-config-*",
    "get services orders",
    "apply services orders",
    "get poddisruptionbudgets orders",
    "apply poddisruptionbudgets orders",
];

#[tokio::test]
async fn the_first_time_everything_is_made_and_pods_come_last() {
    let world = World::new(World::spec("orders:1"));
    let job = ["get jobs orders-migrate-*", "apply jobs orders-migrate-*"];
    let told = ["status", "event Migrating"];
    let [secret, deployment] = QUIET;
    // The operator's own key is read once.
    let start = [secret, "get secrets order-operator-key", deployment];
    world
        .expect(&[&start[..], &SURROUNDINGS, &job, &told].concat())
        .await;
    assert_eq!(world.said("Migrated"), "False Migrating");
    assert_eq!(world.said("Ready"), "False Migrating");

    // While it runs nothing else happens.
    world
        .expect(&quiet_and(&["get jobs orders-migrate-*"]))
        .await;

    world.finish_job("Complete");
    world
        .expect(&quiet_and(&[
            "get jobs orders-migrate-*",
            "apply deployments orders",
            "status",
            "event RollingOut",
            "event Migrated",
        ]))
        .await;
    assert_eq!(world.deployment()["spec"]["replicas"], 2);
    assert_eq!(world.said("Ready"), "False RollingOut");
    assert_eq!(world.object().status.unwrap().schema.as_deref(), Some("1"));

    world.roll_out();
    // That it is good now is noted on the Deployment.
    world
        .expect(&quiet_and(&[
            "apply deployments orders",
            "status",
            "event Ready",
        ]))
        .await;
    assert_eq!(world.said("Ready"), "True Available");
    assert_eq!(world.said("Progressing"), "False Complete");
    assert_eq!(world.said("Degraded"), "False AsExpected");
    world.expect(&QUIET).await;
}

#[tokio::test]
async fn another_image_migrates_before_pods_change() {
    let world = World::running(World::spec("orders:1")).await;
    world.edit(|spec| spec["image"] = json!("orders:2"));
    let before = world.deployment()["spec"].clone();
    world
        .expect(&quiet_and(&[
            "delete jobs orders-migrate-*",
            "get jobs orders-migrate-*",
            "apply jobs orders-migrate-*",
            "status",
            "event Migrating",
        ]))
        .await;
    assert_eq!(world.deployment()["spec"], before);
    world.finish_job("Complete");
    world.settle().await;
    let image = "/spec/template/spec/containers/0/image";
    assert_eq!(world.deployment().pointer(image).unwrap(), "orders:2");
    world.roll_out();
    world.settle().await;
    assert_eq!(world.said("Ready"), "True Available");
    assert_eq!(world.object().status.unwrap().schema.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_pods_alone_and_says_why() {
    let world = World::running(World::spec("orders:1")).await;
    let before = world.deployment()["spec"].clone();
    world.edit(|spec| spec["image"] = json!("orders:2"));
    world.settle().await;
    world.put("pods", "p", json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"containerStatuses": [{"name": "migrate", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"terminated": {"exitCode": 1, "message": "column x exists"}}}]},
    }));
    world.finish_job("Failed");
    world
        .expect(&quiet_and(&[
            "get jobs orders-migrate-*",
            "list pods",
            "status",
            "event MigrationFailed",
        ]))
        .await;
    assert_eq!(world.said("Migrated"), "False MigrationFailed");
    assert!(
        world
            .condition("Migrated")
            .message
            .ends_with("as told; exit code 1: column x exists")
    );
    assert_eq!(world.said("Degraded"), "True MigrationFailed");
    assert_eq!(world.deployment()["spec"], before);
    world
        .expect(&quiet_and(&["get jobs orders-migrate-*", "list pods"]))
        .await;

    // Fixing the spec is all it takes.
    world.edit(|spec| spec["image"] = json!("orders:3"));
    world.settle().await;
    assert_eq!(
        world.names(Kind::Job).len(),
        1,
        "the Job that failed is gone"
    );
    world.finish_job("Complete");
    world.settle().await;
    world.roll_out();
    world.settle().await;
    assert_eq!(world.said("Ready"), "True Available");
    assert_eq!(world.said("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn going_back_to_the_image_that_runs_needs_no_migration() {
    let world = World::running(World::spec("orders:1")).await;
    world.edit(|spec| spec["image"] = json!("orders:2"));
    world.settle().await;
    world.finish_job("Failed");
    world.settle().await;
    world.edit(|spec| spec["image"] = json!("orders:1"));
    world
        .expect(&quiet_and(&[
            "delete jobs orders-migrate-*",
            "status",
            // Said a moment ago, and so counted.
            "event again",
            "event Recovered",
            "event again",
        ]))
        .await;
    world.expect(&QUIET).await;
}

#[tokio::test]
async fn a_changed_secret_rolls_the_pods_once() {
    let world = World::running(World::spec("orders:1")).await;
    let template = |world: &World| world.deployment()["spec"]["template"].clone();
    let before = template(&world);
    world.change_secret_label();
    world.expect(&QUIET).await;

    world.secret("postgres://two");
    world.settle().await;
    assert_eq!(template(&world), before, "first the new secret is tried");
    world.finish_job("Complete");
    world.settle().await;
    let after = template(&world);
    assert_ne!(after, before);
    world.roll_out();
    world.settle().await;
    assert_eq!(template(&world), after);
    world.expect(&QUIET).await;
}

#[tokio::test]
async fn a_missing_secret_is_said_and_waited_for() {
    let world = World::new(World::spec("orders:1"));
    world.edit(|spec| spec["database"]["secretRef"]["key"] = json!("other"));
    let told = ["status", "event SecretNotFound"];
    world
        .expect(&[&QUIET[..], &SURROUNDINGS, &told].concat())
        .await;
    assert_eq!(world.said("Ready"), "False SecretNotFound");
    assert_eq!(
        world.condition("Degraded").message,
        "Secret db has no key other"
    );
    world.expect(&QUIET).await;
    world.edit(|spec| spec["database"]["secretRef"]["key"] = json!("database-url"));
    world.settle().await;
    assert_eq!(world.said("Migrated"), "False Migrating");
}
