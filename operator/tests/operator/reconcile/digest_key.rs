//! The digest of a secret reveals nothing about the secret.

use order_operator::cluster::Cluster;
use order_operator::reconcile::digest_key::DigestKey;
use order_operator::reconcile::error::ErrorClass;
use serde_json::json;

use super::IDLE_CALLS;
use crate::api_server::serve;
use crate::test_cluster::TestCluster;

/// The digest of the secret in the annotations of the pods.
fn digest(cluster: &TestCluster) -> String {
    let annotations = &cluster.deployment()["spec"]["template"]["metadata"]["annotations"];
    annotations["orders.example.com/database-secret"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn the_same_secret_has_another_digest_under_another_key() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let again = TestCluster::running(TestCluster::spec("orders:1")).await;
    assert_eq!(
        digest(&cluster),
        digest(&again),
        "the same under the same key"
    );

    let other = TestCluster::new(TestCluster::spec("orders:1"));
    other.operator_key(Some(&[8; 32]));
    other.settle().await;
    other.finish_job("Complete");
    other.settle().await;
    assert_ne!(digest(&cluster), digest(&other));
    // The name of the Job depends on the digest.
    let job = |cluster: &TestCluster| cluster.names(order_operator::cluster::Kind::Job).pop();
    assert_ne!(job(&cluster), job(&other));
}

#[tokio::test]
async fn the_key_is_created_once() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.operator_key(None);
    let (result, calls) = cluster.run().await;
    result.unwrap();
    let made = [
        "get secrets db",
        "get secrets order-operator-key",
        "patch secrets order-operator-key",
    ];
    assert_eq!(calls[..3], made);
    let key = || cluster.get("secrets", "order-operator-key").unwrap()["data"]["key"].clone();
    let kept = key();
    let bytes: k8s_openapi::ByteString = serde_json::from_value(kept.clone()).unwrap();
    assert_eq!(bytes.0.len(), 32);
    assert!(
        bytes.0.iter().any(|byte| *byte != bytes.0[0]),
        "the key is not random"
    );
    cluster.settle().await;
    assert_eq!(key(), kept);
}

#[tokio::test]
async fn of_two_operators_that_create_a_key_one_uses_the_key_of_the_other() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.operator_key(None);
    cluster.fail("patch secrets order-operator-key", 409, 1);
    let (result, _) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Conflict);
    cluster.operator_key(Some(&[9; 32]));
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert_eq!(
        calls[..2],
        ["get secrets db", "get secrets order-operator-key"]
    );
    assert_eq!(
        calls[2], "get deployments orders",
        "the key of the other operator is used"
    );
}

#[tokio::test]
async fn a_missing_secret_of_the_key_is_reported_and_waited_for() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("get secrets order-operator-key", 404, 1);
    let (result, _) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Permanent);
    assert_eq!(cluster.status_and_reason("Degraded"), "True ApplyFailed");
    let message = cluster.condition("Degraded").message;
    assert!(
        message.contains("order-operator-key does not exist in order-operator-system"),
        "{message}"
    );
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn a_changed_label_of_the_secret_rolls_no_pods() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.change_secret_label();
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn the_parts_of_a_digest_are_separated() {
    let service = serve(|_, _| {
        let key = k8s_openapi::ByteString(vec![7; 32]);
        (
            200,
            json!({"metadata": {"name": "order-operator-key"}, "data": {"key": key}}),
        )
    });
    let cluster = Cluster::new(kube::Client::new(service, "n"));
    let key = DigestKey::in_namespace("n");
    let one = key
        .digest(&cluster, [b"uid", b"ab", b"c", b"secret"])
        .await
        .unwrap();
    let other = key
        .digest(&cluster, [b"uid", b"a", b"bc", b"secret"])
        .await
        .unwrap();
    assert_ne!(one, other);
    assert_eq!(one.len(), 16);
}
