//! A rollout that fails is taken back, and not tried again until the spec changes.

use serde_json::json;

use super::idle_calls_and;
use crate::test_cluster::TestCluster;

fn image(cluster: &TestCluster) -> String {
    let deployment = cluster.deployment();
    let image = deployment
        .pointer("/spec/template/spec/containers/0/image")
        .unwrap();
    image.as_str().unwrap().to_owned()
}

/// The second image is migrated and rolling out.
async fn rolling() -> TestCluster {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:2");
    cluster
}

#[tokio::test]
async fn a_missed_deadline_brings_the_last_good_template_back() {
    let cluster = rolling().await;
    let good = cluster.object().status.unwrap();
    assert!(good.failed_revision.is_none());
    cluster.exceed_deadline();
    cluster
        .expect(&idle_calls_and(&[
            "list pods",
            // Written before it is acted upon.
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
        "timed out progressing; orders:1 is back; not tried again until the spec changes"
    );
    assert_eq!(cluster.status_and_reason("Ready"), "False RolledBack");

    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "False RolledBack");
    assert_eq!(cluster.status_and_reason("Progressing"), "False Complete");

    // Scaling is no reason to try it again.
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
async fn a_crash_loop_does_not_wait_for_the_deadline() {
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
            .starts_with("pod p restarted 4 times, exit code 101; ")
    );
}

#[tokio::test]
async fn a_decision_is_not_forgotten_when_it_cannot_be_acted_upon_at_once() {
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
    assert_eq!(image(&cluster), "orders:1", "not tried again");
}

#[tokio::test]
async fn a_first_rollout_that_fails_has_nothing_to_go_back_to() {
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
            .contains("there is nothing to go back to")
    );
}

#[tokio::test]
async fn a_status_that_is_older_than_the_decision_does_not_undo_it() {
    let cluster = rolling().await;
    let stale = cluster.object();
    cluster.exceed_deadline();
    cluster.run().await.0.unwrap();
    // The watch is late: the object still looks as it did before the decision.
    let object = std::sync::Arc::new(stale);
    order_operator::reconcile::reconcile(object, cluster.context.clone())
        .await
        .unwrap();
    assert_eq!(image(&cluster), "orders:1");
}
