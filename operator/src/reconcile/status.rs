//! What is told back: the status, from what was seen. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::migration::Migration;
use super::rollout::{Plan, Rollout};
use super::secrets::MissingSecret;
use crate::build::labels::{self, Component};
use crate::build::{InvalidSpec, Replicas, Target};
use crate::cluster::Kind;
use crate::crd::{Condition, ConditionStatus, MigrationStatus, OrderServiceStatus};

/// What was seen and done in one reconcile.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    /// Why the OrderService cannot be built.
    pub invalid: Option<InvalidSpec>,
    /// It is paused.
    pub paused: bool,
    /// Which secret is missing.
    pub missing_secret: Option<MissingSecret>,
    /// Objects that belong to somebody else.
    pub conflicts: Vec<(Kind, String)>,
    /// What the API server refuses.
    pub refused: Option<String>,
    /// What should have passed by itself and does not.
    pub failing: Option<String>,
    /// What others change again and again.
    pub contested: Option<String>,
    /// How the migration stands.
    pub migration: Migration,
    /// How the Deployment stands, if there is one.
    pub rollout: Option<Rollout>,
    /// What is to run.
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

/// Makes the status. What was not looked at stays as it was.
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
    // Who was stopped before looking does not know that there are none: an autoscaler reads this.
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
    // Written and read back in whole seconds.
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

/// What keeps everything from going on.
fn obstacle(observation: &Observation) -> Option<(&'static str, String)> {
    let conflict = || {
        let names = conflict_names(observation);
        (!names.is_empty()).then(|| ("Conflict", format!("belongs to somebody else: {names}")))
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

/// What is the matter with the migration.
fn migration_verdict(observation: &Observation) -> Option<Verdict> {
    match &observation.migration {
        Migration::Failed(message) => Some(condition_false("MigrationFailed", message)),
        Migration::Retrying(message) => Some(condition_false("MigrationRetrying", message)),
        Migration::Running(message) => Some(condition_false("Migrating", message)),
        Migration::Foreign(_) | Migration::Done(_) | Migration::Unknown => None,
    }
}

/// Pods that must serve for the whole to be ready.
fn required_replicas(target: Option<&Target>, rollout: &Rollout) -> i32 {
    match target.map(|target| &target.replicas) {
        Some(Replicas::Fixed(replicas)) => *replicas,
        // The autoscaler adds pods as it likes; that the last of them starts is no news.
        Some(Replicas::Autoscaled(autoscaling)) => {
            autoscaling.min_replicas.min(rollout.desired_replicas)
        }
        None => rollout.desired_replicas,
    }
}

/// Whether the desired template runs, as far as is known.
fn is_desired(observation: &Observation, rollout: &Rollout) -> bool {
    let current = rollout.current.as_ref().map(|current| current.revision());
    // While it is paused nobody knows what is desired.
    observation
        .desired
        .as_deref()
        .is_none_or(|desired| current == Some(desired))
}

fn replica_counts(rollout: &Rollout, required_replicas: i32) -> String {
    format!(
        "{} of {required_replicas} replicas are available, {} of the present template",
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
        let back = observation.desired.as_deref()
            != observation
                .plan
                .as_ref()
                .map(|plan| plan.template.revision());
        let reason = if back { "RolledBack" } else { "RolloutFailed" };
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
            condition_false("Complete", "nothing is under way")
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
        let message = format!("tried again and again, without success: {failing}");
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
        let back = if plan.template.revision() == failed.revision {
            "there is nothing to go back to".to_owned()
        } else {
            format!(
                "{} is back",
                plan.template.image().unwrap_or("the last good template")
            )
        };
        let message = format!(
            "{}; {back}; not tried again until the spec changes",
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
        return condition_false("Conflict", format!("Job {job} belongs to somebody else"));
    }
    if let Some(missing) = &observation.missing_secret {
        return condition_false("SecretNotFound", missing.to_string());
    }
    // Not looked at: paused, or it did not come to it.
    match find(before, "Migrated") {
        Some(before) => (
            before.status,
            known_reason(&before.reason),
            before.message.clone(),
        ),
        None => (ConditionStatus::Unknown, "Pending", String::new()),
    }
}

/// A reason that was written once, as one of those that are ever written.
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
            format!("belongs to somebody else and is left alone: {names}"),
        )
    }
}
