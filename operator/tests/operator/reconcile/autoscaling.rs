//! Who decides how many pods there are changes hands without a dip.

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::{IDLE_CALLS, idle_calls_and};
use crate::test_cluster::TestCluster;

fn autoscale(spec: &mut Value) {
    spec.as_object_mut().unwrap().remove("replicas");
    spec["autoscaling"] = json!({"minReplicas": 3, "maxReplicas": 9});
}

fn owns_replicas(cluster: &TestCluster) -> bool {
    let fields = &cluster.deployment()["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    fields.get("f:replicas").is_some()
}

fn scale(cluster: &TestCluster, replicas: i64) {
    cluster.change(Kind::Deployment, "orders", |deployment| {
        deployment["spec"]["replicas"] = json!(replicas);
    });
    cluster.roll_out();
}

#[tokio::test]
async fn the_autoscaler_takes_over_and_gives_back() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["replicas"] = json!(5));
    cluster.settle().await;
    cluster.roll_out();
    cluster.settle().await;
    assert!(owns_replicas(&cluster));

    cluster.edit_spec(autoscale);
    cluster
        .expect(&idle_calls_and(&[
            // Given up first: left out of an apply, it would fall back to one.
            "release deployments orders",
            "apply deployments orders",
            "get horizontalpodautoscalers orders",
            "apply horizontalpodautoscalers orders",
            "status",
        ]))
        .await;
    assert_eq!(cluster.deployment()["spec"]["replicas"], 5);
    assert!(!owns_replicas(&cluster));

    scale(&cluster, 8);
    cluster.settle().await;
    assert_eq!(
        cluster.deployment()["spec"]["replicas"],
        8,
        "the autoscaler is not fought"
    );
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    cluster.expect(&IDLE_CALLS).await;

    cluster.edit_spec(|spec| {
        spec.as_object_mut().unwrap().remove("autoscaling");
        spec["replicas"] = json!(8);
    });
    cluster
        .expect(&idle_calls_and(&[
            "delete horizontalpodautoscalers orders",
            "apply deployments orders",
            "status",
        ]))
        .await;
    assert_eq!(cluster.deployment()["spec"]["replicas"], 8);
    assert!(owns_replicas(&cluster));
}

#[tokio::test]
async fn with_an_autoscaler_from_the_start_there_are_the_fewest_pods_at_once() {
    let mut spec = TestCluster::spec("orders:1");
    autoscale(&mut spec);
    let cluster = TestCluster::new(spec);
    cluster.settle().await;
    cluster.finish_job("Complete");
    let (result, calls) = cluster.run().await;
    result.unwrap();
    let made = [
        "apply deployments orders",
        "release deployments orders",
        "get horizontalpodautoscalers orders",
        "apply horizontalpodautoscalers orders",
    ];
    assert_eq!(calls[3..7], made);
    assert_eq!(cluster.deployment()["spec"]["replicas"], 3);
    assert!(
        !owns_replicas(&cluster),
        "never owned while an autoscaler rules"
    );
    cluster.settle().await;
    assert_eq!(cluster.deployment()["spec"]["replicas"], 3);
}

#[tokio::test]
async fn an_autoscaler_that_would_leave_zero_alone_is_given_a_start() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["replicas"] = json!(0));
    cluster.settle().await;
    cluster.roll_out();
    cluster.settle().await;
    assert_eq!(cluster.deployment()["spec"]["replicas"], 0);
    cluster.edit_spec(autoscale);
    cluster.settle().await;
    assert_eq!(cluster.deployment()["spec"]["replicas"], 3);
    assert!(!owns_replicas(&cluster));
}

#[tokio::test]
async fn replicas_changed_by_hand_are_set_back_without_an_autoscaler() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    scale(&cluster, 7);
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        calls.contains(&"event DriftCorrected".to_owned()),
        "{calls:?}"
    );
    assert_eq!(cluster.deployment()["spec"]["replicas"], 2);
}
