//! The API server says no, or nothing; or somebody else is the leader.

use std::time::Duration;

use order_operator::leader::Moment;
use order_operator::reconcile::error::ErrorClass;
use serde_json::json;

use crate::test_cluster::{TestCluster, is_read};

#[tokio::test]
async fn who_is_not_the_leader_writes_nothing() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fence.revoke();
    let (result, calls) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Fenced);
    assert!(calls.iter().all(|call| is_read(call)), "{calls:?}");

    // Leadership that has run out by the clock is as good as none.
    cluster.fence.allow(Moment::now(), Duration::ZERO);
    let (result, calls) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Fenced);
    assert!(calls.iter().all(|call| is_read(call)), "{calls:?}");

    cluster.fence.allow(Moment::now(), Duration::from_secs(60));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Migrated"), "False Migrating");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_not_told() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("apply services", 503, 1);
    let (result, calls) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Transient);
    assert!(!calls.contains(&"status".to_owned()), "{calls:?}");
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn what_stays_is_told() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("apply services", 403, 2);
    let (result, calls) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Permanent);
    assert_eq!(calls[calls.len() - 2..], ["status", "event ApplyFailed"]);
    assert_eq!(cluster.status_and_reason("Degraded"), "True ApplyFailed");
    let message = cluster.condition("Degraded").message;
    assert_eq!(message, "apply Service orders: as the test wants it");
    let (result, calls) = cluster.run().await;
    assert!(result.is_err());
    assert!(
        !calls.contains(&"status".to_owned()),
        "told once: {calls:?}"
    );
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn somebody_else_was_faster() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("apply services", 409, 1);
    let (result, _) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Conflict);
    cluster.settle().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_written_stops_nothing() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("event", 403, 1);
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(calls.contains(&"event Migrating".to_owned()));
}

#[tokio::test]
async fn a_spec_that_an_older_crd_let_through_is_told_and_touches_nothing() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.edit_spec(|spec| spec["autoscaling"] = json!({"maxReplicas": 3}));
    cluster.expect(&["status", "event InvalidSpec"]).await;
    assert_eq!(cluster.status_and_reason("Ready"), "False InvalidSpec");
    cluster.expect(&[]).await;
}

#[tokio::test]
async fn an_orderservice_that_goes_meanwhile_is_no_error() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("status", 404, 1);
    let (result, _) = cluster.run().await;
    result.unwrap();
}
