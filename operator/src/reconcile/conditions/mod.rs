//! Decides the status, reason and message of each condition. Pure functions.

mod available;
mod degraded;
mod migrated;
mod monitored;
mod ownership;
mod progress;
mod ready;
mod secured;

use std::time::Duration;

pub(super) use available::available;
pub(super) use degraded::degraded;
pub(super) use migrated::migrated;
pub(super) use monitored::monitored;
pub(super) use ownership::{conflict, paused};
pub(super) use progress::{progressing, reconciling, stalled};
pub(super) use ready::ready;
pub(super) use secured::secured;

use super::rollout::Rollout;
use super::status::Observation;
use crate::build::{Replicas, Target};
use crate::crd::{Condition, ConditionStatus};

/// A shortage of pods, or a pod that does not run, is reported in `Degraded` when it has lasted this long. Pods that
/// are added or moved to another node need some seconds.
pub(super) const DEGRADED_AFTER: Duration = Duration::from_secs(60);

/// Status, reason and message of a condition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Verdict {
    pub(super) status: ConditionStatus,
    pub(super) reason: &'static str,
    /// The condition contains its start.
    pub(super) message: String,
    /// The text of an event, if it is longer than the message.
    pub(super) detail: Option<String>,
}

impl Verdict {
    fn new(status: ConditionStatus, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            reason,
            message: message.into(),
            detail: None,
        }
    }

    fn with_detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }
}

fn condition_true(reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict::new(ConditionStatus::True, reason, message)
}

fn condition_false(reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict::new(ConditionStatus::False, reason, message)
}

/// Formats the conflicts as a list in a sentence.
fn conflict_names(observation: &Observation) -> String {
    let names: Vec<_> = observation
        .conflicts
        .iter()
        .map(|(kind, name)| format!("{} {name}", kind.as_str()))
        .collect();
    names.join(", ")
}

/// Returns the reason and message of an obstacle that prevents all progress.
fn obstacle(observation: &Observation) -> Option<(&'static str, String)> {
    let conflict = || {
        let names = conflict_names(observation);
        (!names.is_empty()).then(|| ("Conflict", format!("has another owner: {names}")))
    };
    fn display<T: ToString>(
        reason: &'static str,
        message: Option<&T>,
    ) -> Option<(&'static str, String)> {
        message.map(|message| (reason, message.to_string()))
    }
    display("InvalidSpec", observation.invalid.as_ref())
        .or_else(conflict)
        .or_else(|| display("SecretNotFound", observation.missing_secret.as_ref()))
        .or_else(|| display("ApplyFailed", observation.refused.as_ref()))
}

/// The number of available pods that `Ready` requires.
fn required_replicas(target: Option<&Target>, rollout: &Rollout) -> i32 {
    match target.map(|target| &target.replicas) {
        Some(Replicas::Fixed(replicas)) => *replicas,
        // `Ready` must not change each time the autoscaler adds a pod.
        Some(Replicas::Autoscaled(autoscaling)) => {
            autoscaling.min_replicas.min(rollout.desired_replicas)
        }
        None => rollout.desired_replicas,
    }
}

/// Whether the desired template is running.
fn is_desired(observation: &Observation, rollout: &Rollout) -> bool {
    let current = rollout.current.as_ref().map(|current| current.revision());
    // The desired template is unknown if a secret is missing while the object is paused.
    observation
        .desired
        .as_deref()
        .is_none_or(|desired| current == Some(desired))
}

/// Describes the pods, and why one of them does not run.
fn describe_pods(observation: &Observation, rollout: &Rollout, required_replicas: i32) -> String {
    let counts = format!(
        "{} of {required_replicas} replicas are available, {} of the current template",
        rollout.available, rollout.updated
    );
    match &observation.pod_failure {
        Some(failure) => format!("{counts}; {}", failure.message),
        None => counts,
    }
}

/// The image of the spec.
fn desired_image(target: Option<&Target>) -> &str {
    target.map_or("the desired image", |target| target.image.as_str())
}

/// The verdict of an earlier status, if there is one.
fn unchanged(before: Option<&Condition>) -> Verdict {
    match before {
        Some(before) => Verdict::new(
            before.status,
            known_reason(&before.reason),
            before.message.clone(),
        ),
        None => Verdict::new(ConditionStatus::Unknown, "Pending", ""),
    }
}

/// Returns the static text of a reason that an earlier status contains.
fn known_reason(reason: &str) -> &'static str {
    const REASONS: [&str; 16] = [
        "Migrated",
        "MigrationFailed",
        "MigrationRetrying",
        "Migrating",
        "Conflict",
        "SecretNotFound",
        "CredentialsRequired",
        "AuthNotConfigured",
        "AnonymousAll",
        "NoCredentials",
        "RollingOut",
        "ReconcileFailing",
        "MinimumReplicasAvailable",
        "MinimumReplicasUnavailable",
        "PodMonitorApplied",
        "PodMonitorNotSupported",
    ];
    REASONS
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("Pending")
}
