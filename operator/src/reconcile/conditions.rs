//! Decides the status, reason and message of each condition. Pure functions.

use super::migration::Migration;
use super::rollout::Rollout;
use super::status::{Observation, find};
use crate::build::access::{Access, Anonymous, template_is_secured};
use crate::build::{Replicas, Target};
use crate::crd::{Condition, ConditionStatus, OrderServiceStatus};
use crate::fleet::Wait;

/// Status, reason and message of a condition.
pub(super) type Verdict = (ConditionStatus, &'static str, String);

fn condition_true(reason: &'static str, message: impl Into<String>) -> Verdict {
    (ConditionStatus::True, reason, message.into())
}

fn condition_false(reason: &'static str, message: impl Into<String>) -> Verdict {
    (ConditionStatus::False, reason, message.into())
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

/// Returns the verdict of a migration that is not complete.
fn migration_verdict(observation: &Observation) -> Option<Verdict> {
    match &observation.migration {
        Migration::Failed(message) => Some(condition_false("MigrationFailed", message)),
        Migration::Retrying(message) => Some(condition_false("MigrationRetrying", message)),
        Migration::Running(message) => Some(condition_false("Migrating", message)),
        Migration::Foreign(_) | Migration::Done(_) | Migration::Unknown => None,
    }
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

fn replica_counts(rollout: &Rollout, required_replicas: i32) -> String {
    format!(
        "{} of {required_replicas} replicas are available, {} of the current template",
        rollout.available, rollout.updated
    )
}

pub(super) fn ready(observation: &Observation, target: Option<&Target>) -> Verdict {
    if let Some(failing) = &observation.failing {
        return (
            ConditionStatus::Unknown,
            "ReconcileFailing",
            failing.clone(),
        );
    }
    if let Some((reason, message)) = obstacle(observation) {
        return condition_false(reason, message);
    }
    if let Some(failed) = observation
        .plan
        .as_ref()
        .and_then(|plan| plan.failed.as_ref())
    {
        let is_rolled_back = observation.desired.as_deref()
            != observation
                .plan
                .as_ref()
                .map(|plan| plan.template.revision());
        let reason = if is_rolled_back {
            "RolledBack"
        } else {
            "RolloutFailed"
        };
        return condition_false(reason, failed.message.clone());
    }
    if let Some(verdict) = migration_verdict(observation) {
        return verdict;
    }
    let Some(rollout) = &observation.rollout else {
        return condition_false("Pending", "there are no pods yet");
    };
    let required_replicas = required_replicas(target, rollout);
    let good = rollout.is_good() || rollout.is_complete();
    if !good || !is_desired(observation, rollout) {
        return condition_false("RollingOut", replica_counts(rollout, required_replicas));
    }
    if !rollout.observed
        || rollout.available < required_replicas
        || rollout.desired_replicas < required_replicas
    {
        return condition_false(
            "ReplicasUnavailable",
            replica_counts(rollout, required_replicas),
        );
    }
    condition_true(
        "Available",
        format!("at least {required_replicas} replicas are available"),
    )
}

pub(super) fn progressing(observation: &Observation, target: Option<&Target>) -> Verdict {
    if observation.paused {
        return condition_false("Paused", "nothing is written while spec.paused is true");
    }
    if let Some(failing) = &observation.failing {
        return condition_true("ReconcileFailing", failing);
    }
    if let Some((reason, message)) = obstacle(observation) {
        return condition_false(reason, message);
    }
    match &observation.migration {
        Migration::Failed(message) => return condition_false("MigrationFailed", message),
        Migration::Running(message) | Migration::Retrying(message) => {
            return condition_true("Migrating", message);
        }
        _ => {}
    }
    match observation.queued {
        Some(wait @ Wait::Queued) => return condition_false("RolloutQueued", wait.to_string()),
        Some(wait @ Wait::Held) => return condition_false("RolloutHeld", wait.to_string()),
        None => {}
    }
    let failed = observation
        .plan
        .as_ref()
        .is_some_and(|plan| plan.failed.is_some());
    match &observation.rollout {
        None => condition_true("Pending", "there are no pods yet"),
        Some(rollout) if rollout.is_complete() && (failed || is_desired(observation, rollout)) => {
            condition_false("Complete", "nothing is in progress")
        }
        Some(rollout) if failed && rollout.deadline_exceeded.is_some() => condition_false(
            "RolloutFailed",
            replica_counts(rollout, required_replicas(target, rollout)),
        ),
        Some(rollout) => {
            let reason = if failed { "RollingBack" } else { "RollingOut" };
            condition_true(
                reason,
                replica_counts(rollout, required_replicas(target, rollout)),
            )
        }
    }
}

pub(super) fn degraded(observation: &Observation, target: Option<&Target>) -> Verdict {
    if let Some(failing) = &observation.failing {
        let message = format!("retried without success: {failing}");
        return condition_true("ReconcileFailing", message);
    }
    if let Some((reason, message)) = obstacle(observation) {
        return condition_true(reason, message);
    }
    if let Some(plan) = &observation.plan
        && let Some(failed) = &plan.failed
    {
        let reason = if failed.reason == "CrashLoopBackOff" {
            "CrashLoopBackOff"
        } else {
            "ProgressDeadlineExceeded"
        };
        let rollback = if plan.template.revision() == failed.revision {
            "there is nothing to roll back to".to_owned()
        } else {
            format!(
                "rolled back to {}",
                plan.template.image().unwrap_or("the last good template")
            )
        };
        let message = format!(
            "{}; {rollback}; not retried until the spec changes",
            failed.message
        );
        return condition_true(reason, message);
    }
    if let Migration::Failed(message) = &observation.migration {
        return condition_true("MigrationFailed", message);
    }
    if let Some(contested) = &observation.contested {
        return condition_true("Contested", contested);
    }
    if let Some(rollout) = &observation.rollout {
        let required_replicas = required_replicas(target, rollout);
        let scaling = rollout.replicas < required_replicas;
        if rollout.observed
            && rollout.is_good()
            && !scaling
            && rollout.available < required_replicas
        {
            return condition_true(
                "ReplicasUnavailable",
                replica_counts(rollout, required_replicas),
            );
        }
    }
    condition_false("AsExpected", "")
}

pub(super) fn migrated(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
) -> Verdict {
    if let Migration::Done(_) = observation.migration {
        let image = target.map_or("", |target| target.image.as_str());
        return condition_true(
            "Migrated",
            format!("the database has the schema of {image}"),
        );
    }
    if let Some(verdict) = migration_verdict(observation) {
        return verdict;
    }
    if let Migration::Foreign(job) = &observation.migration {
        return condition_false("Conflict", format!("Job {job} has another owner"));
    }
    if let Some(missing) = &observation.missing_secret {
        return condition_false("SecretNotFound", missing.to_string());
    }
    // The migration was not observed, because the object is paused or because the reconcile ended before.
    unchanged(find(before, "Migrated"))
}

/// The verdict of an earlier status, if there is one.
fn unchanged(before: Option<&Condition>) -> Verdict {
    match before {
        Some(before) => (
            before.status,
            known_reason(&before.reason),
            before.message.clone(),
        ),
        None => (ConditionStatus::Unknown, "Pending", String::new()),
    }
}

/// Returns the static text of a reason that an earlier status contains.
fn known_reason(reason: &str) -> &'static str {
    const REASONS: [&str; 11] = [
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
    ];
    REASONS
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("Pending")
}

/// Decides by the spec and by the pods: after a rollback, or before the end of a rollout, pods may be open although
/// the spec is not.
pub(super) fn secured(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
) -> Verdict {
    let before = find(before, "Secured");
    let Some(target) = target else {
        return unchanged(before);
    };
    let Access { secret, anonymous } = &target.access;
    let Anonymous::Scopes(scopes) = anonymous else {
        return if *anonymous == Anonymous::Unset {
            let message = "spec.auth is not set: requests without credentials may do everything";
            condition_false("AuthNotConfigured", message)
        } else {
            let message = "spec.auth.anonymous allows everything to requests without credentials";
            condition_false("AnonymousAll", message)
        };
    };
    let Some(secret) = secret else {
        let message = "spec.auth has no secretRef: no request can have credentials";
        return condition_false("NoCredentials", message);
    };
    let Some(rollout) = &observation.rollout else {
        let is_unobserved = observation.failing.is_some() || observation.refused.is_some();
        return unchanged(before.filter(|_| is_unobserved));
    };
    let current = rollout.current.as_ref();
    if !current.is_some_and(|current| template_is_secured(&current.0)) {
        let message = "the pods run with earlier settings, which allow everything";
        return condition_false("RollingOut", message);
    }
    let was_secured = before.is_some_and(|before| before.status == ConditionStatus::True);
    if !was_secured && !rollout.is_complete() {
        let message = "pods with earlier settings may still run";
        return condition_false("RollingOut", message);
    }
    let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    let anonymous = if scopes.is_empty() {
        "nothing".to_owned()
    } else {
        scopes.join(", ")
    };
    condition_true(
        "CredentialsRequired",
        format!(
            "credentials: Secret {}; allowed without: {anonymous}",
            secret.name
        ),
    )
}

pub(super) fn paused(observation: &Observation) -> Verdict {
    if observation.paused {
        condition_true("Paused", "nothing is written while spec.paused is true")
    } else {
        condition_false("NotPaused", "")
    }
}

pub(super) fn conflict(before: &OrderServiceStatus, observation: &Observation) -> Verdict {
    if observation.failing.is_some()
        && let Some(before) = find(before, "Conflict").filter(|it| it.reason == "ForeignObject")
    {
        return condition_true("ForeignObject", before.message.clone());
    }
    if observation.conflicts.is_empty() {
        condition_false("NoConflict", "")
    } else {
        let names = conflict_names(observation);
        condition_true(
            "ForeignObject",
            format!("has another owner and is not changed: {names}"),
        )
    }
}
