//! The spec of an OrderService.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Auth, Autoscaling, Database, Disruption, LocalSecretRef, Maintenance, Migrations, Monitoring,
    NetworkPolicyOptions, OrderServiceStatus, PodMetadata, PodTemplate, PodUser, Resources,
    RolloutStrategy, Scheduling, ServiceAccountOptions, Settings, schema,
};

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
    /// How pods are replaced during a rollout.
    #[serde(default)]
    pub rollout: RolloutStrategy,
    /// Secrets with the credentials of the registry of the image. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<LocalSecretRef>,
    /// Where the pods run.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// Labels and annotations of the pods.
    #[serde(default)]
    pub pod_metadata: PodMetadata,
    /// Additions to the pods that serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// Who decides the user and the group of the pods: `Fixed` is 65532, `Platform` leaves them to the platform, as
    /// OpenShift requires.
    #[serde(default)]
    pub security_context: PodUser,
    /// The ServiceAccount of the pods.
    #[serde(default)]
    pub service_account: ServiceAccountOptions,
    /// Monitoring.
    #[serde(default)]
    pub monitoring: Monitoring,
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
