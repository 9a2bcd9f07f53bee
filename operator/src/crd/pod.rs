//! Where pods run, with which identity, and what a platform adds to them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::schema;

/// Where the pods run, including those of the migration and the maintenance.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scheduling {
    /// Labels of the nodes. Default: all nodes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerated taints of the nodes. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Affinity as in a pod. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub affinity: Option<Value>,
    /// Topology spread constraints of the pods that serve, as in a pod. One without `labelSelector` selects these pods.
    /// Default: even over zones and over nodes, where possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_objects")]
    pub topology_spread_constraints: Option<Vec<Value>>,
    /// PriorityClass. Default: that of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub priority_class_name: Option<String>,
    /// RuntimeClass. Default: that of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub runtime_class_name: Option<String>,
}

/// A tolerated taint, as in a pod.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
    "message": "a toleration without key needs the operator Exists",
}]))]
pub struct Toleration {
    /// Key of the taint. Default: every key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub key: Option<String>,
    /// How the value is compared. Default: `Equal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// Value of the taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Effect of the taint. Default: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// Seconds that a pod stays on a node with a taint `NoExecute`. Default: indefinitely.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<i64>,
}

/// How the value of a taint is compared.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum TolerationOperator {
    /// The value is the same.
    Equal,
    /// The value does not matter.
    Exists,
}

/// The effect of a taint.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum TaintEffect {
    /// New pods are not scheduled.
    NoSchedule,
    /// New pods are scheduled only if necessary.
    PreferNoSchedule,
    /// Running pods are evicted as well.
    NoExecute,
}

/// Labels and annotations of the pods, including those of the migration and the maintenance.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    /// Labels. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "x-kubernetes-validations" = [{
        "rule": "self.all(key, !key.startsWith('orders.example.com/') && !(key in ['app.kubernetes.io/name', 'app.kubernetes.io/instance', 'app.kubernetes.io/component', 'app.kubernetes.io/part-of', 'app.kubernetes.io/version', 'pod-template-hash']))",
        "message": "podMetadata.labels must not contain the labels that the operator sets",
    }]))]
    pub labels: BTreeMap<String, String>,
    /// Annotations. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "x-kubernetes-validations" = [{
        "rule": "self.all(key, !key.startsWith('orders.example.com/'))",
        "message": "podMetadata.annotations must not contain the annotations that the operator sets",
    }]))]
    pub annotations: BTreeMap<String, String>,
}

/// The ServiceAccount of the pods.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccountOptions {
    /// Annotations, such as the identity at a cloud provider. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "x-kubernetes-validations" = [{
        "rule": "self.all(key, !key.startsWith('orders.example.com/'))",
        "message": "serviceAccount.annotations must not contain the annotations that the operator sets",
    }]))]
    pub annotations: BTreeMap<String, String>,
}

/// A secret in the same namespace.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalSecretRef {
    /// Name of the secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub name: String,
}

/// Who decides the user and the group of the pods. All else is hardened in the same way.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum PodUser {
    /// The user and the group 65532.
    #[default]
    Fixed,
    /// The platform.
    Platform,
}

/// Monitoring.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Monitoring {
    /// A PodMonitor of the Prometheus operator. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_monitor: Option<PodMonitorOptions>,
}

/// A PodMonitor of the Prometheus operator.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMonitorOptions {
    /// Interval of the scrapes, at least `5s`.
    #[schemars(length(max = 12), regex(pattern = schema::SCRAPE_INTERVAL))]
    pub interval: String,
    /// Labels of the PodMonitor, by which Prometheus selects it. Default: none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32, "x-kubernetes-validations" = [{
        "rule": "self.all(key, !key.startsWith('app.kubernetes.io/'))",
        "message": "monitoring.podMonitor.labels must not contain the labels that the operator sets",
    }]))]
    pub labels: BTreeMap<String, String>,
}

impl Default for PodMonitorOptions {
    fn default() -> Self {
        Self {
            interval: "15s".to_owned(),
            labels: BTreeMap::new(),
        }
    }
}
