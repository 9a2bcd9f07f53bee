//! Rollouts that no change of a spec requested are limited.

use order_operator::cluster::Kind;
use order_operator::fleet::Limits;
use serde_json::{Value, json};

use super::{IDLE_CALLS, assert_idle};
use crate::test_cluster::TestCluster;

/// A Deployment as an earlier version of the operator built it: without one of the environment variables.
pub fn downgrade(deployment: &mut Value) {
    let annotations = deployment["metadata"]["annotations"].clone();
    let text = annotations["orders.example.com/template"].as_str().unwrap();
    let mut template: Value = serde_json::from_str(text).unwrap();
    let environment = template.pointer_mut("/spec/containers/0/env").unwrap();
    environment.as_array_mut().unwrap().pop();
    template["metadata"]["labels"]["orders.example.com/revision"] = json!("0123456789");
    let annotations = &mut deployment["metadata"]["annotations"];
    annotations["orders.example.com/template"] = json!(template.to_string());
    annotations["orders.example.com/good-revision"] = json!("0123456789");
    annotations["orders.example.com/applied"] = json!("earlier");
    deployment["spec"]["template"] = template;
    deployment["metadata"]["managedFields"] = json!([]);
}

/// A cluster whose pods run as an earlier version of the operator deployed them, and the current version.
pub async fn upgraded(limits: Limits) -> TestCluster {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.change(Kind::Deployment, "orders", downgrade);
    cluster.roll_out();
    let cluster = cluster.with_new_operator();
    cluster.context.records.fleet.limit(limits);
    cluster
}

pub fn limits(concurrent: usize, failures: usize) -> Limits {
    Limits {
        concurrent,
        failures,
    }
}

pub fn revision(cluster: &TestCluster) -> Value {
    cluster.deployment()["spec"]["template"]["metadata"]["labels"]["orders.example.com/revision"]
        .clone()
}

pub fn metric(cluster: &TestCluster, state: &str) -> i64 {
    let metrics = &cluster.context.metrics();
    metrics.rollouts.with_label_values(&[state]).get()
}

#[tokio::test]
async fn a_change_of_the_operator_waits_for_a_permit_and_everything_else_does_not() {
    let cluster = upgraded(limits(0, 3)).await;
    cluster.settle().await;
    assert_eq!(revision(&cluster), "0123456789");
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    assert_eq!(cluster.status_and_reason("Migrated"), "True Migrated");
    assert_eq!(
        cluster.status_and_reason("Progressing"),
        "False RolloutQueued"
    );
    assert_eq!(
        (metric(&cluster, "waiting"), metric(&cluster, "running")),
        (1, 0)
    );
    for _ in 0..3 {
        cluster.expect(&IDLE_CALLS).await;
    }
    // Drift is corrected with the current template.
    cluster.change(Kind::Deployment, "orders", |deployment| {
        deployment["spec"]["replicas"] = json!(9);
    });
    cluster.run().await.0.unwrap();
    assert_eq!(cluster.deployment()["spec"]["replicas"], 2);
    assert_eq!(revision(&cluster), "0123456789");
    cluster.roll_out();
    cluster.settle().await;

    cluster.context.records.fleet.limit(limits(1, 3));
    cluster.settle().await;
    assert_ne!(revision(&cluster), "0123456789");
    assert_eq!(
        (metric(&cluster, "waiting"), metric(&cluster, "running")),
        (0, 1)
    );
    assert_eq!(cluster.status_and_reason("Progressing"), "True RollingOut");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Progressing"), "False Complete");
    assert_eq!(
        (metric(&cluster, "waiting"), metric(&cluster, "running")),
        (0, 0)
    );
}

