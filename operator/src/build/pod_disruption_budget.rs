//! How many pods may be evicted at the same time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

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

/// Builds the PodDisruptionBudget that protects the pod of a running migration, or returns `None` if budgets are
/// disabled.
///
/// Pods of Jobs have no scale, so only an absolute `minAvailable` works for them. A pod that has ended or has not
/// started may be evicted in any case, so a drain waits only for a running migration.
/// <https://kubernetes.io/docs/tasks/run-application/configure-pdb/#arbitrary-controllers-and-selectors>
pub(crate) fn for_migration(target: &Target) -> Option<PodDisruptionBudget> {
    let component = Some(Component::Migrate);
    let name = format!("{}-migrate", target.name);
    target.disruption.enabled.then(|| PodDisruptionBudget {
        metadata: target.object_meta(&name, component),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(1)),
            // The pod of a node that does not respond any more must not block its drain.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            selector: Some(labels::label_selector(labels::selector(target, component))),
            max_unavailable: None,
        }),
        status: None,
    })
}
