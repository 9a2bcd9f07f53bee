//! The Job that migrates before pods of a new image are started.

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::labels::{self, Component};
use super::{Target, pod, short_hash};

const CONTAINER: &str = "migrate";

/// Stands for everything that a migration depends on: the image, and what the secret says.
pub(crate) fn revision(target: &Target, secret: &str) -> String {
    short_hash(&(&target.image, &target.migrations, secret))
}

/// The Job. Its template is immutable, so its name carries the revision.
pub(crate) fn build(target: &Target, revision: &str) -> Job {
    let mut container = pod::container(target, CONTAINER, &["migrate", "--wait", "60s"]);
    // The end of the log is in the pod's status when it fails: nobody needs leave to read logs.
    container.termination_message_policy = Some("FallbackToLogsOnError".to_owned());
    let mut spec = pod::spec(target, &target.migrations, container);
    // Never, not OnFailure: failed pods and their logs stay to be read.
    spec.restart_policy = Some("Never".to_owned());
    Job {
        metadata: target.object_meta(
            &format!("{}-migrate-{revision}", target.name),
            Some(Component::Migrate),
        ),
        spec: Some(JobSpec {
            // Long enough to be seen by alerts and people.
            ttl_seconds_after_finished: Some(86_400),
            // Each try waits 60 s for the database, and the pause between tries doubles.
            backoff_limit: Some(6),
            // No activeDeadlineSeconds: a large index may take hours, and must not be cut off.
            pod_failure_policy: Some(PodFailurePolicy {
                rules: vec![
                    // The node went away: not the migration's fault.
                    PodFailurePolicyRule {
                        action: "Ignore".to_owned(),
                        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                            type_: "DisruptionTarget".to_owned(),
                            status: "True".to_owned(),
                        }]),
                        on_exit_codes: None,
                    },
                    // 2 is a bad setting: the same again will not help.
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
