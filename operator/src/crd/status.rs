//! The status of an OrderService.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// The state that the operator observed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrderServiceStatus {
    /// Generation of the spec to which this status refers. -1 until the operator has written the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Number of pods.
    pub replicas: i32,
    /// Number of ready pods.
    pub ready_replicas: i32,
    /// Label selector of the pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Image of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Version of the schema of the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The last migration that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationStatus>,
    /// The rollout that failed. Absent while it is retried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_revision: Option<FailedRevision>,
    /// Version of the operator that caused that rollout, if the spec did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_operator_version: Option<String>,
    /// Generation of the spec whose pod template has rolled out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_generation: Option<i64>,
    /// The copies of the URL of the database.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub database_secrets: Vec<String>,
    /// The retries of failed rollouts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryStatus>,
    /// Ready, Available, Progressing, Degraded, Migrated, Secured, Paused and Conflict; Monitored with a PodMonitor;
    /// and Reconciling or Stalled while they are True.
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A migration that succeeded.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MigrationStatus {
    /// Hash of everything that the migration depends on: the image and the secret.
    pub revision: String,
    /// The image that migrated.
    pub image: String,
}

/// A rollout that failed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedRevision {
    /// Hash of the pod template that failed.
    pub revision: String,
    /// Hash of that template without the URL of the database. Present if the URL is not the cause: the template then
    /// stays failed when the URL changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Digest of the URL of the database if it may be the cause, or the name of its secret with
    /// `onSecretChange: Reload`. Pods of the last good template do not get it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_digest: Option<String>,
    /// The reason in one word.
    pub reason: String,
    /// A human-readable description, with the reason of a pod that did not run.
    pub message: String,
    /// Why a pod did not run, in one word, such as `ImagePullBackOff`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When the operator retries it. Absent if it does not retry it by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Time>,
}

/// The retries of failed rollouts.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryStatus {
    /// The value of the annotation `orders.example.com/retry` that was handled last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The revision to which `attempts` refers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// How often the operator has retried that revision by itself since it last changed or was requested.
    #[serde(default)]
    pub attempts: u32,
}

/// A condition of an OrderService.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type of the condition.
    #[serde(rename = "type")]
    #[schemars(length(max = 316))]
    pub type_: String,
    /// Status of the condition.
    pub status: ConditionStatus,
    /// Generation of the spec to which the condition refers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Time at which the status last changed.
    pub last_transition_time: Time,
    /// The reason in one word that does not change between versions.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// A human-readable description.
    #[serde(default)]
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is unknown whether it holds.
    Unknown,
}

impl ConditionStatus {
    /// The status as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}
