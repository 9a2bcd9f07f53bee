//! The Job that migrates the schema before pods of a new image start.

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::labels::{self, Component};
use super::{Target, pod, short_hash};

const CONTAINER: &str = "migrate";

/// Identifies everything that the migration depends on: the image and the content of the secret.
pub(crate) fn revision(target: &Target, secret: &str) -> String {
    short_hash(&(&target.image, &target.migrations, secret))
}

/// Builds the Job. The template of a Job is immutable, so the name of the Job contains the revision.
pub(crate) fn build(target: &Target, revision: &str) -> Job {
    let mut container = pod::container(target, CONTAINER, &["migrate", "--wait", "60s"]);
    // If the migration fails, the end of the log is in the status of the pod, so the operator needs no permission
    // to read logs.
    container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    let mut spec = pod::spec(target, &target.migrations, container);
    // Not OnFailure: failed pods and their logs remain.
    spec.restart_policy = Some("Never".to_owned());
    Job {
        metadata: target.object_meta(
            &format!("{}-migrate-{revision}", target.name),
            Some(Component::Migrate),
        ),
        spec: Some(JobSpec {
            // One day, so that alerts and administrators see it.
            ttl_seconds_after_finished: Some(86_400),
            // Each attempt waits 60 s for the database, and the pause between attempts doubles.
            backoff_limit: Some(6),
            // No activeDeadlineSeconds: creating a large index may take hours and must not be interrupted.
            pod_failure_policy: Some(PodFailurePolicy {
                rules: vec![
                    // The node was drained or lost, which is not a failure of the migration.
                    PodFailurePolicyRule {
                        action: "Ignore".to_owned(),
                        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                            type_: "DisruptionTarget".to_owned(),
                            status: "True".to_owned(),
                        }]),
                        on_exit_codes: None,
                    },
                    // 2 is an invalid setting: a retry cannot succeed.
                    PodFailurePolicyRule {
                        action: "FailJob".to_owned(),
                        on_pod_conditions: None,
                        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                            container_name: Some(CONTAINER.to_owned()),
                            operator: "In".to_owned(),
                            values: vec![2],
                        }),
                    },
                ],
            }),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels::pod(target, Component::Migrate)),
                    ..ObjectMeta::default()
                }),
                spec: Some(spec),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}
