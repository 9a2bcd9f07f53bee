//! What a mutating admission policy changes is accepted once, and is not drift.

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::{IDLE_CALLS, assert_idle, idle_calls_and};
use crate::test_cluster::{TestCluster, is_read};

const LIMIT: &str = "/spec/template/spec/containers/0/resources/limits/memory";

/// A policy that raises the memory limit, and adds a label, a toleration and a sidecar, as GKE Autopilot and meshes
/// do. It also changes objects without pods.
fn policy(plural: &str, object: &mut Value) {
    object["metadata"]["labels"]["policy.example.com/checked"] = json!("yes");
    object["metadata"]["labels"]["app.kubernetes.io/part-of"] = json!("platform");
    match plural {
        "deployments" => {
            let pod = &mut object["spec"]["template"]["spec"];
            pod["containers"][0]["resources"]["limits"]["memory"] = json!("512Mi");
            pod["tolerations"] = json!([{"key": "spot", "operator": "Exists"}]);
            let containers = pod["containers"].as_array_mut().unwrap();
            if containers.len() == 1 {
                containers.push(json!({"name": "sidecar", "image": "proxy:1"}));
            }
        }
        "cronjobs" => object["spec"]["suspend"] = json!(true),
        "services" => object["spec"]["ports"][0]["targetPort"] = json!(9999),
        "poddisruptionbudgets" => object["spec"]["maxUnavailable"] = json!("10%"),
        _ => {}
    }
}

async fn under_policy() -> TestCluster {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.admit(policy);
    cluster.rolled_out().await
}

fn limit(cluster: &TestCluster) -> Value {
    cluster.deployment().pointer(LIMIT).unwrap().clone()
}

fn is_write(call: &str) -> bool {
    !is_read(call)
}

#[tokio::test]
async fn what_admission_changes_is_accepted_and_shown_once() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.admit(policy);
    let (result, calls) = cluster.run().await;
    result.unwrap();
    for plural in ["services", "networkpolicies", "poddisruptionbudgets"] {
        let name = format!("{plural} orders");
        let writes: Vec<_> = calls.iter().filter(|call| call.ends_with(&name)).collect();
        assert_eq!(
            writes[1..],
            [&format!("apply {name}"), &format!("patch {name}")],
            "{calls:?}"
        );
    }
    // The account, the policy, the settings, the Service and the two budgets.
    let shown = |calls: &[String]| {
        calls
            .iter()
            .filter(|call| *call == "event Admitted")
            .count()
    };
    assert_eq!(shown(&calls), 6, "{calls:?}");

    let cluster = cluster.rolled_out().await;
    assert_eq!(limit(&cluster), "512Mi");
    assert_eq!(cluster.status_and_reason("Ready"), "True Available");
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    for _ in 0..10 {
        cluster.expect(&IDLE_CALLS).await;
    }
    // Another write of another client, and the policy runs again.
    for kind in [Kind::Deployment, Kind::Service, Kind::PodDisruptionBudget] {
        cluster.change(kind, "orders", |object| {
            object["metadata"]["annotations"]["team"] = json!("a");
        });
    }
    assert_idle(&cluster).await;
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
}

#[tokio::test]
async fn the_event_names_the_fields() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.admit(policy);
    cluster.edit_spec(|spec| spec["disruption"] = json!({"maxUnavailable": 2}));
    let admitted = [
        "get poddisruptionbudgets orders",
        "apply poddisruptionbudgets orders",
        "patch poddisruptionbudgets orders",
        "status",
        "event Admitted",
    ];
    cluster.expect(&idle_calls_and(&admitted)).await;
    let event = cluster.last_event();
    assert_eq!(event["type"], "Normal");
    assert_eq!(
        event["note"],
        "PodDisruptionBudget orders: an admission policy changes \
         metadata.labels.app.kubernetes.io/part-of, spec.maxUnavailable, which is accepted"
    );
}

