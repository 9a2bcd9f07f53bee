//! A running migration is not cut off when the image or the secret changes.

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::database_secret::volume_secret;
use super::migration_pods::seconds_ago;
use super::{IDLE_CALLS, idle_calls_and};
use crate::test_cluster::TestCluster;

fn pod(phase: &str, state: Value) -> Value {
    json!({
        "metadata": {"name": "p", "creationTimestamp": seconds_ago(300)},
        "status": {"phase": phase, "containerStatuses": [{
            "name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]},
    })
}

fn running() -> Value {
    pod(
        "Running",
        json!({"running": {"startedAt": seconds_ago(300)}}),
    )
}

fn ended() -> Value {
    pod("Failed", json!({"terminated": {"exitCode": 3}}))
}

fn job(cluster: &TestCluster) -> String {
    let jobs = cluster.names(Kind::Job);
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    jobs[0].clone()
}

/// A cluster in which a migration for another image runs.
async fn migrating() -> (TestCluster, String) {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.settle().await;
    cluster.put("pods", "p", running());
    let job = job(&cluster);
    (cluster, job)
}

#[tokio::test]
async fn a_migration_that_runs_ends_before_that_of_a_changed_secret() {
    let (cluster, first) = migrating().await;
    cluster.secret("postgres://two");
    // The URL is copied, and the copy is recorded before.
    let copied = ["status", "create secrets orders-url-*"];
    let polled = ["get jobs orders-migrate-*", "list pods"];
    // No Job and no pod reads the copy of the second URL.
    let unused = [
        "get cronjobs orders-maintain",
        "get jobs orders-migrate-*",
        "list jobs ",
        "get secrets orders-url-*",
        "delete secrets orders-url-*",
    ];
    cluster
        .expect(&idle_calls_and(
            &[&copied[..], &polled, &["status"]].concat(),
        ))
        .await;
    assert_eq!(job(&cluster), first);
    assert_eq!(
        cluster.condition("Migrated").message,
        format!("Job {first} of an earlier image or secret still runs, and its pod ends first")
    );
    cluster.expect(&idle_calls_and(&polled)).await;

    // Every rotation leaves it alone.
    cluster.secret("postgres://three");
    cluster
        .expect(&idle_calls_and(
            &[&copied[..], &polled, &unused, &["status"]].concat(),
        ))
        .await;
    assert!(
        cluster
            .get("poddisruptionbudgets", "orders-migrate")
            .is_some()
    );

    cluster.finish_job("Complete");
    cluster.settle().await;
    assert_ne!(job(&cluster), first, "the secret is migrated next");
    cluster.finish_job("Complete");
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Migrated"), "True Migrated");
}

#[tokio::test]
async fn a_corrected_secret_waits_for_the_pod_but_not_for_further_attempts() {
    let (cluster, first) = migrating().await;
    cluster.secret("postgres://two");
    cluster.settle().await;
    assert_eq!(job(&cluster), first);
    cluster.put("pods", "p", ended());
    cluster.settle().await;
    assert_ne!(job(&cluster), first);
}

#[tokio::test]
async fn a_migration_that_cannot_start_does_not_delay_another_one() {
    let (cluster, first) = migrating().await;
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff"}});
    cluster.put("pods", "p", pod("Pending", waiting));
    cluster.edit_spec(|spec| spec["image"] = json!("orders:3"));
    cluster.settle().await;
    assert_ne!(job(&cluster), first);
}

#[tokio::test]
async fn a_return_to_the_running_image_does_not_cut_off_the_migration_either() {
    let (cluster, first) = migrating().await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:1"));
    cluster.settle().await;
    assert_eq!(job(&cluster), first);
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    cluster.put("pods", "p", ended());
    cluster.settle().await;
    assert!(cluster.names(Kind::Job).is_empty());
    assert!(
        cluster
            .get("poddisruptionbudgets", "orders-migrate")
            .is_none()
    );
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn a_budget_exists_only_while_the_migration_runs() {
    let (cluster, _) = migrating().await;
    let budget = cluster
        .get("poddisruptionbudgets", "orders-migrate")
        .unwrap();
    assert_eq!(budget["spec"]["minAvailable"], 1);
    let job = cluster.get("jobs", &job(&cluster)).unwrap();
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    let selector = budget["spec"]["selector"]["matchLabels"]
        .as_object()
        .unwrap();
    assert!(selector.iter().all(|(key, value)| labels[key] == *value));
    assert_eq!(selector["app.kubernetes.io/component"], "migrate");
    cluster.finish_job("Failed");
    cluster.settle().await;
    assert_eq!(cluster.names(Kind::PodDisruptionBudget), ["orders"]);

    let mut spec = TestCluster::spec("orders:1");
    spec["disruption"] = json!({"enabled": false});
    let without = TestCluster::new(spec);
    without.settle().await;
    assert!(without.names(Kind::PodDisruptionBudget).is_empty());
}

#[tokio::test]
async fn a_budget_of_another_owner_is_a_conflict() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let foreign = json!({"metadata": {"name": "orders-migrate", "namespace": "shop"}, "spec": {}});
    cluster.put("poddisruptionbudgets", "orders-migrate", foreign);
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Conflict"), "True ForeignObject");
    assert_eq!(
        cluster.names(Kind::Job).len(),
        1,
        "it migrates nevertheless"
    );
}

#[tokio::test]
async fn only_a_job_that_succeeded_expires() {
    let (cluster, name) = migrating().await;
    let expires = || cluster.get("jobs", &name).unwrap()["spec"]["ttlSecondsAfterFinished"].clone();
    assert_eq!(expires(), Value::Null);
    cluster.finish_job("Failed");
    cluster.settle().await;
    assert_eq!(expires(), Value::Null);
    cluster.finish_job("Complete");
    cluster.settle().await;
    assert_eq!(expires(), json!(86_400));
}

#[tokio::test]
async fn the_copy_of_the_url_that_a_running_migration_reads_stays() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.secret("postgres://two");
    cluster.settle().await;
    let copy = {
        let names = cluster.names(Kind::Job);
        let jobs = names.iter().map(|name| cluster.get("jobs", name).unwrap());
        let running = jobs.filter(|job| job["status"]["conditions"].is_null());
        let running: Vec<_> = running.collect();
        assert_eq!(running.len(), 1);
        volume_secret(&running[0]["spec"]["template"])
    };
    // Its container has not started: it mounts the copy later, as does a pod that replaces an evicted one.
    let creating = json!({"waiting": {"reason": "ContainerCreating"}});
    let mut creating = pod("Pending", creating);
    creating["metadata"]["creationTimestamp"] = json!(seconds_ago(5));
    cluster.put("pods", "p", creating);
    cluster.secret("postgres://three");
    cluster.settle().await;
    assert!(cluster.get("secrets", &copy).is_some());
    cluster.settle().await;
    assert!(cluster.get("secrets", &copy).is_some());

    cluster.finish_job("Complete");
    cluster.settle().await;
    assert!(cluster.get("secrets", &copy).is_none());
}

#[tokio::test]
async fn a_pod_that_has_been_starting_for_long_does_not_delay_another_migration() {
    let (cluster, first) = migrating().await;
    // No event explains it.
    let creating = json!({"waiting": {"reason": "ContainerCreating"}});
    cluster.put("pods", "p", pod("Pending", creating));
    cluster.secret("postgres://two");
    cluster.settle().await;
    assert_ne!(job(&cluster), first);
}
