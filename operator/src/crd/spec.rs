//! The spec of an OrderService.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Auth, Maintenance, OrderServiceStatus, Settings, schema};

/// The desired order-service: image, number of pods, database and settings.
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
    doc = "An order-service that the operator deploys, migrates and upgrades.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the desired pods are available"
    ),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].status",
        description = "Whether enough pods serve, of whatever version"
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
        description = "The version of the schema of the database"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "Number of pods"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Desired Image",
        type_ = "string",
        json_path = ".spec.image",
        description = "The image of the spec",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "The reason of the condition Ready",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        description = "The message of the condition Ready",
        priority = 1
    ),
    validation = kube::core::Rule::new("size(self.metadata.name) <= 43 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("metadata.name must be a DNS label that starts with a letter, of at most 43 characters: Services, Jobs and CronJobs are named after it")
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.replicas) != has(self.autoscaling)",
    "message": "give either replicas or autoscaling, and not both",
}, {
    "rule": "has(self.settings.orderRetention) == has(self.maintenance.archive)",
    "message": "give both settings.orderRetention and maintenance.archive, or neither: orders are removed only after they are archived",
}]))]
pub struct OrderServiceSpec {
    /// Image of the service, with a tag other than `latest` that is never moved, or with a digest. With both,
    /// the digest decides.
    #[schemars(length(min = 1, max = 512), regex(pattern = schema::IMAGE))]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self.contains('@sha256:') || (self.matches(':[^/]+$') && !self.endsWith(':latest'))",
        "message": "image needs a tag other than latest, or a digest",
    }]))]
    pub image: String,
    /// Number of pods. Excludes `autoscaling`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// Bounds of a HorizontalPodAutoscaler that decides the number of pods. Excludes `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// The database.
    pub database: Database,
    /// The database role of the migration, if it differs from that of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,
    /// Who may call. Without it, requests need no credentials and may do everything, and the condition `Secured`
    /// is False.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Requests and limits of each pod. An omitted one has its default.
    #[serde(default)]
    pub resources: Resources,
    /// Settings of the service.
    #[serde(default)]
    pub settings: Settings,
    /// The allowed traffic.
    #[serde(default)]
    pub network_policy: NetworkPolicyOptions,
    /// The most pods that may be evicted at the same time.
    #[serde(default)]
    pub disruption: Disruption,
    /// The runs of `order-service maintain`.
    #[serde(default)]
    pub maintenance: Maintenance,
    /// Seconds without progress after which a rollout is rolled back to the last good version.
    #[serde(default = "default_progress_deadline")]
    #[schemars(range(min = 30, max = 86400))]
    pub progress_deadline_seconds: i32,
    /// While true, only the status is written.
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
    /// The fewest pods. Not above `maxReplicas`.
    #[serde(default = "default_min_replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: i32,
    /// The most pods. Multiplied by `settings.poolMaxSize` they must not exceed the connections of the
    /// database.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Target of the CPU utilization in percent of the request. The request is not a limit, so this may be above
    /// 100.
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

/// The database.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// Secret with the URL of the database. Immutable: another database has other orders and needs another
    /// OrderService. To move the database or to rotate its password, change the data of the secret.
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "self == oldSelf",
        "message": "database.secretRef is immutable: change the data of the secret, or create another OrderService",
    }]))]
    pub secret_ref: SecretKeyRef,
}

/// The database role of the migration.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Migrations {
    /// Secret with the URL of the role that owns the tables.
    pub secret_ref: SecretKeyRef,
}

/// One key of a secret in the same namespace.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub name: String,
    /// Key of the secret whose value is the URL.
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
    /// Guaranteed resources of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceRequests>,
    /// Limits of the resources of each pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceLimits>,
}

/// Guaranteed resources of each pod.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResourceRequests {
    /// CPU; also decides `WORKERS`. Default: `100m`, or the limit if that is lower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub cpu: Option<Quantity>,
    /// Memory. Default: `32Mi`, or the limit if that is lower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub memory: Option<Quantity>,
    /// Storage for the log on the node. Default: `64Mi`, or the limit if that is lower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub ephemeral_storage: Option<Quantity>,
}

/// Limits of the resources of each pod.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResourceLimits {
    /// CPU. A limit increases the latency. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub cpu: Option<Quantity>,
    /// Memory. Default: `128Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub memory: Option<Quantity>,
    /// Storage for the log on the node. Default: `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity")]
    pub ephemeral_storage: Option<Quantity>,
}

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
    /// Address ranges of the database.
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

/// The most pods that may be evicted at the same time.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Disruption {
    /// Whether a PodDisruptionBudget is created.
    pub enabled: bool,
    /// The most pods that may be evicted at the same time: a number or a percentage. Not zero, which would
    /// block the drain of every node.
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
