//! Rejected requests, and lost leadership.

use std::time::Duration;

use kube::runtime::controller::Action;
use order_operator::cluster::Kind;
use order_operator::leader::Moment;
use order_operator::reconcile::error::ErrorClass;
use serde_json::json;

use super::idle_calls_and;
use crate::test_cluster::{TestCluster, is_read};

#[tokio::test]
async fn a_process_that_is_not_the_leader_writes_nothing() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fence.revoke();
    let (result, calls) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Fenced);
    assert!(calls.iter().all(|call| is_read(call)), "{calls:?}");

    // Leadership whose time is over counts as none.
    cluster.fence.allow(Moment::now(), Duration::ZERO);
    let (result, calls) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Fenced);
    assert!(calls.iter().all(|call| is_read(call)), "{calls:?}");

    cluster.fence.allow(Moment::now(), Duration::from_secs(60));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Migrated"), "False Migrating");
}

#[tokio::test]
async fn a_transient_error_is_retried_and_not_reported() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("apply services", 503, 1);
    let (result, _) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Transient);
    // The status lists only the copy of the URL.
    assert!(cluster.object().status.unwrap().conditions.is_empty());
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn a_permanent_error_is_reported_once() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("apply services", 403, 2);
    let (result, calls) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Permanent);
    assert_eq!(calls[calls.len() - 2..], ["status", "event ApplyFailed"]);
    assert_eq!(cluster.status_and_reason("Degraded"), "True ApplyFailed");
    let message = cluster.condition("Degraded").message;
    assert_eq!(message, "apply Service orders: failed by the test");
    let (result, calls) = cluster.run().await;
    assert!(result.is_err());
    assert!(
        !calls.contains(&"status".to_owned()),
        "reported once: {calls:?}"
    );
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn a_conflict_is_retried() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("apply services", 409, 1);
    let (result, _) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Conflict);
    cluster.settle().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_written_does_not_fail_the_reconcile() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("event", 403, 1);
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(calls.contains(&"event Migrating".to_owned()));
}

#[tokio::test]
async fn an_invalid_spec_is_reported_and_nothing_is_applied() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.edit_spec(|spec| spec["autoscaling"] = json!({"maxReplicas": 3}));
    cluster.expect(&["status", "event InvalidSpec"]).await;
    assert_eq!(cluster.status_and_reason("Ready"), "False InvalidSpec");
    cluster.expect(&[]).await;
}

#[tokio::test]
async fn an_orderservice_that_is_deleted_meanwhile_is_no_error() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("status", 404, 1);
    let (result, _) = cluster.run().await;
    result.unwrap();
}

#[tokio::test]
async fn a_namespace_that_is_being_deleted_ends_the_reconcile_quietly() {
    let terminating = json!({"kind": "", "name": "orders", "causes": [
        {"reason": "NamespaceTerminating", "message": "namespace shop is being terminated"}]});
    let gone = json!({"kind": "namespaces", "name": "shop"});
    for (code, details) in [(403, terminating), (404, gone)] {
        let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
        cluster.remove(Kind::PodDisruptionBudget, "orders");
        cluster.fail_with("apply poddisruptionbudgets", code, details);
        let calls = [
            "get poddisruptionbudgets orders",
            "apply poddisruptionbudgets orders",
        ];
        // No status, no event, and no retry.
        let (result, found) = cluster.run().await;
        assert_eq!(found, idle_calls_and(&calls));
        assert_eq!(result.unwrap(), Action::await_change(), "{code}");
    }
    // Another 403 is reported.
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.remove(Kind::PodDisruptionBudget, "orders");
    cluster.fail("apply poddisruptionbudgets", 403, 1);
    cluster.run().await.0.unwrap_err();
    assert_eq!(cluster.status_and_reason("Degraded"), "True ApplyFailed");
}

#[tokio::test]
async fn an_orderservice_that_is_deleted_before_its_status_is_written_is_no_error() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["replicas"] = json!(3));
    cluster.fail("status", 404, 1);
    let (result, calls) = cluster.run().await;
    result.unwrap();
    let after: Vec<_> = calls.iter().skip_while(|call| *call != "status").collect();
    assert_eq!(
        after,
        ["status"],
        "no event about a status that was not written"
    );
}
