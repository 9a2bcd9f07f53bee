//! What a platform may decide about pods, and that it cannot weaken them.

use order_operator::commands::render_objects;
use order_operator::crd::OrderService;
use serde_json::{Value, json};

/// An OrderService with these fields in its spec.
fn object(fields: Value) -> OrderService {
    let mut spec = json!({
        "image": "orders:1", "replicas": 2, "database": {"secretRef": {"name": "db"}},
    });
    spec.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService",
        "metadata": {"name": "orders", "namespace": "shop"}, "spec": spec,
    }))
    .unwrap()
}

fn rendered(fields: Value) -> Vec<Value> {
    render_objects(object(fields)).unwrap()
}

fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind)
        .unwrap()
}

/// The templates of the pods that serve, migrate and maintain.
fn templates(objects: &[Value]) -> [Value; 3] {
    [
        one(objects, "Deployment")["spec"]["template"].clone(),
        one(objects, "Job")["spec"]["template"].clone(),
        one(objects, "CronJob")["spec"]["jobTemplate"]["spec"]["template"].clone(),
    ]
}

fn egress(network_policy: Value) -> Value {
    let objects = rendered(json!({"networkPolicy": network_policy}));
    one(&objects, "NetworkPolicy")["spec"]["egress"].clone()
}

