//! The number of replicas passes between spec and autoscaler without a dip.

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
async fn the_number_of_replicas_passes_to_the_autoscaler_and_back() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["replicas"] = json!(5));
    cluster.settle().await;
    cluster.roll_out();
    cluster.settle().await;
    assert!(owns_replicas(&cluster));

    cluster.edit_spec(autoscale);
    cluster
        .expect(&idle_calls_and(&[
            // Released first: omitted from an apply, it would be reset to one.
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
        "the number of the autoscaler stays"
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
async fn a_new_deployment_with_an_autoscaler_starts_with_min_replicas() {
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
    assert!(calls.windows(4).any(|calls| calls == made), "{calls:?}");
    assert_eq!(cluster.deployment()["spec"]["replicas"], 3);
    assert!(
        !owns_replicas(&cluster),
        "not owned while an autoscaler decides"
    );
    cluster.settle().await;
    assert_eq!(cluster.deployment()["spec"]["replicas"], 3);
}

#[tokio::test]
async fn an_autoscaler_that_takes_over_zero_replicas_starts_with_min_replicas() {
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
async fn a_manual_change_of_replicas_is_reverted_without_an_autoscaler() {
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
