//! The fields of a pod that the operator reads. The complete type would double the memory of the operator.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::Deserialize;

/// A pod.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct PodState {
    /// Name and creation time.
    pub metadata: ObjectMeta,
    /// The status, as the kubelet reports it.
    #[serde(default)]
    pub status: Option<ContainerStatuses>,
}

/// The status of a pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatuses {
    /// The status of each container, once the kubelet has reported it.
    #[serde(default)]
    pub container_statuses: Option<Vec<ContainerStatus>>,
}
