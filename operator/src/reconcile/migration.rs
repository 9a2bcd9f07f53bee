//! The migration before a rollout: one Job for each image and content of the secret.

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::ContainerState;
use kube::api::DynamicObject;

use super::Context;
use super::apply::{self, Desired, Outcome, Ownership};
use super::error::{ApiResultExt as _, Error};
use crate::build::Target;
use crate::cluster::{Kind, PodState};
use crate::crd::MigrationStatus;

/// The maximum number of bytes of a log in the message of a condition.
const MAX_LOG_BYTES: usize = 1500;

/// The state of the migration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Migration {
    /// Not observed.
    #[default]
    Unknown,
    /// The database has the schema that the image needs.
    Done(MigrationStatus),
    /// The Job is running.
    Running(String),
    /// An attempt failed, and the Job will retry.
    Retrying(String),
    /// The Job failed and does not retry.
    Failed(String),
    /// An object with the name of the Job has another owner.
    Foreign(String),
}

/// Observes the migration, and starts it if it is needed.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(crate) async fn migrate(
    context: &Context,
    target: &Target,
    revision: String,
    job: &Job,
    before: Option<&MigrationStatus>,
) -> Result<Migration, Error> {
    let desired = Desired::new(Kind::Job, job)?;
    // A Job for another image or secret is obsolete.
    apply::delete_except(context, target, Kind::Job, &[&desired.name]).await?;
    let done = MigrationStatus {
        revision,
        image: target.image.clone(),
    };
    if before == Some(&done) {
        return Ok(Migration::Done(done));
    }
    let live = apply::read(context, Kind::Job, &target.namespace, &desired.name).await?;
    let running = format!("Job {} runs", desired.name);
    let Some(live) = live else {
        let outcome = apply::ensure_live(context, target, &desired, None).await?;
        return Ok(Migration::Running(match outcome {
            Outcome::Contested(..) => {
                format!(
                    "Job {} is deleted repeatedly; it is created again after a pause",
                    desired.name
                )
            }
            _ => running,
        }));
    };
    // The template of a Job is immutable, so an existing Job is not applied again.
    if apply::ownership(target, Kind::Job, &live)? == Ownership::Foreign {
        return Ok(Migration::Foreign(desired.name));
    }
    let status = live.data.get("status").cloned().unwrap_or_default();
    let status: JobStatus = serde_json::from_value(status).unwrap_or_default();
    let condition = |type_: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    if condition("Complete").is_some() {
        return Ok(Migration::Done(done));
    }
    if let Some(failure) = condition("Failed") {
        let why = failure
            .message
            .clone()
            .or_else(|| failure.reason.clone())
            .unwrap_or_default();
        let log = last_failure(&pods(context, target, &desired.name).await?);
        return Ok(Migration::Failed(failure_message(&desired.name, &why, log)));
    }
    if status.failed.unwrap_or_default() > 0 || is_slow(&live) {
        let log = last_failure(&pods(context, target, &desired.name).await?);
        if log.is_some() {
            return Ok(Migration::Retrying(failure_message(
                &desired.name,
                "not done yet",
                log,
            )));
        }
    }
    Ok(Migration::Running(running))
}

/// Whether the Job has been running for more than a minute, so that the status gives the reason.
fn is_slow(job: &DynamicObject) -> bool {
    let since = job.metadata.creation_timestamp.as_ref();
    since.is_some_and(|since| jiff::Timestamp::now().duration_since(since.0).as_secs() > 60)
}

async fn pods(context: &Context, target: &Target, job: &str) -> Result<Vec<PodState>, Error> {
    let labels = format!("batch.kubernetes.io/job-name={job}");
    let pods = context.cluster.pods(&target.namespace, &labels).await;
    pods.during(|| format!("list pods of Job {job}"))
}

fn failure_message(job: &str, why: &str, log: Option<String>) -> String {
    match log {
        Some(log) => format!("Job {job}: {why}; {log}"),
        None => format!("Job {job}: {why}"),
    }
}

/// Returns the end of the log of the newest pod that failed, or the reason why it does not start.
fn last_failure(pods: &[PodState]) -> Option<String> {
    let mut pods: Vec<_> = pods.iter().collect();
    pods.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    pods.iter().rev().find_map(|pod| {
        let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
        let of = |state: Option<&ContainerState>| -> Option<String> {
            let state = state?;
            if let Some(ended) = state
                .terminated
                .as_ref()
                .filter(|ended| ended.exit_code != 0)
            {
                let log = ended.message.as_deref().unwrap_or_default().trim();
                let log = log
                    .split_at(log.ceil_char_boundary(log.len().saturating_sub(MAX_LOG_BYTES)))
                    .1;
                return Some(format!("exit code {}: {log}", ended.exit_code));
            }
            let waiting = state.waiting.as_ref()?;
            let reason = waiting
                .reason
                .as_deref()
                .filter(|reason| *reason != "ContainerCreating")?;
            Some(format!(
                "{reason}: {}",
                waiting.message.as_deref().unwrap_or_default()
            ))
        };
        of(status.state.as_ref()).or_else(|| of(status.last_state.as_ref()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_failure_of_the_newest_pod_is_reported() {
        let pod = |time: &str, state: serde_json::Value| -> PodState {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "creationTimestamp": time},
                "status": {"containerStatuses": [{"name": "migrate", "image": "", "imageID": "",
                    "ready": false, "restartCount": 0, "state": state}]},
            }))
            .unwrap()
        };
        let failed = |message: &str| json!({"terminated": {"exitCode": 1, "message": message}});
        let pods = [
            pod("2026-01-02T00:00:00Z", failed("second\n")),
            pod("2026-01-01T00:00:00Z", failed("first")),
        ];
        assert_eq!(last_failure(&pods).as_deref(), Some("exit code 1: second"));
        let long = "é".repeat(MAX_LOG_BYTES);
        let message = last_failure(&[pod("2026-01-01T00:00:00Z", failed(&long))]).unwrap();
        assert!(message.len() <= MAX_LOG_BYTES + 20 && message.ends_with('é'));
        let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
        assert_eq!(
            last_failure(&[pod("2026-01-01T00:00:00Z", waiting)]).as_deref(),
            Some("ErrImagePull: no such image")
        );
    }
}
