//! A changed URL of the database does not wait with a template that waits for a permit, and zero pods prove nothing.

use std::sync::Arc;

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::database_secret::{copies, migrated, mounted, read_url, volume_secret};
use super::fleet::{downgrade, limits, metric, revision, upgraded};
use super::retry::{let_the_time_pass, not_ready};
use super::{IDLE_CALLS, assert_idle};
use crate::test_cluster::TestCluster;

/// Whether the pods are those of the earlier version of the operator.
fn is_earlier(cluster: &TestCluster) -> bool {
    let container = &cluster.deployment()["spec"]["template"]["spec"]["containers"][0];
    let names = container["env"].as_array().unwrap().iter();
    !names
        .map(|variable| &variable["name"])
        .any(|name| name == "WORKERS")
}

#[tokio::test]
async fn a_changed_url_rolls_out_while_the_template_waits() {
    // Held, and then queued behind a limit of rollouts that one of another cause reaches.
    let cluster = upgraded(limits(1, 0)).await;
    cluster.settle().await;
    assert_eq!(revision(&cluster), "0123456789");
    let first = mounted(&cluster);
    cluster.secret("postgres://two");
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Progressing"), "True RolloutHeld");
    assert_eq!(mounted(&cluster), first, "the migration tries it first");
    cluster.finish_job("Complete");
    cluster.settle().await;
    assert_eq!(read_url(&cluster), "postgres://two");
    assert_ne!(revision(&cluster), "0123456789");
    assert!(is_earlier(&cluster));
    assert_eq!(cluster.status_and_reason("Progressing"), "True RolloutHeld");
    let counts = |cluster: &TestCluster| (metric(cluster, "waiting"), metric(cluster, "running"));
    assert_eq!(counts(&cluster), (1, 1));

    // Another leader continues it, and does not take it for the rollout of the template.
    let cluster = cluster.with_new_operator();
    cluster.context.records.fleet.limit(limits(1, 0));
    cluster.settle().await;
    assert!(is_earlier(&cluster));
    assert_eq!(counts(&cluster), (1, 1));

    cluster.roll_out();
    cluster.settle().await;
    assert!(is_earlier(&cluster));
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_eq!(
        cluster.status_and_reason("Progressing"),
        "False RolloutHeld"
    );
    assert_eq!(counts(&cluster), (1, 0));
    assert_eq!(copies(&cluster), [mounted(&cluster)]);
    let cron_job = cluster.get("cronjobs", "orders-maintain").unwrap();
    let template = &cron_job["spec"]["jobTemplate"]["spec"]["template"];
    assert_eq!(volume_secret(template), mounted(&cluster));
    cluster.expect(&IDLE_CALLS).await;

    cluster.context.records.fleet.limit(limits(1, 3));
    cluster.settle().await;
    assert!(!is_earlier(&cluster));
    assert_eq!(read_url(&cluster), "postgres://two");
    assert_eq!(cluster.status_and_reason("Progressing"), "True RollingOut");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Progressing"), "False Complete");
    assert_eq!(counts(&cluster), (0, 0));
}

#[tokio::test]
async fn a_bad_url_is_rolled_back_while_the_template_waits() {
    let cluster = upgraded(limits(1, 0)).await;
    cluster.settle().await;
    cluster.secret("postgres://bad");
    migrated(&cluster).await;
    assert_eq!(read_url(&cluster), "postgres://bad");
    cluster.exceed_deadline();
    cluster.settle().await;
    assert_eq!(read_url(&cluster), "postgres://one");
    assert!(is_earlier(&cluster));
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "False RolledBack");
    let status = cluster.object().status.unwrap();
    assert_eq!(status.failed_operator_version, None, "the URL failed");
    assert_eq!(
        (metric(&cluster, "failed"), metric(&cluster, "running")),
        (0, 0)
    );
    assert_idle(&cluster).await;

    cluster.secret("postgres://two");
    migrated(&cluster).await;
    assert_eq!(read_url(&cluster), "postgres://two");
    cluster.roll_out();
    cluster.settle().await;
    assert!(is_earlier(&cluster));
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_idle(&cluster).await;
}

#[tokio::test]
async fn a_url_that_failed_while_the_template_waits_is_retried_if_the_cause_passes() {
    let cluster = upgraded(limits(1, 0)).await;
    cluster.settle().await;
    cluster.secret("postgres://two");
    migrated(&cluster).await;
    cluster.put("pods", "p", not_ready());
    cluster.exceed_deadline();
    cluster.settle().await;
    cluster.remove_pod("p");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(read_url(&cluster), "postgres://one");
    let_the_time_pass(&cluster);
    cluster.settle().await;
    assert_eq!(read_url(&cluster), "postgres://two");
    assert!(is_earlier(&cluster));
}

#[tokio::test]
async fn a_changed_url_waits_only_for_the_number_of_rollouts() {
    let cluster = upgraded(limits(0, 0)).await;
    cluster.secret("postgres://two");
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Progressing"),
        "False RolloutHeld"
    );
    assert_eq!(read_url(&cluster), "postgres://one");
    assert_eq!(metric(&cluster, "waiting"), 1, "counted once");
    assert_idle(&cluster).await;
}

/// Creates a copy of the OrderService and its Deployment with another name.
fn add(cluster: &TestCluster, name: &str) {
    let mut object = cluster.get("orderservices", "orders").unwrap();
    object["metadata"]["name"] = json!(name);
    object["metadata"]["uid"] = json!(name);
    cluster.put("orderservices", name, object);
    let mut deployment = cluster.deployment();
    deployment["metadata"]["name"] = json!(name);
    deployment["metadata"]["uid"] = json!(format!("{name}-deployment"));
    let owner = &mut deployment["metadata"]["ownerReferences"][0];
    owner["uid"] = json!(name);
    owner["name"] = json!(name);
    cluster.put("deployments", name, deployment);
}

/// Reconciles the OrderService of this name, and returns the reason of `Progressing`.
async fn progress(cluster: &TestCluster, name: &str) -> String {
    let object: Value = cluster.get("orderservices", name).unwrap();
    let object = Arc::new(serde_json::from_value(object).unwrap());
    let reconciled = order_operator::reconcile::reconcile(object, cluster.context.clone());
    Box::pin(reconciled).await.unwrap();
    let status = &cluster.get("orderservices", name).unwrap()["status"];
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|it| it["type"] == "Progressing");
    found.unwrap()["reason"].as_str().unwrap().to_owned()
}

/// The second of two others starts only if the canary with so many replicas is a proof.
async fn after_a_canary(replicas: i32) -> String {
    let mut spec = TestCluster::spec("orders:1");
    spec["replicas"] = json!(replicas);
    let cluster = TestCluster::running(spec).await;
    cluster.change(Kind::Deployment, "orders", downgrade);
    cluster.roll_out();
    let cluster = cluster.with_new_operator();
    cluster.context.records.fleet.limit(limits(5, 3));
    for name in ["second", "third"] {
        add(&cluster, name);
    }
    cluster.settle().await;
    assert_ne!(revision(&cluster), "0123456789");
    if replicas > 0 {
        assert_eq!(progress(&cluster, "second").await, "RolloutQueued");
    }
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Progressing"), "False Complete");
    assert_ne!(progress(&cluster, "second").await, "RolloutQueued");
    progress(&cluster, "third").await
}

#[tokio::test]
async fn a_canary_without_pods_proves_nothing() {
    assert_eq!(after_a_canary(0).await, "RolloutQueued");
    assert_ne!(after_a_canary(1).await, "RolloutQueued");
}
