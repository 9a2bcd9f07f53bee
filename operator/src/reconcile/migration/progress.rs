//! What the pods of a migration do, and why they do not run.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::DynamicObject;

use super::super::Context;
use super::super::conditions::DEGRADED_AFTER;
use super::super::error::{ApiResultExt as _, Error};
use crate::build::Target;
use crate::cluster::PodState;
use crate::pods::{self, DISRUPTED, PodFailure, Pods, has_passed, shorten};

/// A Job that has been running for longer is examined, so that the status gives the reason.
const SLOW: Duration = Duration::from_secs(15);
/// A pod that has been starting for longer is not expected to start.
const STARTING: Duration = Duration::from_secs(60);
/// An attempt that has been running for longer is connected to the database, so the failure of the attempt before is
/// over: `migrate --wait 60s` ends after a minute without a connection.
const CONNECTED: Duration = Duration::from_secs(90);

/// Why a migration is not complete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// The reason in one word, such as `Unschedulable`.
    pub(crate) reason: &'static str,
    /// A description for a condition.
    pub(crate) message: String,
    /// The complete description for an event.
    pub(crate) detail: String,
    /// Whether it has lasted so long that it needs attention.
    pub(crate) is_lasting: bool,
}

impl Report {
    /// Reports the last failure of a Job that does not retry, and why it does not.
    pub(super) fn failed(job: &str, why: &str, failure: Option<PodFailure>) -> Self {
        let (message, detail) = match &failure {
            Some(failure) => (
                failure.message.clone(),
                format!("Job {job}: {why}; {}", failure.detail),
            ),
            None => (shorten(why), format!("Job {job}: {why}")),
        };
        Self {
            reason: failure.map_or("MigrationFailed", |failure| failure.reason),
            message,
            detail,
            is_lasting: true,
        }
    }

    pub(super) fn retrying(job: &str, failure: PodFailure) -> Self {
        Self {
            reason: failure.reason,
            is_lasting: failure.has_lasted(DEGRADED_AFTER, Timestamp::now()),
            detail: format!("Job {job}: not done yet; {}", failure.detail),
            message: failure.message,
        }
    }
}

/// Whether the Job has been running for so long that something may prevent it.
pub(super) fn is_slow(job: &DynamicObject) -> bool {
    is_older(
        job.metadata.creation_timestamp.as_ref().map(|time| time.0),
        SLOW,
    )
}

fn is_older(since: Option<Timestamp>, duration: Duration) -> bool {
    since.is_some_and(|since| has_passed(since, duration, Timestamp::now()))
}

/// Returns the failure of the newest pod that failed.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(super) async fn last_failure(
    context: &Context,
    target: &Target,
    job: &DynamicObject,
) -> Result<Option<PodFailure>, Error> {
    let Pods { failures, .. } = inspect(context, target, job, false).await?;
    Ok(failures.into_iter().find(|it| it.reason != DISRUPTED))
}

/// Returns why the migration does not run now, or the failure of the attempt before if the current one may fail for the
/// same reason.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(super) async fn current_failure(
    context: &Context,
    target: &Target,
    job: &DynamicObject,
) -> Result<Option<PodFailure>, Error> {
    Ok(relevant(inspect(context, target, job, true).await?))
}

fn relevant(Pods { pods, failures }: Pods) -> Option<PodFailure> {
    let newest = pods.first();
    let of_newest = |failure: &PodFailure| {
        let name = newest.and_then(|pod| pod.metadata.name.as_ref());
        failure.pod.is_none() || failure.pod.as_ref() == name
    };
    let is_connected = newest.is_some_and(|pod| is_older(pods::running_since(pod), CONNECTED));
    let current = failures
        .iter()
        .find(|failure| of_newest(failure) || (!is_connected && failure.reason != DISRUPTED))?;
    // Each attempt has its own pod: the failure began with the first of them.
    let same = failures.iter().filter(|it| it.reason == current.reason);
    let since = same.filter_map(|failure| failure.since).min();
    Some(PodFailure {
        since,
        ..current.clone()
    })
}

/// Whether a pod of the Job runs or is about to.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(super) async fn has_active_pod(
    context: &Context,
    target: &Target,
    job: &DynamicObject,
) -> Result<bool, Error> {
    let Pods { pods, failures } = inspect(context, target, job, false).await?;
    let fails = |pod: &PodState| {
        failures
            .iter()
            .any(|failure| failure.pod == pod.metadata.name)
    };
    Ok(pods.iter().any(|pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        pod.metadata.deletion_timestamp.is_none()
            && !pods::has_ended(pod)
            && (pods::running_since(pod).is_some() || (!fails(pod) && !is_older(created, STARTING)))
    }))
}

/// Reads and explains the pods of a Job, and with `rejections` also pods that could not be created.
async fn inspect(
    context: &Context,
    target: &Target,
    job: &DynamicObject,
    rejections: bool,
) -> Result<Pods, Error> {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let labels = format!("batch.kubernetes.io/job-name={name}");
    let owner = job.metadata.uid.as_deref().filter(|_| rejections);
    let pods = pods::inspect(&context.cluster, &target.namespace, &labels, owner).await;
    pods.during(|| format!("list pods of Job {name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, created: Timestamp, status: Value) -> PodState {
        let metadata = json!({"name": name, "creationTimestamp": created});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    fn running(name: &str, since: Timestamp) -> PodState {
        let state = json!({"running": {"startedAt": since}});
        pod(
            name,
            since,
            json!({"phase": "Running", "containerStatuses": [
            {"name": "migrate", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state}]}),
        )
    }

    fn ended(name: &str, at: Timestamp, code: i32) -> PodState {
        let state =
            json!({"terminated": {"exitCode": code, "startedAt": at, "message": "because"}});
        pod(
            name,
            at,
            json!({"phase": "Failed", "containerStatuses": [
            {"name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]}),
        )
    }

    fn evicted(name: &str, at: Timestamp) -> PodState {
        let condition = json!([{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]);
        pod(
            name,
            at,
            json!({"phase": "Failed", "conditions": condition}),
        )
    }

    fn seconds_ago(seconds: i64) -> Timestamp {
        Timestamp::now() - jiff::SignedDuration::from_secs(seconds)
    }

    fn found(pods: Vec<PodState>) -> Option<PodFailure> {
        let failures = pods.iter().filter_map(|pod| pods::explain(pod, &[]));
        relevant(Pods {
            failures: failures.collect(),
            pods,
        })
    }

    #[test]
    fn a_failure_began_with_the_first_attempt() {
        let (first, second) = (seconds_ago(300), seconds_ago(30));
        let failure = found(vec![ended("b", second, 3), ended("a", first, 3)]).unwrap();
        assert_eq!(failure.reason, "DatabaseUnreachable");
        assert_eq!(failure.since, Some(first));
        assert_eq!(failure.pod.as_deref(), Some("b"));
    }

    #[test]
    fn the_failure_of_the_attempt_before_is_over_when_the_current_one_is_connected() {
        let before = ended("a", seconds_ago(300), 3);
        let waiting = running("b", seconds_ago(30));
        assert!(found(vec![waiting, before.clone()]).is_some());
        let connected = running("b", seconds_ago(100));
        assert_eq!(found(vec![connected, before]), None);
    }

    #[test]
    fn an_eviction_is_no_failure_of_the_attempt_after_it() {
        let before = evicted("a", seconds_ago(300));
        assert!(found(vec![before.clone()]).is_some());
        assert_eq!(found(vec![running("b", seconds_ago(30)), before]), None);
    }
}
