//! Computes the status from the observation of a reconcile. Pure functions.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::migration::Migration;
use super::rollout::{Plan, Rollout};
use super::secrets::MissingSecret;
use crate::build::labels::{self, Component};
use crate::build::{InvalidSpec, Replicas, Target};
use crate::cluster::Kind;
use crate::crd::{Condition, ConditionStatus, MigrationStatus, OrderServiceStatus};

/// What one reconcile has observed and done.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    /// Why the spec is invalid.
    pub invalid: Option<InvalidSpec>,
    /// Whether it is paused.
    pub paused: bool,
    /// The secret that is missing.
    pub missing_secret: Option<MissingSecret>,
    /// Objects with another owner.
    pub conflicts: Vec<(Kind, String)>,
    /// The message of a permanent error.
    pub refused: Option<String>,
    /// The message of an error that should have passed by itself and lasts.
    pub failing: Option<String>,
    /// Description of the contests with other field managers.
    pub contested: Option<String>,
    /// The state of the migration.
    pub migration: Migration,
    /// The state of the Deployment, if it exists.
    pub rollout: Option<Rollout>,
    /// The template to run.
    pub plan: Option<Plan>,
    /// The revision of the desired template.
    pub desired: Option<String>,
}

type Verdict = (ConditionStatus, &'static str, String);

fn condition_true(reason: &'static str, message: impl Into<String>) -> Verdict {
    (ConditionStatus::True, reason, message.into())
}

fn condition_false(reason: &'static str, message: impl Into<String>) -> Verdict {
    (ConditionStatus::False, reason, message.into())
}

/// Computes the status. Fields that were not observed keep their previous value.
pub(crate) fn compute(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
    generation: Option<i64>,
    now: Timestamp,
) -> OrderServiceStatus {
    let migration = match &observation.migration {
        Migration::Done(done) => Some(done.clone()),
        _ => before.migration.clone(),
    };
    let failed_revision = match &observation.plan {
        Some(plan) => plan.failed.clone(),
        None => before.failed_revision.clone(),
    };
    let verdict = [
        ("Ready", ready(observation, target)),
        ("Progressing", progressing(observation, target)),
        ("Degraded", degraded(observation, target)),
        ("Migrated", migrated(before, observation, target)),
        ("Paused", paused(observation)),
        ("Conflict", conflict(before, observation)),
    ];
    let conditions = verdict
        .into_iter()
        .map(|(type_, verdict)| condition(before, type_, verdict, generation, now))
        .collect();
    let rollout = observation.rollout.as_ref();
    let current = rollout.and_then(|rollout| rollout.current.as_ref());
    // A reconcile that failed before it read the Deployment must not report zero pods, since an autoscaler
    // reads these fields.
    let is_unobserved =
        rollout.is_none() && (observation.failing.is_some() || observation.refused.is_some());
    let kept = |number| if is_unobserved { number } else { 0 };
    OrderServiceStatus {
        observed_generation: generation,
        replicas: rollout.map_or(kept(before.replicas), |rollout| rollout.replicas),
        ready_replicas: rollout.map_or(kept(before.ready_replicas), |rollout| rollout.ready),
        selector: target
            .map(|target| labels::query(&labels::selector(target, Some(Component::Server)))),
        image: current
            .and_then(|current| current.image())
            .map(str::to_owned)
            .or_else(|| before.image.clone().filter(|_| is_unobserved)),
        schema: schema(before, observation, target),
        migration,
        failed_revision,
        conditions,
    }
}

fn condition(
    before: &OrderServiceStatus,
    type_: &str,
    (status, reason, message): Verdict,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let since = find(before, type_)
        .filter(|before| before.status == status)
        .map(|before| before.last_transition_time.clone());
    // The API stores whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: type_.to_owned(),
        status,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
        reason: reason.to_owned(),
        message,
    }
}

/// The conflicts as a list in a sentence.
fn conflict_names(observation: &Observation) -> String {
    let names: Vec<_> = observation
        .conflicts
        .iter()
        .map(|(kind, name)| format!("{} {name}", kind.as_str()))
        .collect();
    names.join(", ")
}

/// A condition by its type.
pub(crate) fn find<'a>(status: &'a OrderServiceStatus, type_: &str) -> Option<&'a Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
}

fn schema(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
) -> Option<String> {
    match (&observation.migration, target) {
        (Migration::Done(MigrationStatus { revision, .. }), Some(target)) => {
            Some(target.version.clone().unwrap_or_else(|| revision.clone()))
        }
        _ => before.schema.clone(),
    }
}

/// The reason and message of an obstacle that prevents all progress.
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

/// The verdict of a migration that is not complete.
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
        // `Ready` must not change whenever the autoscaler adds a pod.
        Some(Replicas::Autoscaled(autoscaling)) => {
            autoscaling.min_replicas.min(rollout.desired_replicas)
        }
        None => rollout.desired_replicas,
    }
}

/// Whether the desired template runs.
fn is_desired(observation: &Observation, rollout: &Rollout) -> bool {
    let current = rollout.current.as_ref().map(|current| current.revision());
    // The desired template is unknown while a secret is missing and the object is paused.
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

fn ready(observation: &Observation, target: Option<&Target>) -> Verdict {
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

fn progressing(observation: &Observation, target: Option<&Target>) -> Verdict {
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

fn degraded(observation: &Observation, target: Option<&Target>) -> Verdict {
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

fn migrated(
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
    // Not observed, because it is paused or because the reconcile ended before.
    match find(before, "Migrated") {
        Some(before) => (
            before.status,
            known_reason(&before.reason),
            before.message.clone(),
        ),
        None => (ConditionStatus::Unknown, "Pending", String::new()),
    }
}

/// The static text of a reason that an earlier status contains.
fn known_reason(reason: &str) -> &'static str {
    const REASONS: [&str; 6] = [
        "Migrated",
        "MigrationFailed",
        "MigrationRetrying",
        "Migrating",
        "Conflict",
        "SecretNotFound",
    ];
    REASONS
        .into_iter()
        .find(|known| *known == reason)
        .unwrap_or("Pending")
}

fn paused(observation: &Observation) -> Verdict {
    if observation.paused {
        condition_true("Paused", "nothing is written while spec.paused is true")
    } else {
        condition_false("NotPaused", "")
    }
}

fn conflict(before: &OrderServiceStatus, observation: &Observation) -> Verdict {
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
