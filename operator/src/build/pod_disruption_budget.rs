//! The maximum number of pods that may be evicted at the same time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};

use super::Target;
use super::labels::{self, Component};
use crate::crd::Disruption;

/// Builds the PodDisruptionBudget, or returns `None` if it is disabled.
pub(crate) fn build(target: &Target) -> Option<PodDisruptionBudget> {
    let Disruption {
        enabled,
        max_unavailable,
    } = &target.disruption;
    let component = Some(Component::Server);
    enabled.then(|| PodDisruptionBudget {
        metadata: target.object_meta(&target.name, component),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(max_unavailable.clone()),
            // Pods that are not ready must not block the drain of a node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            selector: Some(labels::label_selector(labels::selector(target, component))),
            min_available: None,
        }),
        status: None,
    })
}
