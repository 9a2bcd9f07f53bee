//! The CronJob that creates partitions and applies the retention.

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, JobSpec, JobTemplateSpec};
use k8s_openapi::api::core::v1::{
    Container, PersistentVolumeClaimVolumeSource, PodSpec, Volume, VolumeMount,
};

use super::labels::Component;
use super::{Target, job, pod};
use crate::crd::{Archive, Maintenance};

const CONTAINER: &str = "maintain";
const ARCHIVE_VOLUME: &str = "archive";
const ARCHIVE_DIRECTORY: &str = "/var/lib/order-service/archive";
/// How late a run may start, and how long it may take. Together less than a day, so that a run does not delay the one
/// of the next day.
const SIX_HOURS: i64 = 21_600;

/// Builds the CronJob, or returns `None` if it is disabled. Runs read their settings from `config_map`.
pub(crate) fn build(target: &Target, config_map: &str) -> Option<CronJob> {
    let Maintenance {
        enabled,
        schedule,
        suspend,
        archive,
    } = &target.maintenance;
    enabled.then(|| CronJob {
        metadata: target.object_meta(
            &format!("{}-maintain", target.name),
            Some(Component::Maintain),
        ),
        spec: Some(CronJobSpec {
            schedule: schedule.clone(),
            time_zone: Some("Etc/UTC".to_owned()),
            suspend: Some(*suspend),
            // A lock in the database excludes a second run anyway, which would end at once.
            concurrency_policy: Some("Forbid".to_owned()),
            starting_deadline_seconds: Some(SIX_HOURS),
            successful_jobs_history_limit: Some(1),
            failed_jobs_history_limit: Some(3),
            job_template: JobTemplateSpec {
                metadata: None,
                spec: Some(JobSpec {
                    // A run that hangs must not block the next ones.
                    active_deadline_seconds: Some(SIX_HOURS),
                    // The database may be unreachable. The pause between attempts doubles, up to six minutes.
                    backoff_limit: Some(6),
                    pod_failure_policy: Some(job::failure_policy(
                        CONTAINER,
                        job::Unreachable::IsFailure,
                    )),
                    template: job::template(
                        target,
                        Component::Maintain,
                        pod_spec(target, config_map, archive.as_ref()),
                    ),
                    ..JobSpec::default()
                }),
            },
        }),
        status: None,
    })
}

fn pod_spec(target: &Target, config_map: &str, archive: Option<&Archive>) -> PodSpec {
    let args: &[&str] = match archive {
        Some(_) => &["maintain", "--archive-to", ARCHIVE_DIRECTORY],
        None => &["maintain"],
    };
    let container = Container {
        env_from: Some(pod::settings(config_map)),
        ..pod::container(target, CONTAINER, args)
    };
    let mut spec = pod::spec(target, &target.migrations, container);
    if let Some(Archive { claim_name }) = archive {
        mount(&mut spec, claim_name);
    }
    spec
}

fn mount(spec: &mut PodSpec, claim_name: &str) {
    spec.volumes.get_or_insert_default().push(Volume {
        name: ARCHIVE_VOLUME.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim_name.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    });
    for container in &mut spec.containers {
        container
            .volume_mounts
            .get_or_insert_default()
            .push(VolumeMount {
                name: ARCHIVE_VOLUME.to_owned(),
                mount_path: ARCHIVE_DIRECTORY.to_owned(),
                ..VolumeMount::default()
            });
    }
}
