//! A failed rollout is retried: at a request, and by itself when the cause passes by itself.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::pod_failures::{MakePod, crashed, image_pull, surge, unschedulable};
use super::rollback::{image, rolling};
use crate::test_cluster::TestCluster;

/// A cluster in which the rollout of the second image failed because of this pod, and was rolled back.
pub async fn rolled_back(pod: Value) -> TestCluster {
    let cluster = rolling().await;
    fail(&cluster, pod).await;
    cluster
}

/// The rollout exceeds its deadline because of this pod, and is rolled back.
async fn fail(cluster: &TestCluster, pod: Value) {
    cluster.put("pods", "p", pod);
    cluster.exceed_deadline();
    cluster.settle().await;
    cluster.remove_pod("p");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(image(cluster), "orders:1");
}

/// A pod whose readiness probe fails.
pub fn not_ready() -> Value {
    json!({
        "metadata": {"name": "p", "uid": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "message": "containers with unready status"}]},
    })
}

/// How many seconds from now the automatic retry starts.
fn wait(cluster: &TestCluster) -> Option<i64> {
    let failed = cluster.object().status.unwrap().failed_revision.unwrap();
    let at = failed.retry_at?.0;
    Some(at.duration_since(Timestamp::now()).as_secs())
}

/// Lets the time of the automatic retry come.
pub fn let_the_time_pass(cluster: &TestCluster) {
    let mut object = cluster.get("orderservices", "orders").unwrap();
    let past = Timestamp::now() - SignedDuration::from_secs(1);
    object["status"]["failedRevision"]["retryAt"] = json!(past);
    cluster.put("orderservices", "orders", object);
}

#[tokio::test]
async fn a_new_token_retries_a_failed_rollout_once() {
    let cluster = rolled_back(crashed("p", 3)).await;
    assert_eq!(wait(&cluster), None, "a crash does not pass by itself");
    super::assert_idle(&cluster).await;

    cluster.annotate("orders.example.com/retry", "1");
    cluster.run().await.0.unwrap();
    assert_eq!(image(&cluster), "orders:2");
    let status = cluster.object().status.unwrap();
    assert_eq!(status.failed_revision, None);
    assert_eq!(status.retry.unwrap().token.as_deref(), Some("1"));
    assert_eq!(cluster.status_and_reason("Ready"), "False RollingOut");

    // The same token does not retry the next failure, not even with another leader.
    fail(&cluster, crashed("p", 3)).await;
    cluster.context.records.index.clear();
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1");

    cluster.annotate("orders.example.com/retry", "2");
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:2");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn a_token_that_is_set_while_nothing_has_failed_does_not_retry_a_later_failure() {
    let cluster = rolling().await;
    cluster.annotate("orders.example.com/retry", "1");
    cluster.settle().await;
    fail(&cluster, crashed("p", 3)).await;
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1");
}

#[tokio::test]
async fn causes_that_pass_by_themselves_are_retried_with_growing_delays() {
    let pods: [MakePod; 2] = [unschedulable, image_pull];
    for pod in pods {
        let cluster = rolled_back(pod(600)).await;
        let first = wait(&cluster).unwrap();
        assert!((10..=30).contains(&first), "{first}");
        let (action, calls) = cluster.run().await;
        assert!(
            calls.iter().all(|call| crate::test_cluster::is_read(call)),
            "{calls:?}"
        );
        let requeue = format!("{:?}", action.unwrap());
        let seconds = requeue.split("requeue_after: Some(").nth(1).unwrap();
        let seconds: f64 = seconds.split('s').next().unwrap().parse().unwrap();
        assert!(
            seconds <= 30.0,
            "the operator returns for the retry: {requeue}"
        );

        let_the_time_pass(&cluster);
        cluster.run().await.0.unwrap();
        assert_eq!(image(&cluster), "orders:2");
        surge(&cluster, 1);
        cluster.settle().await;
        fail(&cluster, pod(600)).await;
        let second = wait(&cluster).unwrap();
        assert!((25..=60).contains(&second), "{second}");
        assert_eq!(cluster.object().status.unwrap().retry.unwrap().attempts, 1);

        let_the_time_pass(&cluster);
        cluster.settle().await;
        cluster.roll_out();
        cluster.settle().await;
        assert_eq!(cluster.status_and_reason("Ready"), "True Available");
        let status = cluster.object().status.unwrap();
        assert_eq!((status.failed_revision, status.retry), (None, None));
        cluster.expect(&super::IDLE_CALLS).await;
    }
}

#[tokio::test]
async fn a_database_that_does_not_respond_is_retried() {
    let cluster = rolled_back(not_ready()).await;
    assert!(wait(&cluster).unwrap() <= 30);
}

#[tokio::test]
async fn a_failed_first_rollout_is_left_to_kubernetes() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
    cluster.put("pods", "p", image_pull(600));
    cluster.exceed_deadline();
    cluster.settle().await;
    assert_eq!(wait(&cluster), None);
    assert_eq!(
        cluster.status_and_reason("Progressing"),
        "False RolloutFailed"
    );
    super::assert_idle(&cluster).await;
    // The registry responds again, and the kubelet starts the pods.
    cluster.remove_pod("p");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
}

#[tokio::test]
async fn a_new_token_repeats_a_failed_migration_once() {
    let running = TestCluster::running(TestCluster::spec("orders:1")).await;
    running.edit_spec(|spec| spec["image"] = json!("orders:2"));
    for cluster in [running, TestCluster::new(TestCluster::spec("orders:1"))] {
        cluster.settle().await;
        cluster.finish_job("Failed");
        cluster.settle().await;
        assert_eq!(cluster.status_and_reason("Stalled"), "True MigrationFailed");
        cluster.annotate("orders.example.com/retry", "1");
        let (result, calls) = cluster.run().await;
        result.unwrap();
        assert!(
            calls.contains(&"delete jobs orders-migrate-*".to_owned()),
            "{calls:?}"
        );
        assert_eq!(cluster.status_and_reason("Migrated"), "False Migrating");
        cluster.settle().await;
        cluster.finish_job("Failed");
        cluster.settle().await;
        assert_eq!(
            cluster.status_and_reason("Migrated"),
            "False MigrationFailed"
        );
        super::assert_idle(&cluster).await;
    }
}
