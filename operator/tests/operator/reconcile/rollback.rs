//! A failed rollout is rolled back, and not retried until the spec changes.

use serde_json::json;

use super::idle_calls_and;
use crate::test_cluster::TestCluster;

pub fn image(cluster: &TestCluster) -> String {
    let deployment = cluster.deployment();
    let image = deployment
        .pointer("/spec/template/spec/containers/0/image")
        .unwrap();
    image.as_str().unwrap().to_owned()
}

/// A cluster in which the second image rolls out.
pub async fn rolling() -> TestCluster {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:2");
    cluster
}

#[tokio::test]
async fn a_rollout_without_progress_is_rolled_back() {
    let cluster = rolling().await;
    let good = cluster.object().status.unwrap();
    assert!(good.failed_revision.is_none());
    cluster.exceed_deadline();
    cluster
        .expect(&idle_calls_and(&[
            "list pods",
            // The failure is written before the rollback.
            "status",
            "apply deployments orders",
            "status",
            "event ProgressDeadlineExceeded",
        ]))
        .await;
    assert_eq!(image(&cluster), "orders:1");
    assert_eq!(
        cluster.status_and_reason("Degraded"),
        "True ProgressDeadlineExceeded"
    );
    let why = cluster.condition("Degraded").message;
    assert_eq!(
        why,
        "rolled back to orders:1, not retried by itself: timed out progressing"
    );
    assert_eq!(cluster.status_and_reason("Ready"), "False RolledBack");

    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "False RolledBack");
    assert_eq!(cluster.status_and_reason("Progressing"), "False Complete");

    // Scaling does not retry it.
    cluster.edit_spec(|spec| spec["replicas"] = json!(4));
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1");
    assert_eq!(cluster.deployment()["spec"]["replicas"], 4);
    cluster.roll_out();
    cluster.settle().await;
    super::assert_idle(&cluster).await;

    cluster.edit_spec(|spec| spec["image"] = json!("orders:3"));
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:3");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    assert!(cluster.object().status.unwrap().failed_revision.is_none());
}

#[tokio::test]
async fn a_crash_loop_is_rolled_back_before_the_deadline() {
    let cluster = rolling().await;
    cluster.exceed_deadline();
    cluster.change(
        order_operator::cluster::Kind::Deployment,
        "orders",
        |deployment| {
            deployment["status"]["conditions"] = json!([]);
        },
    );
    cluster.put(
        "pods",
        "p",
        json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [{
            "name": "order-service", "image": "", "imageID": "", "ready": false, "restartCount": 4,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 101}},
        }]}}),
    );
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1");
    assert_eq!(
        cluster.status_and_reason("Degraded"),
        "True CrashLoopBackOff"
    );
    assert!(
        cluster
            .condition("Degraded")
            .message
            .ends_with("pod p: CrashLoopBackOff: restarted 4 times, exit code 101")
    );
}

#[tokio::test]
async fn a_failed_revision_is_remembered_when_the_rollback_fails() {
    let cluster = rolling().await;
    cluster.exceed_deadline();
    cluster.fail("apply deployments", 500, 1);
    let (result, _) = cluster.run().await;
    assert!(result.is_err());
    assert_eq!(
        cluster.status_and_reason("Degraded"),
        "True ProgressDeadlineExceeded"
    );
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1", "not retried");
}

#[tokio::test]
async fn a_failed_first_rollout_is_not_rolled_back() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
    cluster.exceed_deadline();
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1");
    assert_eq!(cluster.status_and_reason("Ready"), "False RolloutFailed");
    assert!(
        cluster
            .condition("Degraded")
            .message
            .contains("there is nothing to roll back to")
    );
}

#[tokio::test]
async fn a_stale_status_does_not_undo_a_rollback() {
    let cluster = rolling().await;
    let stale = cluster.object();
    cluster.exceed_deadline();
    cluster.run().await.0.unwrap();
    // The watch is late: the object still has the status from before the rollback.
    let object = std::sync::Arc::new(stale);
    order_operator::reconcile::reconcile(object, cluster.context.clone())
        .await
        .unwrap();
    assert_eq!(image(&cluster), "orders:1");
}
