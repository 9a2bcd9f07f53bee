//! As much of a pod as is ever looked at. The whole type would double what the operator takes in memory.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;

/// How a pod stands.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct PodState {
    /// Its name, above all.
    pub metadata: ObjectMeta,
    /// What its node says of it.
    #[serde(default)]
    pub status: Option<ContainerStatuses>,
}

/// How the containers of a pod stand.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatuses {
    /// Each of them, once its node knows of it.
    #[serde(default)]
    pub container_statuses: Option<Vec<ContainerStatus>>,
}
