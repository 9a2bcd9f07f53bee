//! The pods of the operator are hardened like those of kustomize/base: both are rendered and compared field by
//! field, without the intended differences, which are listed here.

use std::process::Command;

use order_operator::commands::render_objects;
use serde_json::{Map, Value, json};

fn base() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../kustomize/base");
    let output = Command::new("kubectl").args(["kustomize", path]).output();
    let output = output.expect("kubectl is needed: `make deps`");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

fn ours(count: Value) -> Vec<Value> {
    let mut spec = json!({
        "image": "registry.example.com/order-service:0.1.0",
        "database": {"secretRef": {"name": "order-service-secrets"}},
        "auth": {"secretRef": {"name": "order-service-auth"}},
    });
    spec.as_object_mut()
        .unwrap()
        .extend(count.as_object().unwrap().clone());
    let object = json!({
        "apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService",
        "metadata": {"name": "order-service", "namespace": "n"}, "spec": spec,
    });
    let mut objects = render_objects(serde_json::from_value(object).unwrap()).unwrap();
    // It exists only while a migration runs. kustomize cannot create and delete an object in time.
    objects.retain(|object| {
        object["kind"] != "PodDisruptionBudget"
            || object["metadata"]["name"] != "order-service-migrate"
    });
    objects
}

fn both() -> (Vec<Value>, Vec<Value>) {
    (
        base(),
        ours(json!({"autoscaling": {"minReplicas": 2, "maxReplicas": 4}})),
    )
}

fn of(objects: &[Value], kind: &str) -> Value {
    let found: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == kind)
        .collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0].clone()
}

/// Removes the labels that differ between instances.
fn without_instance(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for label in [
                "app.kubernetes.io/instance",
                "orders.example.com/revision",
                "app.kubernetes.io/version",
            ] {
                fields.remove(label);
            }
            fields.values_mut().for_each(without_instance);
        }
        Value::Array(items) => items.iter_mut().for_each(without_instance),
        _ => {}
    }
}

fn spec(objects: &[Value], kind: &str) -> Value {
    let mut spec = of(objects, kind)["spec"].clone();
    without_instance(&mut spec);
    spec
}

#[test]
fn service_budget_and_autoscaler_are_the_same() {
    let (base, ours) = both();
    for kind in ["Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"] {
        assert_eq!(spec(&base, kind), spec(&ours, kind), "{kind}");
    }
    let token =
        |objects: &[Value]| of(objects, "ServiceAccount")["automountServiceAccountToken"].clone();
    assert_eq!(token(&base), json!(false));
    assert_eq!(token(&base), token(&ours));
    let settings = |objects: &[Value]| of(objects, "ConfigMap")["data"].clone();
    assert_eq!(settings(&base), settings(&ours));
}

#[test]
fn the_deployment_is_the_same() {
    let (base, ours) = both();
    let (mut base, mut ours) = (spec(&base, "Deployment"), spec(&ours, "Deployment"));
    for spec in [&mut base, &mut ours] {
        // The hashes in the names differ.
        let name = spec
            .pointer_mut("/template/spec/containers/0/envFrom/0/configMapRef/name")
            .unwrap();
        assert!(name.as_str().unwrap().starts_with("order-service-config-"));
        *name = Value::Null;
    }
    for spec in [&mut base, &mut ours] {
        // The pods of the operator read a copy.
        without_source_of_secret(spec.pointer_mut("/template/spec").unwrap());
    }
    // This annotation rolls the pods when the secret changes.
    let annotations = ours.pointer_mut("/template/metadata/annotations").unwrap();
    assert!(
        annotations
            .as_object_mut()
            .unwrap()
            .remove("orders.example.com/database-secret")
            .is_some()
    );
    // The operator sets this label on objects, not on pods.
    let labels = base
        .pointer_mut("/template/metadata/labels")
        .unwrap()
        .as_object_mut()
        .unwrap();
    labels.remove("app.kubernetes.io/managed-by");
    assert_eq!(base, ours);
}

/// Removes where the secret of a pod comes from: kustomize has an optional second secret, and the spec of an
/// OrderService names it.
fn without_source_of_secret(pod: &mut Value) {
    let volume = pod.pointer_mut("/volumes/0").unwrap();
    let kind = if volume["projected"].is_object() {
        "projected"
    } else {
        "secret"
    };
    assert_eq!(volume[kind]["defaultMode"], 0o440);
    *volume = json!({"name": volume["name"]});
}

