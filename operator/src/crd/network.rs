//! The allowed traffic.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The allowed traffic: clients, scrapes, DNS and the database.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicyOptions {
    /// Whether a NetworkPolicy is created.
    pub enabled: bool,
    /// Namespace of a gateway that may send requests, in addition to this namespace and namespaces with the
    /// label `orders.example.com/client: "true"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::LABEL))]
    pub gateway_namespace: Option<String>,
    /// Namespace that may scrape the metrics.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::LABEL))]
    pub monitoring_namespace: String,
    /// Address ranges of the database. Default: `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16` and `fc00::/7`, or none
    /// with `databaseSelector`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(max = 43), regex(pattern = schema::CIDR)))]
    pub database_cidrs: Option<Vec<String>>,
    /// Pods of a database in the cluster. Some network plugins, such as Cilium, do not match pods by their addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_selector: Option<DatabaseSelector>,
    /// Port of the database.
    #[schemars(range(min = 1, max = 65535))]
    pub database_port: i32,
    /// The DNS of the cluster. On OpenShift: namespace `openshift-dns`, port 5353.
    pub dns: Dns,
}

impl Default for NetworkPolicyOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            gateway_namespace: None,
            monitoring_namespace: "monitoring".to_owned(),
            database_cidrs: None,
            database_selector: None,
            database_port: 5432,
            dns: Dns::default(),
        }
    }
}

/// Pods of a database.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.__namespace__) || (has(self.podLabels) && size(self.podLabels) > 0)",
    "message": "networkPolicy.databaseSelector needs namespace or podLabels",
}]))]
pub struct DatabaseSelector {
    /// Namespace of the pods. Default: that of the OrderService.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::LABEL))]
    pub namespace: Option<String>,
    /// Labels of the pods, such as `cnpg.io/cluster: NAME`. Default: all pods of the namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub pod_labels: BTreeMap<String, String>,
}

/// The DNS of the cluster.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dns {
    /// Namespace of the DNS pods.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::LABEL))]
    pub namespace: String,
    /// Labels of the DNS pods. Default: all pods of the namespace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub pod_labels: BTreeMap<String, String>,
    /// Port of the DNS pods, which may differ from that of their Service.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
}

impl Default for Dns {
    fn default() -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            pod_labels: BTreeMap::new(),
            port: 53,
        }
    }
}
