//! What tools for GitOps conclude from each status. `operator/tests/statuses.json` records the statuses;
//! `tests/manifests/test_argocd.py` evaluates them with the health check of Argo CD. After an intended change,
//! `STATUSES=write cargo test -p order-operator gitops` rewrites the file.

use std::time::Duration;

use order_operator::cluster::Kind;
use serde_json::{Value, json};

use super::pod_failures::{crashed, image_pull, surge, unschedulable};
use super::retry::{let_the_time_pass, rolled_back};
use super::rollback::rolling;
use crate::directory;
use crate::test_cluster::TestCluster;

/// The rules of `Compute` in pkg/kstatus/status of kubernetes-sigs/cli-utils, without those for built-in kinds.
fn kstatus(object: &Value) -> &'static str {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating";
    }
    let observed = object["status"].get("observedGeneration");
    if observed.is_some_and(|observed| *observed != object["metadata"]["generation"]) {
        return "InProgress";
    }
    let conditions = || {
        object["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
    };
    for condition in conditions().filter(|condition| condition["status"] == "True") {
        match condition["type"].as_str() {
            Some("Reconciling") => return "InProgress",
            Some("Stalled") => return "Failed",
            _ => {}
        }
    }
    match conditions().find(|condition| condition["type"] == "Ready") {
        Some(ready) if ready["status"] != "True" => "InProgress",
        // Without a condition `Ready`, an object counts as up to date.
        _ => "Current",
    }
}

#[test]
fn an_object_without_a_status_is_in_progress_because_of_the_default() {
    let crd = order_operator::crd::definition().unwrap();
    let default = "/spec/versions/0/schema/openAPIV3Schema/properties/status/default";
    let status = crd.pointer(default).cloned().unwrap_or_default();
    let object = json!({"metadata": {"generation": 1}, "status": status});
    assert_eq!(kstatus(&object), "InProgress");
    let without_default = json!({"metadata": {"generation": 1}});
    assert_eq!(kstatus(&without_default), "Current");
}

/// The recorded part of an object: what does not depend on time and on the texts of messages.
fn recorded(object: &Value) -> Value {
    let mut conditions = object["status"]["conditions"].clone();
    for condition in conditions.as_array_mut().into_iter().flatten() {
        let type_ = condition["type"].clone();
        let fields = condition.as_object_mut().unwrap();
        fields.remove("lastTransitionTime");
        fields.remove("observedGeneration");
        // Shows which message the health check returns.
        fields.insert(
            "message".to_owned(),
            json!(format!("message of {}", type_.as_str().unwrap())),
        );
    }
    json!({
        "metadata": {"generation": object["metadata"]["generation"]},
        "status": {
            "observedGeneration": object["status"]["observedGeneration"],
            "conditions": conditions,
        },
    })
}

/// The recorded statuses: name, result of kstatus, health in Argo CD, object.
#[derive(Default)]
struct Records(Vec<Value>);

impl Records {
    fn add(&mut self, name: &str, cluster: &TestCluster, expected: &str, health: &str) {
        let object = cluster.get("orderservices", "orders").unwrap();
        let conditions = object["status"]["conditions"].clone();
        assert_eq!(kstatus(&object), expected, "{name}: {conditions}");
        let is = |type_: &str| {
            let conditions = conditions.as_array().into_iter().flatten();
            let mut found = conditions.filter(|condition| condition["type"] == type_);
            found.any(|condition| condition["status"] == "True")
        };
        assert!(!(is("Reconciling") && is("Stalled")), "{name}: both");
        assert!(
            !(is("Reconciling") && is("Ready")),
            "{name}: reconciling and ready"
        );
        assert!(
            !is("Stalled") || is("Degraded"),
            "{name}: stalled and not degraded"
        );
        self.0.push(json!({
            "name": name, "kstatus": expected, "argocd": health, "object": recorded(&object),
        }));
    }
}

/// Makes the conditions older, as if they had not changed for two minutes.
pub fn age_conditions(cluster: &TestCluster) {
    let mut object = cluster.get("orderservices", "orders").unwrap();
    let past = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(120);
    for condition in object["status"]["conditions"].as_array_mut().unwrap() {
        condition["lastTransitionTime"] = json!(past);
    }
    cluster.put("orderservices", "orders", object);
}

async fn create_and_update(records: &mut Records) {
    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.run().await.0.unwrap();
    records.add("the first migration", &cluster, "InProgress", "Progressing");
    cluster.finish_job("Complete");
    cluster.run().await.0.unwrap();
    records.add("the first rollout", &cluster, "InProgress", "Progressing");
    cluster.roll_out();
    cluster.settle().await;
    records.add("running", &cluster, "Current", "Healthy");
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    records.add(
        "a spec that was not seen yet",
        &cluster,
        "InProgress",
        "Progressing",
    );
    cluster.settle().await;
    records.add(
        "a migration before an update",
        &cluster,
        "InProgress",
        "Progressing",
    );
    cluster.finish_job("Failed");
    cluster.settle().await;
    records.add("a failed migration", &cluster, "Failed", "Degraded");

    let cluster = rolling().await;
    records.add("a rolling update", &cluster, "InProgress", "Progressing");
    surge(&cluster, 1);
    cluster.put("pods", "p", unschedulable(90));
    cluster.settle().await;
    records.add(
        "a pod that cannot be scheduled",
        &cluster,
        "InProgress",
        "Degraded",
    );
    cluster.put("pods", "p", image_pull(90));
    cluster.settle().await;
    records.add(
        "an image that cannot be pulled",
        &cluster,
        "InProgress",
        "Degraded",
    );
}

