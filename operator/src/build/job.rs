//! The common parts of the Jobs that migrate and that maintain.

use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Target;
use super::labels::{self, Component};

/// Builds the template of the pods of a Job.
pub(super) fn template(
    target: &Target,
    component: Component,
    mut spec: PodSpec,
) -> PodTemplateSpec {
    // Not OnFailure: failed pods and their logs remain.
    spec.restart_policy = Some("Never".to_owned());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels::pod(target, component)),
            annotations: Some(target.pods.metadata.annotations.clone())
                .filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        }),
        spec: Some(spec),
    }
}

/// What the exit code 3 of a container means for its Job: the database cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreachable {
    /// It uses up an attempt.
    IsFailure,
    /// Attempts are not counted. The pause between them doubles, up to ten minutes.
    IsRetriedIndefinitely,
}

/// Decides which failures of a container use up an attempt of its Job. The first rule that matches applies.
pub(super) fn failure_policy(container: &str, unreachable: Unreachable) -> PodFailurePolicy {
    let exit_code = |action: &str, code: i32| PodFailurePolicyRule {
        action: action.to_owned(),
        on_pod_conditions: None,
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some(container.to_owned()),
            operator: "In".to_owned(),
            values: vec![code],
        }),
    };
    // The node was drained or lost, which is not a failure of the command.
    let disruption = PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
        }]),
        on_exit_codes: None,
    };
    let mut rules = vec![disruption];
    if unreachable == Unreachable::IsRetriedIndefinitely {
        rules.push(exit_code("Ignore", 3));
    }
    // 2 is an invalid setting: a retry cannot succeed.
    rules.push(exit_code("FailJob", 2));
    PodFailurePolicy { rules }
}