#[tokio::test]
async fn a_new_operator_accepts_it_without_a_write() {
    let cluster = under_policy().await.with_new_operator();
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(calls.len() > 5, "everything is compared: {calls:?}");
    assert!(!calls.iter().any(|call| is_write(call)), "{calls:?}");
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn a_later_change_of_the_same_field_is_drift() {
    for restarts in [false, true] {
        let mut cluster = under_policy().await;
        if restarts {
            cluster = cluster.with_new_operator();
            cluster.settle().await;
        }
        cluster.change(Kind::Deployment, "orders", |deployment| {
            *deployment.pointer_mut(LIMIT).unwrap() = json!("64Mi");
        });
        let (result, calls) = cluster.run().await;
        result.unwrap();
        let writes: Vec<_> = calls.iter().filter(|call| is_write(call)).collect();
        assert!(
            writes.contains(&&"event DriftCorrected".to_owned()),
            "{calls:?}"
        );
        assert!(!writes.contains(&&"event Admitted".to_owned()), "{calls:?}");
        assert_eq!(
            limit(&cluster),
            "512Mi",
            "the policy changes the revert as well"
        );
        cluster.roll_out();
        cluster.settle().await;
        cluster.expect(&IDLE_CALLS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_changes_of_a_field_that_admission_changes_are_contention() {
    let cluster = under_policy().await;
    for _ in 0..4 {
        cluster.change(Kind::Service, "orders", |service| {
            service["spec"]["ports"][0]["targetPort"] = json!(1);
        });
        cluster.run().await.0.unwrap();
    }
    assert_eq!(cluster.status_and_reason("Degraded"), "True Contested");
}

#[tokio::test]
async fn only_the_other_field_is_reported_as_drift() {
    let cluster = under_policy().await;
    cluster.change(Kind::Service, "orders", |service| {
        service["spec"]["selector"] = json!({"app": "other"});
    });
    let corrected = [
        "get services orders",
        "apply services orders",
        "event DriftCorrected",
    ];
    cluster.expect(&idle_calls_and(&corrected)).await;
    let event = cluster.last_event();
    let note = "Service orders: reverted spec.selector (changed by somebody)";
    assert_eq!(event["note"], note);
}

#[tokio::test]
async fn a_policy_that_is_removed_leaves_nothing_accepted() {
    let cluster = under_policy().await;
    cluster.admit(|_, _| {});
    cluster.edit_spec(|spec| spec["disruption"] = json!({"maxUnavailable": 2}));
    cluster.settle().await;
    let budget = cluster.get("poddisruptionbudgets", "orders").unwrap();
    assert_eq!(budget["spec"]["maxUnavailable"], 2);
    let annotations = budget["metadata"]["annotations"].as_object().unwrap();
    assert!(!annotations.contains_key("orders.example.com/admitted"));
    // The value that admission set before is drift now.
    cluster.change(Kind::PodDisruptionBudget, "orders", |budget| {
        budget["spec"]["maxUnavailable"] = json!("10%");
    });
    let (result, calls) = cluster.run().await;
    result.unwrap();
    assert!(
        calls.contains(&"event DriftCorrected".to_owned()),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_policy_that_appears_later_is_accepted_after_one_revert() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.admit(policy);
    // The write of any client runs the policy.
    cluster.change(Kind::Service, "orders", |service| {
        let managed = service["metadata"]["managedFields"].clone();
        policy("services", service);
        service["metadata"]["annotations"]["team"] = json!("a");
        service["metadata"]["managedFields"] = json!([managed[0],
            {"manager": "kubectl-annotate", "operation": "Update",
             "fieldsV1": {"f:metadata": {"f:annotations": {"f:team": {}}}}}]);
    });
    let accepted = [
        "get services orders",
        "apply services orders",
        "patch services orders",
        "event Admitted",
    ];
    cluster.expect(&idle_calls_and(&accepted)).await;
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_keeps_no_annotations_causes_no_repeated_writes() {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.admit(|plural, object| {
        policy(plural, object);
        if plural == "services" {
            object["metadata"]["annotations"] = json!({});
        }
    });
    let cluster = cluster.rolled_out().await;
    for round in 0..5 {
        cluster.change(Kind::Service, "orders", |service| {
            service["metadata"]["annotations"]["round"] = json!(round.to_string());
        });
        cluster
            .expect(&idle_calls_and(&["get services orders"]))
            .await;
    }
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    // Only the memory of the process contains it, so a new operator writes it once.
    let cluster = cluster.with_new_operator();
    cluster.settle().await;
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn an_annotation_that_cannot_be_written_does_not_fail_the_reconcile() {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.admit(policy);
    cluster.fail("patch poddisruptionbudgets", 403, 1);
    cluster.edit_spec(|spec| spec["disruption"] = json!({"maxUnavailable": 2}));
    cluster.settle().await;
    assert_eq!(cluster.status_and_reason("Degraded"), "False AsExpected");
    cluster.expect(&IDLE_CALLS).await;
}

#[tokio::test]
async fn what_changes_in_every_budget_of_a_migration_is_shown_once() {
    let cluster = under_policy().await;
    let mut shown = Vec::new();
    for change in ["orders:2", "orders:3"] {
        cluster.edit_spec(|spec| {
            spec["image"] = json!(change);
            // Another ConfigMap.
            spec["settings"] = json!({"poolMaxSize": change.len() + shown.len() + 10});
        });
        for _ in 0..3 {
            let (result, calls) = cluster.run().await;
            result.unwrap();
            shown.extend(calls.into_iter().filter(|call| call.starts_with("event ")));
        }
        assert!(
            cluster
                .get("poddisruptionbudgets", "orders-migrate")
                .is_some()
        );
        cluster.finish_job("Complete");
        cluster.settle().await;
        cluster.roll_out();
        cluster.settle().await;
        assert!(
            cluster
                .get("poddisruptionbudgets", "orders-migrate")
                .is_none()
        );
    }
    // A repetition of an event has no reason in its request.
    let again = |call: &&String| matches!(call.as_str(), "event Admitted" | "event again");
    assert_eq!(shown.iter().find(again), None, "{shown:?}");

    // Another value is shown.
    cluster.admit(|plural, object| {
        policy(plural, object);
        if plural == "poddisruptionbudgets" {
            object["metadata"]["labels"]["app.kubernetes.io/part-of"] = json!("another platform");
        }
    });
    cluster.edit_spec(|spec| spec["image"] = json!("orders:4"));
    let (result, calls) = cluster.run().await;
    result.unwrap();
    // The same fields, so it is a repetition within six minutes.
    assert_eq!(calls.iter().filter(again).count(), 1, "{calls:?}");
}
