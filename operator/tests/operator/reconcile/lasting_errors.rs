//! Errors that should pass, and those that do not.

use std::time::Duration;

use order_operator::reconcile::error::ErrorClass;
use tokio::time::{Instant, advance};

use crate::test_cluster::TestCluster;

const LONG: usize = 1000;

#[tokio::test(start_paused = true)]
async fn what_should_pass_and_lasts_is_told_and_taken_back() {
    for code in [503, 409] {
        let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
        let before = cluster.object().status.unwrap();
        cluster.fail("get deployments", code, LONG);
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
            "what is known stays"
        );
        let message = cluster.condition("Degraded").message;
        assert!(
            message.ends_with("get Deployment orders: as the test wants it"),
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
            "told once: {calls:?}"
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
async fn an_api_server_that_says_nothing_is_not_waited_for_for_ever() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.fail("get secrets", 0, LONG);
    let began = Instant::now();
    let (result, calls) = cluster.run().await;
    assert_eq!(result.unwrap_err().class(), ErrorClass::Transient);
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(calls.len(), 1, "{calls:?}");

    // And when it goes on like that but for the status, that is told.
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
async fn to_have_waited_for_long_is_no_long_failure() {
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
async fn a_race_for_the_number_of_replicas_is_run_again_and_not_told() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| {
        spec.as_object_mut().unwrap().remove("replicas");
        spec["autoscaling"] = serde_json::json!({"maxReplicas": 9});
    });
    // So the API server answers a patch whose `test` does not hold any more.
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
