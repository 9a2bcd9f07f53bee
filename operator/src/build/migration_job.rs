//! The Job that migrates the schema before pods of a new image start.

use k8s_openapi::api::batch::v1::{Job, JobSpec};

use super::labels::Component;
use super::{Target, job, pod, short_hash};

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
    let spec = pod::spec(target, &target.migrations, container);
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
            pod_failure_policy: Some(job::failure_policy(CONTAINER)),
            template: job::template(target, Component::Migrate, spec),
            ..JobSpec::default()
        }),
        status: None,
    }
}