#[test]
fn all_pods_have_the_scheduling_and_the_metadata() {
    let objects = rendered(json!({
        "imagePullSecrets": [{"name": "registry"}],
        "scheduling": {
            "nodeSelector": {"pool": "shop"},
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}},
            "priorityClassName": "high", "runtimeClassName": "gvisor",
        },
        "podMetadata": {"labels": {"team": "shop"}, "annotations": {"a": "b"}},
    }));
    for template in templates(&objects) {
        let (spec, metadata) = (&template["spec"], &template["metadata"]);
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
        assert_eq!(spec["nodeSelector"], json!({"pool": "shop"}));
        let toleration = json!({"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5});
        assert_eq!(spec["tolerations"], json!([toleration]));
        assert!(spec["affinity"]["podAntiAffinity"].is_object());
        assert_eq!(spec["priorityClassName"], "high");
        assert_eq!(spec["runtimeClassName"], "gvisor");
        assert_eq!(metadata["labels"]["team"], "shop");
        assert_eq!(metadata["labels"]["app.kubernetes.io/instance"], "orders");
        assert_eq!(metadata["annotations"]["a"], "b");
    }
}

#[test]
fn a_changed_toleration_replaces_the_job_but_repeats_no_migration_that_is_done() {
    let job = |fields: Value| {
        let objects = rendered(fields);
        one(&objects, "Job")["metadata"]["name"].clone()
    };
    let tolerations = json!({"scheduling": {"tolerations": [{"operator": "Exists"}]}});
    assert_ne!(job(json!({})), job(tolerations));
    assert_eq!(job(json!({})), job(json!({"settings": {"poolMaxSize": 7}})));
}

#[test]
fn a_spread_constraint_without_selector_selects_the_pods_that_serve() {
    let given = json!({"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"});
    let objects = rendered(json!({"scheduling": {"topologySpreadConstraints": [given]}}));
    let [server, job, _] = templates(&objects);
    let constraint = &server["spec"]["topologySpreadConstraints"];
    assert_eq!(constraint.as_array().unwrap().len(), 1);
    assert_eq!(constraint[0]["topologyKey"], "rack");
    let labels = &constraint[0]["labelSelector"]["matchLabels"];
    assert_eq!(labels["app.kubernetes.io/component"], "server");
    assert!(job["spec"]["topologySpreadConstraints"].is_null());
}

#[test]
fn on_a_platform_that_assigns_users_all_else_stays_hardened() {
    let fixed = templates(&rendered(json!({})));
    let platform = templates(&rendered(json!({"securityContext": "Platform"})));
    for (mut fixed, platform) in fixed.into_iter().zip(platform) {
        let context = fixed["spec"]["securityContext"].as_object_mut().unwrap();
        for field in ["runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy"] {
            assert!(context.remove(field).is_some(), "{field}");
        }
        assert_eq!(
            platform["spec"]["securityContext"],
            fixed["spec"]["securityContext"]
        );
        assert_eq!(
            platform["spec"]["containers"][0]["securityContext"],
            fixed["spec"]["containers"][0]["securityContext"]
        );
        assert_eq!(platform["spec"]["securityContext"]["runAsNonRoot"], true);
    }
}

#[test]
fn additions_are_merged_by_name_and_added_containers_are_hardened() {
    let additions = json!({"spec": {
        "containers": [
            {"name": "order-service", "env": [{"name": "HTTPS_PROXY", "value": "http://proxy"}],
             "volumeMounts": [{"name": "cache", "mountPath": "/cache"}]},
            {"name": "exporter", "image": "exporter:1", "securityContext": {"runAsUser": 1000}},
        ],
        "initContainers": [{"name": "agent", "image": "agent:1", "restartPolicy": "Always"}],
        "volumes": [{"name": "cache", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 300,
    }});
    let plain = templates(&rendered(json!({})));
    let with = templates(&rendered(json!({"podTemplate": additions})));
    assert_eq!(plain[1], with[1], "the migration stays as it is");
    assert_eq!(plain[2], with[2], "the maintenance stays as it is");
    let (plain, with) = (&plain[0]["spec"], &with[0]["spec"]);
    let (before, after) = (&plain["containers"][0], &with["containers"][0]);
    for field in [
        "image",
        "args",
        "securityContext",
        "readinessProbe",
        "livenessProbe",
        "ports",
    ] {
        assert_eq!(before[field], after[field], "{field}");
    }
    let count = |value: &Value| value.as_array().unwrap().len();
    assert_eq!(count(&after["env"]), count(&before["env"]) + 1);
    assert_eq!(
        count(&after["volumeMounts"]),
        count(&before["volumeMounts"]) + 1
    );
    assert_eq!(count(&with["volumes"]), count(&plain["volumes"]) + 1);
    assert_eq!(with["terminationGracePeriodSeconds"], 300);
    let mut hardened = before["securityContext"].clone();
    assert_eq!(with["initContainers"][0]["securityContext"], hardened);
    hardened["runAsUser"] = json!(1000);
    assert_eq!(with["containers"][1]["securityContext"], hardened);
}

/// A spec that did not pass the API server, such as one that is rendered, cannot weaken the pods either.
#[test]
fn additions_that_the_schema_rejects_are_ignored_or_rejected() {
    let additions = json!({"spec": {
        "terminationGracePeriodSeconds": 1, "hostNetwork": true, "hostPID": true, "serviceAccountName": "admin",
        "securityContext": {"runAsUser": 0}, "automountServiceAccountToken": true,
        "containers": [
            {"name": "order-service", "image": "evil:1", "command": ["sh"],
             "envFrom": [{"configMapRef": {"name": "other"}}], "securityContext": {"privileged": true}},
            {"name": "sidecar", "image": "a:1", "ports": [{"containerPort": 80, "hostPort": 80}],
             "securityContext": {"privileged": true, "allowPrivilegeEscalation": true,
                "capabilities": {"add": ["ALL"]}, "procMount": "Unmasked"}},
        ],
    }});
    let plain = &templates(&rendered(json!({})))[0]["spec"];
    let with = &templates(&rendered(json!({"podTemplate": additions})))[0]["spec"];
    let context = |container: &Value| container["securityContext"].clone();
    assert_eq!(with["containers"][0], plain["containers"][0]);
    assert_eq!(
        context(&with["containers"][1]),
        context(&plain["containers"][0])
    );
    assert!(with["containers"][1]["ports"][0]["hostPort"].is_null());
    let mut with = with.clone();
    with["containers"] = plain["containers"].clone();
    assert_eq!(&with, plain);
    for volume in [
        json!({"name": "root", "hostPath": {"path": "/"}}),
        json!({"name": "database-url", "emptyDir": {}}),
    ] {
        let additions = json!({"podTemplate": {"spec": {"volumes": [volume]}}});
        render_objects(object(additions)).unwrap_err();
    }
}

#[test]
fn a_part_of_a_pod_in_another_form_is_an_invalid_spec() {
    let affinity = json!({"scheduling": {"affinity": {"nodeAffinity": 7}}});
    let message = render_objects(object(affinity)).unwrap_err().to_string();
    assert!(message.starts_with("scheduling.affinity: "), "{message}");
    let template = json!({"podTemplate": {"spec": {"containers": [{"name": "a", "env": 7}]}}});
    let message = render_objects(object(template)).unwrap_err().to_string();
    assert!(message.starts_with("podTemplate.spec: "), "{message}");
}

#[test]
fn the_rollout_and_the_account_are_those_of_the_spec() {
    let objects = rendered(json!({
        "rollout": {"maxSurge": "25%", "maxUnavailable": 1},
        "serviceAccount": {"annotations": {"role": "orders"}},
    }));
    let strategy = &one(&objects, "Deployment")["spec"]["strategy"]["rollingUpdate"];
    assert_eq!(*strategy, json!({"maxSurge": "25%", "maxUnavailable": 1}));
    let account = one(&objects, "ServiceAccount");
    assert_eq!(account["metadata"]["annotations"]["role"], "orders");
}

#[test]
fn a_database_in_the_cluster_is_selected_by_its_pods() {
    let labels = json!({"matchLabels": {"cnpg.io/cluster": "orders-db"}});
    let selector = json!({"podLabels": {"cnpg.io/cluster": "orders-db"}});
    let rules = egress(json!({"databaseSelector": selector}));
    assert_eq!(rules[1]["to"], json!([{"podSelector": labels}]));
    let rules = egress(json!({
        "databaseCidrs": ["10.0.0.0/24"],
        "databaseSelector": {"namespace": "databases"},
    }));
    let namespace = json!({"matchLabels": {"kubernetes.io/metadata.name": "databases"}});
    assert_eq!(
        rules[1]["to"],
        json!([
            {"ipBlock": {"cidr": "10.0.0.0/24"}},
            {"namespaceSelector": namespace},
        ])
    );
}

#[test]
fn dns_on_another_port_keeps_the_caches_of_the_nodes() {
    let rules = egress(json!({"dns": {"namespace": "openshift-dns", "port": 5353}}));
    let namespace = json!({"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}});
    assert_eq!(rules[0]["to"], json!([{"namespaceSelector": namespace}]));
    assert_eq!(
        rules[0]["ports"][0],
        json!({"protocol": "UDP", "port": 5353})
    );
    assert_eq!(
        rules[1]["to"],
        json!([{"ipBlock": {"cidr": "169.254.0.0/16"}}])
    );
    assert_eq!(rules[1]["ports"][1], json!({"protocol": "TCP", "port": 53}));
}
