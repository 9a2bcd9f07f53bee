use serde_json::json;

use super::*;

fn paths(desired: Value, live: Value) -> Vec<String> {
    differences(&desired, &live)
        .iter()
        .map(|difference| difference.path.to_string())
        .collect()
}

#[test]
fn defaults_and_fields_of_other_managers_are_no_difference() {
    let desired = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "a", "image": "x", "env": [{"name": "K", "value": "v"}],
         "resources": {"requests": {"cpu": "1000m"}}},
    ]}}}});
    let live = json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [
        {"name": "sidecar", "image": "y"},
        {"name": "a", "image": "x", "terminationMessagePath": "/dev",
         "env": [{"name": "Z", "value": "z"}, {"name": "K", "value": "v"}],
         "resources": {"requests": {"cpu": "1"}}},
    ]}}}});
    assert_eq!(paths(desired, live), [""; 0]);
}

#[test]
fn an_additional_key_of_a_selector_is_a_difference() {
    let desired = json!({"spec": {"selector": {"a": "1"}, "egress": [{"to": []}]}});
    let live = json!({"spec": {"selector": {"a": "1", "b": "2"}, "egress": [{"to": []}, {}]}});
    assert_eq!(paths(desired, live), ["spec.egress", "spec.selector"]);
}

#[test]
fn differences_are_paths() {
    let desired = json!({"metadata": {"labels": {"a": "b"}}, "spec": {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}],
        "policyTypes": ["Ingress"],
    }});
    let live = json!({"metadata": {"labels": {}}, "spec": {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}],
        "policyTypes": ["Ingress", "Egress"],
    }});
    assert_eq!(
        paths(desired, live),
        [
            "metadata.labels.a",
            "spec.policyTypes",
            "spec.ports[port=80,protocol=TCP].targetPort"
        ]
    );
}
