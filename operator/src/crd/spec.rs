//! What a person may ask for.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OrderServiceStatus, Settings, schema};

/// An order-service: the image, how many, and the database.
#[derive(Clone, Debug, CustomResource, Deserialize, JsonSchema, PartialEq, Serialize)]
#[kube(
    group = "orders.example.com",
    version = "v1alpha1",
    kind = "OrderService",
    namespaced,
    status = "OrderServiceStatus",
    derive = "PartialEq",
    shortname = "osvc",
    category = "all",
    category = "orders",
    doc = "An order-service that the operator keeps running, migrated and safe.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether what the spec asks for is serving"
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".status.image",
        description = "The image of the pods"
    ),
    printcolumn(
        name = "Schema",
        type_ = "string",
        json_path = ".status.schema",
        description = "The version whose migrations the database has"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "Pods there are"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    validation = kube::core::Rule::new("size(self.metadata.name) <= 44 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be a DNS label that starts with a letter, of at most 44 characters: Services and Jobs are named after it")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.replicas) != has(self.autoscaling)",
    "message": "give either replicas or autoscaling, and not both",
}]))]
pub struct OrderServiceSpec {
    /// The image, with a tag that is never moved (not `latest`) or a digest. With both, the digest
    /// decides what runs.
    #[schemars(length(min = 1, max = 512), regex(pattern = schema::IMAGE))]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self.contains('@sha256:') || (self.matches(':[^/]+$') && !self.endsWith(':latest'))",
        "message": "image needs a tag other than latest, or a digest",
    }]))]
    pub image: String,
    /// How many pods. Not together with `autoscaling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// Lets a HorizontalPodAutoscaler decide how many pods. Not together with `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Where the database is.
    pub database: Database,
    /// How the schema is migrated, where that differs from how it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,
    /// Requests and limits of each pod. What is left out keeps its default.
    #[serde(default)]
    pub resources: Resources,
    /// Settings of the service.
    #[serde(default)]
    pub settings: Settings,
    /// Which traffic is let in and out.
    #[serde(default)]
    pub network_policy: NetworkPolicyOptions,
    /// How many pods may be evicted at a time.
    #[serde(default)]
    pub disruption: Disruption,
    /// Seconds a rollout may go without progress before the last good one is put back.
    #[serde(default = "default_progress_deadline")]
    #[schemars(range(min = 30, max = 86400))]
    pub progress_deadline_seconds: i32,
    /// Nothing is written but the status while this is true.
    #[serde(default)]
    pub paused: bool,
}

fn default_progress_deadline() -> i32 {
    600
}

/// Bounds of the HorizontalPodAutoscaler.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.minReplicas <= self.maxReplicas",
    "message": "minReplicas must not be larger than maxReplicas",
}]))]
pub struct Autoscaling {
    /// Fewest pods.
    #[serde(default = "default_min_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// Most pods. Times `settings.poolMaxSize` they must fit the database's connections.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// CPU to aim at, in percent of the request. The request is a share and not a ceiling, so this
    /// may be above 100.
    #[serde(
        default = "default_target_cpu",
        rename = "targetCPUUtilizationPercentage"
    )]
    #[schemars(range(min = 1, max = 10000))]
    pub target_cpu_utilization_percentage: i32,
}

fn default_min_replicas() -> i32 {
    2
}

fn default_target_cpu() -> i32 {
    200
}

/// Where the database is.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// The secret that holds the URL. It never changes: another database has other orders, and is
    /// another OrderService. To move or to rotate, change what the secret says.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "database.secretRef is immutable: change what the secret says, or make another OrderService",
    }]))]
    pub secret_ref: SecretKeyRef,
}

/// How the schema is migrated.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Migrations {
    /// The secret with the URL of the role that owns the tables.
    pub secret_ref: SecretKeyRef,
}

/// One key of a secret in the same namespace.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub name: String,
    /// Key whose value is the URL.
    #[serde(default = "default_secret_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY))]
    pub key: String,
}

fn default_secret_key() -> String {
    "database-url".to_owned()
}

/// Requests and limits of each pod.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.limits) || !has(self.requests) || !has(self.limits.cpu) || !has(self.requests.cpu) || quantity(string(self.requests.cpu)).compareTo(quantity(string(self.limits.cpu))) <= 0",
    "message": "requests.cpu must not be larger than limits.cpu",
}, {
    "rule": "!has(self.limits) || !has(self.requests) || !has(self.limits.memory) || !has(self.requests.memory) || quantity(string(self.requests.memory)).compareTo(quantity(string(self.limits.memory))) <= 0",
    "message": "requests.memory must not be larger than limits.memory",
}]))]
pub struct Resources {
    /// What each pod is guaranteed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceList>,
    /// What each pod may use at most. CPU has no limit unless one is given: it shows up as latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceList>,
}

/// Amounts of the resources that a pod uses.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResourceList {
    /// CPU, as in `100m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub cpu: Option<Quantity>,
    /// Memory, as in `128Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub memory: Option<Quantity>,
    /// Space for the log on the node, as in `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub ephemeral_storage: Option<Quantity>,
}

/// Which traffic is let in and out: clients, scrapes, names and the database.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicyOptions {
    /// Whether there is a NetworkPolicy.
    pub enabled: bool,
    /// Namespace of the gateway that may send requests, beside pods of this namespace and of
    /// namespaces labelled `orders.example.com/client=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::LABEL))]
    pub gateway_namespace: Option<String>,
    /// Namespace that may scrape the metrics.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::LABEL))]
    pub monitoring_namespace: String,
    /// Addresses where the database may be.
    #[schemars(length(min = 1, max = 32), inner(length(max = 43), regex(pattern = schema::CIDR)))]
    pub database_cidrs: Vec<String>,
    /// Port of the database.
    #[schemars(range(min = 1, max = 65535))]
    pub database_port: i32,
}

impl Default for NetworkPolicyOptions {
    fn default() -> Self {
        let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
        Self {
            enabled: true,
            gateway_namespace: None,
            monitoring_namespace: "monitoring".to_owned(),
            database_cidrs: private.map(str::to_owned).into(),
            database_port: 5432,
        }
    }
}

/// How many pods may be evicted at a time.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Disruption {
    /// Whether there is a PodDisruptionBudget.
    pub enabled: bool,
    /// A number or a percentage. Zero would block the drain of every node.
    #[schemars(schema_with = "schema::count_or_percentage")]
    pub max_unavailable: IntOrString,
}

impl Default for Disruption {
    fn default() -> Self {
        Self {
            enabled: true,
            max_unavailable: IntOrString::Int(1),
        }
    }
}
