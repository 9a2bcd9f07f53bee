//! Pods of a rollout that do not run: their reason is reported, and kept after the rollback.

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::rollback::{image, rolling};
use crate::test_cluster::TestCluster;

/// A pod of the new template, created so many seconds ago.
fn pod(name: &str, age: i64, status: &Value) -> Value {
    let created = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(age);
    let mut status = status.clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = json!(created);
    }
    json!({"metadata": {"name": name, "uid": name, "creationTimestamp": created}, "status": status})
}

/// Creates a pod that is so many seconds old.
pub type MakePod = fn(i64) -> Value;

pub fn unschedulable(age: i64) -> Value {
    pod(
        "p",
        age,
        &json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient memory.",
        }]}),
    )
}

pub fn image_pull(age: i64) -> Value {
    pod(
        "p",
        age,
        &json!({
            "phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{
                "name": "order-service", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"orders:2\""}},
            }],
        }),
    )
}

pub fn crashed(name: &str, restarts: i32) -> Value {
    pod(
        name,
        90,
        &json!({"phase": "Running", "containerStatuses": [{
            "name": "order-service", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 101}},
        }]}),
    )
}

/// The new pod exists, and does not become available.
pub fn surge(cluster: &TestCluster, updated: i32) {
    cluster.change(Kind::Deployment, "orders", |deployment| {
        deployment["status"] = json!({
            "observedGeneration": deployment["metadata"]["generation"], "replicas": 2 + updated,
            "updatedReplicas": updated, "availableReplicas": 2, "readyReplicas": 2,
        });
    });
}

#[tokio::test]
async fn the_reason_of_a_pod_is_in_the_message_and_degrades_after_a_minute() {
    let cases: [(&str, MakePod); 2] = [
        ("Unschedulable", unschedulable),
        ("ImagePullBackOff", image_pull),
    ];
    for (reason, pod) in cases {
        let cluster = rolling().await;
        surge(&cluster, 1);
        cluster.put("pods", "p", pod(30));
        cluster.settle().await;
        let ready = cluster.condition("Ready");
        assert_eq!(ready.reason, "RollingOut");
        let expected =
            format!("2 of 2 replicas are available, 1 of the current template; {reason}: ");
        assert!(ready.message.starts_with(&expected), "{}", ready.message);
        assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
        assert_eq!(
            cluster.status_and_reason("Available"),
            "True MinimumReplicasAvailable"
        );

        cluster.put("pods", "p", pod(61));
        let (result, calls) = cluster.run().await;
        result.unwrap();
        assert_eq!(calls[calls.len() - 2..], ["status", "event PodsFailing"]);
        assert_eq!(
            cluster.status_and_reason("Degraded"),
            format!("True {reason}")
        );
        let note = cluster.last_event()["note"].as_str().unwrap().to_owned();
        assert!(note.starts_with(&format!("pod p: {reason}: ")), "{note}");
        super::assert_idle(&cluster).await;

        cluster.roll_out();
        cluster.remove_pod("p");
        cluster.settle().await;
        assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
        assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    }
}

#[tokio::test]
async fn a_quota_that_blocks_new_pods_degrades_after_a_minute() {
    let cluster = rolling().await;
    surge(&cluster, 0);
    let blocked_for = |seconds: i64| {
        let since = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
        cluster.change(Kind::Deployment, "orders", |deployment| {
            deployment["status"]["conditions"] = json!([{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
                "lastTransitionTime": since,
                "message": "pods \"orders-1\" is forbidden: exceeded quota: q, requested: pods=1",
            }]);
        });
    };
    blocked_for(30);
    cluster.settle().await;
    let message = cluster.condition("Ready").message;
    assert!(
        message.ends_with("; QuotaExceeded: exceeded quota: q, requested: pods=1"),
        "{message}"
    );
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    blocked_for(61);
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Degraded"), "True QuotaExceeded");
}

#[tokio::test]
async fn the_reason_of_the_pod_is_kept_after_the_rollback() {
    let cluster = rolling().await;
    cluster.put("pods", "p", image_pull(600));
    cluster.exceed_deadline();
    cluster.settle().await;
    cluster.remove_pod("p");
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(image(&cluster), "orders:1");
    let failed = cluster.object().status.unwrap().failed_revision.unwrap();
    assert_eq!(failed.reason, "ProgressDeadlineExceeded");
    assert_eq!(failed.cause.as_deref(), Some("ImagePullBackOff"));
    assert_eq!(
        failed.message,
        "pod p: ImagePullBackOff: Back-off pulling image \"orders:2\""
    );
    let degraded = cluster.condition("Degraded");
    assert_eq!(degraded.reason, "ProgressDeadlineExceeded");
    assert!(
        degraded
            .message
            .starts_with("rolled back to orders:1, retried at "),
        "{}",
        degraded.message
    );
    assert!(
        degraded.message.contains("ImagePullBackOff"),
        "{}",
        degraded.message
    );
}

#[tokio::test]
async fn a_crash_is_found_among_all_pods_of_the_revision() {
    let cluster = rolling().await;
    surge(&cluster, 120);
    for number in 0..120 {
        let name = format!("p{number:03}");
        cluster.put("pods", &name, pod(&name, 5, &json!({"phase": "Pending"})));
    }
    cluster.put("pods", "p119", crashed("p119", 3));
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        calls.iter().filter(|call| *call == "list pods").count() >= 3,
        "{calls:?}"
    );
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Degraded"),
        "True CrashLoopBackOff"
    );
    assert_eq!(image(&cluster), "orders:1");
}

#[tokio::test]
async fn a_pod_that_starts_normally_is_not_reported() {
    let cluster = rolling().await;
    surge(&cluster, 1);
    let starting = json!({"phase": "Running", "conditions": [
        {"type": "Ready", "status": "False", "message": "containers with unready status"},
    ]});
    cluster.put("pods", "p", pod("p", 4, &starting));
    cluster.settle().await;
    assert_eq!(
        cluster.condition("Ready").message,
        "2 of 2 replicas are available, 1 of the current template"
    );
}

#[tokio::test]
async fn messages_are_short_and_the_event_has_the_complete_text() {
    let cluster = rolling().await;
    surge(&cluster, 1);
    let mut pod = unschedulable(90);
    let long = format!(
        "0/90 nodes are available: {}.",
        "1 node(s) had a taint, ".repeat(30)
    );
    pod["status"]["conditions"][0]["message"] = json!(long);
    cluster.put("pods", "p", pod);
    cluster.settle().await;
    for condition in cluster.object().status.unwrap().conditions {
        let length = condition.message.chars().count();
        assert!(length <= 160, "{}: {length}", condition.type_);
    }
    let note = cluster.last_event()["note"].as_str().unwrap().to_owned();
    assert!(note.contains(long.trim_end()), "{note}");
}