#[tokio::test]
async fn a_change_of_the_spec_does_not_wait() {
    let cluster = upgraded(limits(0, 0)).await;
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Progressing"),
        "False RolloutHeld"
    );
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    let cluster = cluster.rolled_out().await;
    assert_ne!(revision(&cluster), "0123456789");
    assert_eq!(cluster.status_and_reason("Progressing"), "False Complete");
    assert_eq!(metric(&cluster, "waiting"), 0);
    assert_idle(&cluster).await;
    // The failure of a requested rollout is not one of the operator.
    cluster.edit_spec(|spec| spec["image"] = json!("orders:3"));
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
    cluster.exceed_deadline();
    cluster.settle().await;
    let status = cluster.object().status.unwrap();
    assert!(status.failed_revision.is_some());
    assert_eq!(status.failed_operator_version, None);
    assert_eq!(metric(&cluster, "failed"), 0);
}

#[tokio::test]
async fn failures_of_the_operator_are_counted_and_stop_further_rollouts() {
    let cluster = upgraded(limits(1, 1)).await;
    cluster.settle().await;
    assert_ne!(revision(&cluster), "0123456789");
    cluster.exceed_deadline();
    cluster.settle().await;
    assert_eq!(revision(&cluster), "0123456789", "rolled back");
    cluster.roll_out();
    cluster.settle().await;
    let version = env!("CARGO_PKG_VERSION");
    let status = cluster.object().status.unwrap();
    assert_eq!(status.failed_operator_version.as_deref(), Some(version));
    assert_eq!(
        (metric(&cluster, "failed"), metric(&cluster, "running")),
        (1, 0)
    );
    assert_eq!(cluster.context.metrics().rollouts_held.get(), 1);

    // A change of the spec solves it.
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    let cluster = cluster.rolled_out().await;
    assert_eq!(
        cluster.object().status.unwrap().failed_operator_version,
        None
    );
    assert_eq!(metric(&cluster, "failed"), 0);
    assert_eq!(cluster.context.metrics().rollouts_held.get(), 0);
}

#[tokio::test]
async fn a_held_rollout_is_reported_once() {
    let cluster = upgraded(limits(5, 0)).await;
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert_eq!(calls[calls.len() - 2..], ["status", "event RolloutHeld"]);
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn a_lost_key_of_the_digests_rolls_and_migrates_only_with_a_permit() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let before = revision(&cluster);
    let jobs = cluster.names(Kind::Job);
    let cluster = cluster.with_new_operator();
    cluster.operator_key(Some(&[8; 32]));
    cluster.context.records.fleet.limit(limits(0, 0));
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Progressing"),
        "False RolloutQueued"
    );
    assert_eq!(cluster.names(Kind::Job), jobs, "no migration either");
    assert_eq!(revision(&cluster), before);

    // The Job of the old key, which the index of the new operator does not contain without a watch.
    cluster.remove(Kind::Job, &jobs[0]);
    cluster.context.records.fleet.limit(limits(1, 0));
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        calls.contains(&"apply jobs orders-migrate-*".to_owned()),
        "{calls:?}"
    );
    assert_eq!(
        metric(&cluster, "running"),
        1,
        "the migration holds the permit"
    );
    let cluster = cluster.rolled_out().await;
    assert_ne!(revision(&cluster), before);
    assert_eq!(metric(&cluster, "running"), 0);
}

#[tokio::test]
async fn a_permit_is_released_when_the_rollout_cannot_continue() {
    let cluster = upgraded(limits(1, 3)).await;
    cluster.settle().await;
    assert_eq!(metric(&cluster, "running"), 1);
    cluster.edit_spec(|spec| spec["paused"] = json!(true));
    let read = ["get secrets db", "get deployments orders"];
    cluster
        .expect(&[&read[..], &["status", "event Paused"]].concat())
        .await;
    assert_eq!(metric(&cluster, "running"), 0);
}

