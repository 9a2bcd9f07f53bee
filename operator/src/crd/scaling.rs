//! How many pods run, and how many of them may be replaced or evicted at the same time.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

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

/// The most pods that may be evicted at the same time.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Disruption {
    /// Whether a PodDisruptionBudget is created.
    pub enabled: bool,
    /// The most pods that may be evicted at the same time: a number or a percentage. Not zero, which would
    /// block the drain of every node.
    #[schemars(schema_with = "schema::count_or_percentage_above_zero")]
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

/// How pods are replaced during a rollout.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!(string(self.maxSurge) in ['0', '0%'] && string(self.maxUnavailable) in ['0', '0%'])",
    "message": "rollout.maxSurge and rollout.maxUnavailable must not both be zero: no pod could be replaced",
}]))]
pub struct RolloutStrategy {
    /// The most pods above the desired number: a number or a percentage. Each may open `settings.poolMaxSize`
    /// connections to the database.
    #[schemars(schema_with = "schema::count_or_percentage")]
    pub max_surge: IntOrString,
    /// The most pods that may be missing: a number or a percentage.
    #[schemars(schema_with = "schema::count_or_percentage")]
    pub max_unavailable: IntOrString,
}

impl Default for RolloutStrategy {
    fn default() -> Self {
        Self {
            // A number, not a percentage: it bounds the database connections that a rollout adds.
            max_surge: IntOrString::Int(1),
            max_unavailable: IntOrString::Int(0),
        }
    }
}
