//! The objects of a rollout in progress.

use serde_json::{Value, json};

use super::cluster::{Fake, merge};

pub const GOOD: &str = "registry.example.com/order-service:1.0.0";
pub const NEXT: &str = "registry.example.com/order-service:2.0.0";

fn object(kind: &str, name: &str, owner: &str, component: &str, rest: Value) -> Value {
    let mut object = json!({
        "kind": kind,
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "generation": 2,
            "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {},
            "labels": {"app.kubernetes.io/name": "order-service", "app.kubernetes.io/instance": "orders",
                "app.kubernetes.io/component": component},
        },
    });
    if !owner.is_empty() {
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "x", "name": owner, "uid": format!("uid-{owner}"), "controller": true}]);
    }
    merge(&mut object, &rest);
    object
}

pub fn service(name: &str) -> Value {
    let condition = |type_: &str, status: &str, reason: &str, message: &str, generation: i64| {
        json!({"type": type_, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": generation})
    };
    let conditions = [
        condition(
            "Ready",
            "False",
            "RollingOut",
            "1 of 2 replicas are available",
            2,
        ),
        condition("Degraded", "False", "AsExpected", "", 1),
    ];
    object(
        "OrderService",
        name,
        "",
        "",
        json!({
            "apiVersion": "orders.example.com/v1alpha1",
            "spec": {"image": NEXT, "replicas": 2},
            "status": {"image": GOOD, "conditions": conditions},
        }),
    )
}

/// A ReplicaSet with the annotations that the controller of Deployments copied to it while it was the newest.
fn replica_set(
    name: &str,
    number: i64,
    image: &str,
    good_revision: &str,
    desired: i64,
    ready: i64,
) -> Value {
    let template = json!({"spec": {"containers": [{"image": image}]}}).to_string();
    object(
        "ReplicaSet",
        name,
        "orders",
        "server",
        json!({
            "metadata": {
                "labels": {"orders.example.com/revision": name},
                "annotations": {
                    "deployment.kubernetes.io/revision": number.to_string(),
                    "orders.example.com/template": template,
                    "orders.example.com/good-revision": good_revision,
                },
            },
            // An admission policy has changed the image.
            "spec": {"replicas": desired, "template": {"spec": {"containers": [{"image": format!("mirror.example.com/{number}")}]}}},
            "status": {"replicas": desired, "readyReplicas": ready},
        }),
    )
}

fn pod(name: &str, owner: &str, component: &str, status: Value) -> Value {
    object(
        "Pod",
        name,
        owner,
        component,
        json!({"spec": {"nodeName": "node-a"}, "status": status}),
    )
}

pub fn migration_pod(name: &str, created: &str) -> Value {
    let mut pod = pod(
        name,
        "orders-migrate-1",
        "migrate",
        json!({"phase": "Succeeded"}),
    );
    pod["metadata"]["creationTimestamp"] = json!(created);
    pod
}

/// 1.0.0 is good, 1.1.0 failed, and 2.0.0 rolls out with an unschedulable pod.
pub fn rolling_out() -> Fake {
    let fake = Fake::default();
    fake.add(service("orders"));
    fake.add(object(
        "Job",
        "orders-migrate-1",
        "orders",
        "migrate",
        json!({
            "spec": {"template": {"spec": {"containers": [{"image": NEXT}]}}},
            "status": {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]},
        }),
    ));
    fake.add(migration_pod("orders-migrate-1-a", "2026-01-01T00:00:00Z"));
    fake.add(object(
        "Deployment",
        "orders",
        "orders",
        "server",
        json!({
            "spec": {"replicas": 2}, "status": {"updatedReplicas": 1, "availableReplicas": 1},
        }),
    ));
    fake.add(replica_set(
        "orders-failed",
        2,
        "registry.example.com/order-service:1.1.0",
        "orders-good",
        0,
        0,
    ));
    fake.add(replica_set("orders-good", 3, GOOD, "orders-good", 1, 1));
    fake.add(replica_set("orders-next", 4, NEXT, "orders-good", 1, 0));
    fake.add(pod(
        "orders-good-a",
        "orders-good",
        "server",
        json!({
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
        }),
    ));
    fake.add(pod("orders-next-a", "orders-next", "server", json!({
        "phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "0/3 nodes are available: 3 Insufficient cpu.", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
    })));
    fake
}
