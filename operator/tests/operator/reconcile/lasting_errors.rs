//! Errors that usually pass by themselves, but last.

use std::time::Duration;

use order_operator::reconcile::error::ErrorClass;
use tokio::time::{Instant, advance};

use crate::test_cluster::TestCluster;

const ALWAYS: usize = 1000;

#[tokio::test(start_paused = true)]
async fn a_lasting_error_is_reported_and_its_end_too() {
    for code in [503, 409] {
        let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
        let before = cluster.object().status.unwrap();
        cluster.fail("get deployments", code, ALWAYS);
        for _ in 0..3 {
            let (result, calls) = cluster.run().await;
            assert!(matches!(
                result.unwrap_err().class(),
                ErrorClass::Transient | ErrorClass::Conflict
            ));
            assert!(
                !calls.contains(&"status".to_owned()),
                "not at once: {calls:?}"
            );
            advance(Duration::from_secs(39)).await;
        }
        advance(Duration::from_secs(5)).await;
        let (_, calls) = cluster.run().await;
        assert_eq!(
            calls[calls.len() - 2..],
            ["status", "event ReconcileFailing"],
            "{code}"
        );
        assert_eq!(
            cluster.status_and_reason("Ready"),
            "Unknown ReconcileFailing"
        );
        assert_eq!(
            cluster.status_and_reason("Progressing"),
            "True ReconcileFailing"
        );
        assert_eq!(
            cluster.status_and_reason("Degraded"),
            "True ReconcileFailing"
        );
        assert_eq!(
            cluster.status_and_reason("Migrated"),
            "True Migrated",
            "the migration is known"
        );
        let message = cluster.condition("Degraded").message;
        assert!(
            message.ends_with("get Deployment orders: failed by the test"),
            "{message}"
        );
        let after = cluster.object().status.unwrap();
        assert_eq!(
            (after.replicas, after.ready_replicas, after.image),
            (before.replicas, before.ready_replicas, before.image),
            "an autoscaler reads these"
        );
        let (_, calls) = cluster.run().await;
        assert!(
            !calls.contains(&"status".to_owned()),
            "reported once: {calls:?}"
        );

        cluster.stop_failing();
        let (result, calls) = cluster.run().await;
        result.unwrap();
        assert!(calls.contains(&"event Recovered".to_owned()), "{calls:?}");
        assert_eq!(cluster.status_and_reason("Ready"), "True Available");
        assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reconcile_without_a_response_ends_after_its_timeout() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("get secrets", 0, ALWAYS);
    let began = Instant::now();
    let (result, calls) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Transient);
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(calls.len(), 1, "{calls:?}");

    // When it lasts and the status can be written, it is reported.
    cluster.run().await.0.unwrap_err();
    let (_, calls) = cluster.run().await;
    assert_eq!(
        calls[calls.len() - 2..],
        ["status", "event ReconcileFailing"]
    );
    let message = cluster.condition("Degraded").message;
    assert!(
        message.ends_with("the API server did not respond in time"),
        "{message}"
    );
    cluster.stop_failing();
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_secret_is_not_a_failure() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    let secret = cluster.get("secrets", "db").unwrap();
    cluster.fail("get secrets db", 404, 1);
    cluster.run().await.0.unwrap();
    assert_eq!(cluster.status_and_reason("Degraded"), "True SecretNotFound");
    advance(Duration::from_secs(3600)).await;
    cluster.put("secrets", "db", secret);
    cluster.fail("apply jobs", 503, 1);
    cluster.run().await.0.unwrap_err();
    advance(Duration::from_secs(1)).await;
    cluster.fail("apply jobs", 503, 1);
    let (_, calls) = cluster.run().await;
    assert!(
        !calls.contains(&"event ReconcileFailing".to_owned()),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_concurrent_change_of_replicas_is_retried_and_not_reported() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| {
        spec.as_object_mut().unwrap().remove("replicas");
        spec["autoscaling"] = serde_json::json!({"maxReplicas": 9});
    });
    // The response of the API server to a patch whose `test` fails.
    cluster.fail("release deployments", 422, 1);
    let (result, calls) = cluster.run().await;
    let error = result.unwrap_err();
    assert_eq!(error.class(), ErrorClass::Conflict, "{error}");
    assert_eq!(
        calls.last().unwrap(),
        "release deployments orders",
        "nothing is written after it"
    );
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    assert_eq!(cluster.deployment()["spec"]["replicas"], 2, "no dip");
}