#[test]
fn the_migration_is_the_same() {
    let (base, ours) = both();
    let (mut base, mut ours) = (spec(&base, "Job"), spec(&ours, "Job"));
    // The operator reports the end of the log in a condition.
    let container = ours
        .pointer_mut("/template/spec/containers/0")
        .unwrap()
        .as_object_mut()
        .unwrap();
    assert_eq!(
        container.remove("terminationMessagePolicy"),
        Some(json!("FallbackToLogsOnError"))
    );
    // A GitOps controller applies the Job of kustomize and would create it again after its deletion.
    assert!(base["ttlSecondsAfterFinished"].is_null());
    ours.as_object_mut()
        .unwrap()
        .remove("ttlSecondsAfterFinished");
    for spec in [&mut base, &mut ours] {
        without_source_of_secret(spec.pointer_mut("/template/spec").unwrap());
        let labels = spec
            .pointer_mut("/template/metadata/labels")
            .unwrap()
            .as_object_mut()
            .unwrap();
        labels.remove("app.kubernetes.io/managed-by");
    }
    assert_eq!(base, ours);
}

#[test]
fn the_maintenance_is_the_same() {
    let (base, ours) = both();
    let (mut base, mut ours) = (spec(&base, "CronJob"), spec(&ours, "CronJob"));
    for spec in [&mut base, &mut ours] {
        let pod = spec.pointer_mut("/jobTemplate/spec/template/spec").unwrap();
        // The hashes in the names differ.
        let settings = pod
            .pointer_mut("/containers/0/envFrom/0/configMapRef/name")
            .unwrap();
        assert!(
            settings
                .as_str()
                .unwrap()
                .starts_with("order-service-config-")
        );
        *settings = Value::Null;
        without_source_of_secret(pod);
    }
    // An explicit value, so that a manual change is reverted.
    assert_eq!(
        ours.as_object_mut().unwrap().remove("suspend"),
        Some(json!(false))
    );
    assert_eq!(base, ours);
}

/// Every flow that the policies allow for pods with these labels, as text.
fn flows(policies: &[Value], pod: &Map<String, Value>) -> Vec<String> {
    let mut flows = Vec::new();
    for policy in policies {
        let selector = &policy["spec"]["podSelector"]["matchLabels"];
        let selects = selector.as_object().is_none_or(|labels| {
            labels
                .iter()
                .all(|(key, value)| pod.get(key) == Some(value))
        });
        if !selects {
            continue;
        }
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for rule in policy["spec"][direction].as_array().into_iter().flatten() {
                for peer in rule[peers].as_array().unwrap() {
                    for port in rule["ports"].as_array().unwrap() {
                        flows.push(format!("{direction} {peer} {port}"));
                    }
                }
            }
        }
    }
    flows.sort();
    flows
}

#[test]
fn the_same_traffic_is_allowed() {
    let (base, ours) = both();
    let policies = |mut objects: Vec<Value>| {
        objects.iter_mut().for_each(without_instance);
        objects.retain(|object| object["kind"] == "NetworkPolicy");
        objects
    };
    let (base, ours) = (policies(base), policies(ours));
    let pod = |component: &str| {
        let labels = json!({"app.kubernetes.io/name": "order-service", "app.kubernetes.io/component": component});
        labels.as_object().unwrap().clone()
    };
    let server = flows(&ours, &pod("server"));
    assert_eq!(flows(&base, &pod("server")), server);
    assert!(server.len() >= 8);
    // Migration and maintenance have no named ports, so rules for incoming traffic do not apply to them.
    let out = |flows: Vec<String>| -> Vec<String> {
        flows
            .into_iter()
            .filter(|flow| flow.starts_with("egress"))
            .collect()
    };
    for component in ["migrate", "maintain"] {
        let allowed = flows(&ours, &pod(component));
        assert!(allowed.iter().all(|flow| {
            flow.starts_with("egress")
                || flow.contains("\"port\":\"http\"")
                || flow.contains("\"port\":\"metrics\"")
        }));
        assert_eq!(out(flows(&base, &pod(component))), out(allowed));
    }
    assert_eq!(ours[0]["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
}
