//! More pods are not a fault, and missing pods are one only when they are missing for long.

use order_operator::cluster::Kind;
use serde_json::json;

use super::gitops::age_conditions;
use crate::test_cluster::TestCluster;

#[tokio::test]
async fn adding_pods_does_not_degrade() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["replicas"] = json!(4));
    for available in [2, 3, 4] {
        let (result, calls) = cluster.run().await;
        result.unwrap();
        let warning = calls
            .iter()
            .find(|call| *call == "event ReplicasUnavailable");
        assert_eq!(warning, None);
        assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
        assert_eq!(cluster.status_and_reason("Ready"), "False Scaling");
        assert_eq!(cluster.status_and_reason("Progressing"), "True Scaling");
        cluster.roll_out();
        cluster.change(Kind::Deployment, "orders", |deployment| {
            deployment["status"]["availableReplicas"] = json!(available);
        });
    }
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
}

#[tokio::test]
async fn missing_pods_degrade_after_a_minute_and_the_end_is_reported() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    let lose_a_pod = || {
        cluster.change(Kind::Deployment, "orders", |deployment| {
            deployment["status"]["availableReplicas"] = json!(1);
        });
    };
    lose_a_pod();
    cluster.settle().await;
    assert_eq!(
        cluster.status_and_reason("Ready"),
        "False ReplicasUnavailable"
    );
    assert_eq!(
        cluster.status_and_reason("Available"),
        "False MinimumReplicasUnavailable"
    );
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    age_conditions(&cluster);
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert_eq!(
        calls[calls.len() - 2..],
        ["status", "event ReplicasUnavailable"]
    );
    assert_eq!(
        cluster.status_and_reason("Degraded"),
        "True ReplicasUnavailable"
    );

    cluster.roll_out();
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert_eq!(calls[calls.len() - 2..], ["event Recovered", "event again"]);
    let notes = cluster.event_notes("Recovered");
    assert_eq!(
        notes,
        ["ReplicasUnavailable ended: 1 of 2 replicas are available, 2 of the current template"]
    );
}

#[tokio::test]
async fn a_paused_object_with_a_changed_spec_names_the_image_that_is_not_rolled_out() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| {
        spec["paused"] = json!(true);
        spec["image"] = json!("orders:2");
    });
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "False Paused");
    assert_eq!(
        cluster.condition("Ready").message,
        "orders:2 is not rolled out while spec.paused is true"
    );
    assert_eq!(
        cluster.status_and_reason("Available"),
        "True MinimumReplicasAvailable"
    );
    cluster.edit_spec(|spec| spec["paused"] = json!(false));
    cluster.settle().await;
    assert_eq!(cluster.event_notes("Resumed"), ["changes are applied"]);
}

#[tokio::test]
async fn an_image_that_cannot_migrate_leaves_the_object_available() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.settle().await;
    let log = format!(
        "{{\"msg\":\"{}\"}}\norder-service: column x exists\n",
        "long ".repeat(60)
    );
    cluster.put("pods", "p", json!({
        "metadata": {"name": "p", "uid": "p", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Failed", "containerStatuses": [{"name": "migrate", "image": "", "imageID": "",
            "ready": false, "restartCount": 0, "state": {"terminated": {"exitCode": 1, "message": log}}}]},
    }));
    cluster.finish_job("Failed");
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Ready"), "False MigrationFailed");
    assert_eq!(
        cluster.status_and_reason("Available"),
        "True MinimumReplicasAvailable"
    );
    // The cause is in the condition about it, and in the one that tools show.
    let conditions = cluster.object().status.unwrap().conditions;
    let with_cause = conditions
        .iter()
        .filter(|it| it.message.contains("column x exists"));
    let types: Vec<_> = with_cause.map(|it| it.type_.as_str()).collect();
    assert_eq!(types, ["Migrated", "Stalled"]);
    assert!(
        conditions
            .iter()
            .all(|it| it.message.chars().count() <= 160 && !it.message.contains('{'))
    );
    let notes = cluster.event_notes("MigrationFailed");
    assert!(notes[0].contains("long long"), "{notes:?}");
}