#[tokio::test]
async fn an_object_of_a_version_without_a_settled_generation_waits_for_a_permit() {
    for kept in ["Ready", "Progressing"] {
        let cluster = upgraded(limits(0, 3)).await;
        let mut object = cluster.get("orderservices", "orders").unwrap();
        let status = object["status"].as_object_mut().unwrap();
        status.remove("settledGeneration").unwrap();
        status.remove("databaseSecrets").unwrap();
        let conditions = status["conditions"].as_array_mut().unwrap();
        conditions.retain(|condition| condition["type"] == kept);
        cluster.put("orderservices", "orders", object);
        cluster.settle().await;
        assert_eq!(revision(&cluster), "0123456789");
        assert_eq!(
            cluster.status_and_reason("Progressing"),
            "False RolloutQueued"
        );
        assert_eq!(metric(&cluster, "waiting"), 1);
    }
}

#[tokio::test]
async fn a_failed_migration_stays_reported_while_there_is_no_permit() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.secret("postgres://bad");
    cluster.settle().await;
    cluster.finish_job("Failed");
    cluster.settle().await;
    assert_eq!(
        (metric(&cluster, "waiting"), metric(&cluster, "running")),
        (0, 0),
        "a failed migration holds no permit"
    );
    cluster.context.records.fleet.limit(limits(0, 3));
    assert_idle(&cluster).await;
    assert_eq!(
        cluster.status_and_reason("Degraded"),
        "True MigrationFailed"
    );
    // A corrected secret waits.
    cluster.secret("postgres://two");
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Progressing"),
        "False RolloutQueued"
    );
}

#[tokio::test]
async fn a_rollout_that_is_in_progress_holds_a_permit_although_others_have_all() {
    let cluster = upgraded(limits(1, 3)).await;
    cluster.settle().await;
    assert_ne!(revision(&cluster), "0123456789");
    // The leader ended before it wrote the status, so its successor has restored nothing.
    let cluster = cluster.with_new_operator();
    cluster.context.records.fleet.limit(limits(0, 0));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Progressing"), "True RollingOut");
    assert_eq!(
        (metric(&cluster, "waiting"), metric(&cluster, "running")),
        (0, 1)
    );
}

#[tokio::test]
async fn a_deleted_object_holds_no_permit() {
    let cluster = upgraded(limits(1, 3)).await;
    cluster.settle().await;
    assert_eq!(metric(&cluster, "running"), 1);
    // Foreground deletion: the object stays until its objects are gone.
    let mut object = cluster.get("orderservices", "orders").unwrap();
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    cluster.put("orderservices", "orders", object);
    cluster.expect(&[]).await;
    assert_eq!(metric(&cluster, "running"), 0);
}

#[tokio::test]
async fn an_object_in_a_namespace_that_is_being_deleted_holds_no_permit() {
    let cluster = upgraded(limits(1, 3)).await;
    cluster.settle().await;
    assert_eq!(metric(&cluster, "running"), 1);
    let name = cluster.names(Kind::Service).pop().unwrap();
    cluster.remove(Kind::Service, &name);
    let details =
        json!({"causes": [{"reason": "NamespaceTerminating", "message": "", "field": ""}]});
    cluster.fail_with("apply services", 403, details);
    cluster.run().await.0.unwrap();
    assert_eq!(metric(&cluster, "running"), 0);
}

#[tokio::test]
async fn a_retry_is_the_canary() {
    let cluster = upgraded(limits(1, 1)).await;
    cluster.settle().await;
    cluster.exceed_deadline();
    cluster.settle().await;
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(
        (metric(&cluster, "failed"), metric(&cluster, "running")),
        (1, 0)
    );
    // Without a permit, the end of the failure would start the next rollout that waits.
    cluster.annotate("orders.example.com/retry", "1");
    cluster.run().await.0.unwrap();
    assert_ne!(revision(&cluster), "0123456789");
    assert_eq!(
        (metric(&cluster, "failed"), metric(&cluster, "running")),
        (0, 1)
    );
    cluster.exceed_deadline();
    cluster.settle().await;
    assert_eq!(
        (metric(&cluster, "failed"), metric(&cluster, "running")),
        (1, 0)
    );
}
