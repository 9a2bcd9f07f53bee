//! The migration runs before the first rollout and before each rollout of another image.

use order_operator::cluster::Kind;
use serde_json::json;

use super::{IDLE_CALLS, idle_calls_and};
use crate::test_cluster::TestCluster;

const SUPPORTING_OBJECTS: [&str; 10] = [
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
async fn the_first_reconciles_create_all_objects_and_the_deployment_last() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    let job = [
        "get jobs orders-migrate-*",
        "get poddisruptionbudgets orders-migrate",
        "apply poddisruptionbudgets orders-migrate",
        "apply jobs orders-migrate-*",
    ];
    let reported = ["status", "event Migrating"];
    let [secret, deployment, copy] = IDLE_CALLS;
    let start = [
        secret,
        // The key of the operator is read once.
        "get secrets order-operator-key",
        deployment,
        copy,
        // The copy is listed in the status before it is created.
        "status",
        "create secrets orders-url-*",
    ];
    cluster
        .expect(&[&start[..], &SUPPORTING_OBJECTS, &job, &reported].concat())
        .await;
    assert_eq!(cluster.status_and_reason("Migrated"), "False Migrating");
    assert_eq!(cluster.status_and_reason("Ready"), "False Migrating");

    // While it runs, nothing else is written.
    cluster
        .expect(&idle_calls_and(&["get jobs orders-migrate-*"]))
        .await;

    cluster.finish_job("Complete");
    cluster
        .expect(&idle_calls_and(&[
            "get jobs orders-migrate-*",
            "patch jobs orders-migrate-*",
            "delete poddisruptionbudgets orders-migrate",
            "apply deployments orders",
            "status",
            "event Migrated",
            "event RollingOut",
        ]))
        .await;
    assert_eq!(cluster.deployment()["spec"]["replicas"], 2);
    assert_eq!(cluster.status_and_reason("Ready"), "False RollingOut");
    assert_eq!(
        cluster.object().status.unwrap().schema.as_deref(),
        Some("1")
    );

    cluster.roll_out();
    // The Deployment gets the annotation with its good revision.
    cluster
        .expect(&idle_calls_and(&[
            "apply deployments orders",
            "get cronjobs orders-maintain",
            "apply cronjobs orders-maintain",
            "status",
            "event Ready",
        ]))
        .await;
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_eq!(cluster.status_and_reason("Progressing"), "False Complete");
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn another_image_is_migrated_before_pods_change() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    let before = cluster.deployment()["spec"].clone();
    cluster
        .expect(&idle_calls_and(&[
            // Its pod has ended.
            "get jobs orders-migrate-*",
            "delete jobs orders-migrate-*",
            "get jobs orders-migrate-*",
            "get poddisruptionbudgets orders-migrate",
            "apply poddisruptionbudgets orders-migrate",
            "apply jobs orders-migrate-*",
            "status",
            "event Migrating",
        ]))
        .await;
    assert_eq!(cluster.deployment()["spec"], before);
    cluster.finish_job("Complete");
    cluster.settle().await;
    let image = "/spec/template/spec/containers/0/image";
    assert_eq!(cluster.deployment().pointer(image).unwrap(), "orders:2");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_eq!(
        cluster.object().status.unwrap().schema.as_deref(),
        Some("2")
    );
}

#[tokio::test]
async fn a_failed_migration_is_reported_and_leaves_the_pods_unchanged() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let before = cluster.deployment()["spec"].clone();
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.settle().await;
    cluster.put("pods", "p", json!({
        "metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"containerStatuses": [{"name": "migrate", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"terminated": {"exitCode": 1, "message": "column x exists"}}}]},
    }));
    cluster.finish_job("Failed");
    cluster
        .expect(&idle_calls_and(&[
            "get jobs orders-migrate-*",
            "list pods",
            "delete poddisruptionbudgets orders-migrate",
            "status",
            "event MigrationFailed",
        ]))
        .await;
    assert_eq!(
        cluster.status_and_reason("Migrated"),
        "False MigrationFailed"
    );
    assert_eq!(
        cluster.condition("Migrated").message,
        "ContainerFailed: exit code 1: column x exists"
    );
    assert_eq!(
        cluster.status_and_reason("Degraded"),
        "True MigrationFailed"
    );
    assert_eq!(cluster.deployment()["spec"], before);
    cluster
        .expect(&idle_calls_and(&["get jobs orders-migrate-*", "list pods"]))
        .await;

    // A changed spec starts a new migration.
    cluster.edit_spec(|spec| spec["image"] = json!("orders:3"));
    cluster.settle().await;
    assert_eq!(
        cluster.names(Kind::Job).len(),
        1,
        "the failed Job is deleted"
    );
    cluster.finish_job("Complete");
    cluster.settle().await;
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn returning_to_the_running_image_needs_no_migration() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.settle().await;
    cluster.finish_job("Failed");
    cluster.settle().await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:1"));
    cluster
        .expect(&idle_calls_and(&[
            "get jobs orders-migrate-*",
            "delete jobs orders-migrate-*",
            "status",
            // The same event is counted.
            "event again",
            "event Recovered",
            "event again",
        ]))
        .await;
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn a_changed_secret_rolls_the_pods_once() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let template = |cluster: &TestCluster| cluster.deployment()["spec"]["template"].clone();
    let before = template(&cluster);
    cluster.change_secret_label();
    cluster.expect(&IDLE_CALLS).await;

    cluster.secret("postgres://two");
    cluster.settle().await;
    assert_eq!(
        template(&cluster),
        before,
        "the migration tries the new secret first"
    );
    cluster.finish_job("Complete");
    cluster.settle().await;
    let after = template(&cluster);
    assert_ne!(after, before);
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(template(&cluster), after);
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn a_missing_secret_is_reported_and_waited_for() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.edit_spec(|spec| spec["database"]["secretRef"]["key"] = json!("other"));
    let reported = ["status", "event SecretNotFound"];
    cluster
        .expect(&[&IDLE_CALLS[..2], &SUPPORTING_OBJECTS, &reported].concat())
        .await;
    assert_eq!(cluster.status_and_reason("Ready"), "False SecretNotFound");
    assert_eq!(
        cluster.condition("Degraded").message,
        "Secret db has no key other"
    );
    cluster.expect(&IDLE_CALLS[..2]).await;
    cluster.edit_spec(|spec| spec["database"]["secretRef"]["key"] = json!("database-url"));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Migrated"), "False Migrating");
}