async fn failed_rollouts(records: &mut Records) {
    let cluster = rolled_back(crashed("p", 3)).await;
    records.add("rolled back after crashes", &cluster, "Failed", "Degraded");
    let cluster = rolled_back(image_pull(600)).await;
    records.add(
        "rolled back and retried later",
        &cluster,
        "Failed",
        "Degraded",
    );
    let_the_time_pass(&cluster);
    cluster.settle().await;
    records.add("retried", &cluster, "InProgress", "Progressing");

    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.settle().await;
    cluster.finish_job("Complete");
    cluster.settle().await;
    cluster.exceed_deadline();
    cluster.settle().await;
    records.add("a failed first rollout", &cluster, "Failed", "Degraded");
}

async fn scaling_and_pausing(records: &mut Records) {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.edit_spec(|spec| spec["replicas"] = json!(4));
    cluster.settle().await;
    records.add("scaling up", &cluster, "InProgress", "Progressing");
    cluster.roll_out();
    cluster.settle().await;
    cluster.change(Kind::Deployment, "orders", |deployment| {
        deployment["status"]["availableReplicas"] = json!(3);
    });
    cluster.settle().await;
    records.add(
        "a pod that is not available",
        &cluster,
        "InProgress",
        "Progressing",
    );
    age_conditions(&cluster);
    cluster.settle().await;
    records.add(
        "a pod that is not available for long",
        &cluster,
        "InProgress",
        "Degraded",
    );
    cluster.roll_out();
    cluster.edit_spec(|spec| spec["paused"] = json!(true));
    cluster.settle().await;
    records.add("paused", &cluster, "Current", "Suspended");
    cluster.edit_spec(|spec| spec["image"] = json!("orders:2"));
    cluster.settle().await;
    records.add(
        "paused with a changed spec",
        &cluster,
        "InProgress",
        "Suspended",
    );

    let cluster = TestCluster::new(TestCluster::spec("orders:1"));
    cluster.edit_spec(|spec| spec["paused"] = json!(true));
    cluster.settle().await;
    records.add(
        "paused before the first rollout",
        &cluster,
        "InProgress",
        "Suspended",
    );
}

async fn contention(records: &mut Records) {
    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    for _ in 0..4 {
        super::contention::change_selector(&cluster);
        cluster.run().await.0.unwrap();
    }
    records.add("contended", &cluster, "Current", "Degraded");
}

async fn obstacles(records: &mut Records) {
    let new = || TestCluster::new(TestCluster::spec("orders:1"));
    let cluster = new();
    cluster.edit_spec(|spec| spec["autoscaling"] = json!({"maxReplicas": 3}));
    cluster.settle().await;
    records.add("an invalid spec", &cluster, "Failed", "Degraded");

    let cluster = new();
    let foreign = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "orders", "namespace": "shop"}, "spec": {}});
    cluster.put("deployments", "orders", foreign);
    cluster.settle().await;
    records.add("a foreign object", &cluster, "Failed", "Degraded");

    let cluster = new();
    cluster.edit_spec(|spec| spec["database"]["secretRef"]["key"] = json!("other"));
    cluster.settle().await;
    records.add("a missing secret", &cluster, "InProgress", "Progressing");

    let cluster = new();
    cluster.fail("apply services", 403, 1);
    cluster.run().await.0.unwrap_err();
    records.add("a rejected object", &cluster, "Failed", "Degraded");

    let cluster = TestCluster::running(TestCluster::spec("orders:1")).await;
    cluster.fail("get deployments", 503, 100);
    for _ in 0..5 {
        cluster.run().await.0.unwrap_err();
        tokio::time::advance(Duration::from_secs(40)).await;
    }
    records.add("a busy API server", &cluster, "InProgress", "Degraded");
}

#[tokio::test(start_paused = true)]
async fn kstatus_and_argo_cd_understand_every_status() {
    let mut records = Records::default();
    Box::pin(create_and_update(&mut records)).await;
    Box::pin(failed_rollouts(&mut records)).await;
    Box::pin(scaling_and_pausing(&mut records)).await;
    Box::pin(contention(&mut records)).await;
    Box::pin(obstacles(&mut records)).await;
    let path = directory("").join("statuses.json");
    let text = serde_json::to_string_pretty(&records.0).unwrap() + "\n";
    if std::env::var_os("STATUSES").is_some_and(|how| how == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == text,
        "rewrite it: STATUSES=write cargo test -p order-operator gitops"
    );
}
