//! What is told back: the status, from what was seen. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::migration::Migration;
use super::rollout::{Plan, Rollout};
use crate::build::labels::{self, Component};
use crate::build::{Replicas, Target};
use crate::crd::{Condition, ConditionStatus, MigrationStatus, OrderServiceStatus};

/// What was seen and done in one reconcile.
#[derive(Debug, Default)]
pub struct Seen {
    /// Why the OrderService cannot be built.
    pub invalid: Option<String>,
    /// It is paused.
    pub paused: bool,
    /// Which secret is missing.
    pub secret: Option<String>,
    /// Objects that belong to somebody else.
    pub conflicts: Vec<String>,
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

type Said = (ConditionStatus, &'static str, String);

fn yes(reason: &'static str, message: impl Into<String>) -> Said {
    (ConditionStatus::True, reason, message.into())
}

fn no(reason: &'static str, message: impl Into<String>) -> Said {
    (ConditionStatus::False, reason, message.into())
}

/// Makes the status. What was not looked at stays as it was.
pub fn compute(
    before: &OrderServiceStatus,
    seen: &Seen,
    target: Option<&Target>,
    generation: Option<i64>,
    now: Timestamp,
) -> OrderServiceStatus {
    let migration = match &seen.migration {
        Migration::Done(done) => Some(done.clone()),
        _ => before.migration.clone(),
    };
    let failed_revision = match &seen.plan {
        Some(plan) => plan.failed.clone(),
        None => before.failed_revision.clone(),
    };
    let said = [
        ("Ready", ready(seen, target)),
        ("Progressing", progressing(seen, target)),
        ("Degraded", degraded(seen, target)),
        ("Migrated", migrated(before, seen, target)),
        ("Paused", paused(seen)),
        ("Conflict", conflict(before, seen)),
    ];
    let conditions = said
        .into_iter()
        .map(|(type_, said)| condition(before, type_, said, generation, now))
        .collect();
    let rollout = seen.rollout.as_ref();
    let current = rollout.and_then(|rollout| rollout.current.as_ref());
    // Who was stopped before looking does not know that there are none: an autoscaler reads this.
    let unseen = rollout.is_none() && (seen.failing.is_some() || seen.refused.is_some());
    let kept = |number| if unseen { number } else { 0 };
    OrderServiceStatus {
        observed_generation: generation,
        replicas: rollout.map_or(kept(before.replicas), |rollout| rollout.replicas),
        ready_replicas: rollout.map_or(kept(before.ready_replicas), |rollout| rollout.ready),
        selector: target
            .map(|target| labels::query(&labels::selector(target, Some(Component::Server)))),
        image: current
            .and_then(|current| current.image())
            .map(str::to_owned)
            .or_else(|| before.image.clone().filter(|_| unseen)),
        schema: schema(before, seen, target),
        migration,
        failed_revision,
        conditions,
    }
}

fn condition(
    before: &OrderServiceStatus,
    type_: &str,
    (status, reason, message): Said,
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

/// A condition by its type.
pub fn find<'a>(status: &'a OrderServiceStatus, type_: &str) -> Option<&'a Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
}

fn schema(before: &OrderServiceStatus, seen: &Seen, target: Option<&Target>) -> Option<String> {
    match (&seen.migration, target) {
        (Migration::Done(MigrationStatus { revision, .. }), Some(target)) => {
            Some(target.version.clone().unwrap_or_else(|| revision.clone()))
        }
        _ => before.schema.clone(),
    }
}

/// What keeps everything from going on.
fn obstacle(seen: &Seen) -> Option<(&'static str, String)> {
    let conflict = || {
        let names = seen.conflicts.join(", ");
        (!names.is_empty()).then(|| ("Conflict", format!("belongs to somebody else: {names}")))
    };
    let as_is = |reason, message: &Option<String>| message.clone().map(|message| (reason, message));
    as_is("InvalidSpec", &seen.invalid)
        .or_else(conflict)
        .or_else(|| as_is("SecretNotFound", &seen.secret))
        .or_else(|| as_is("ApplyFailed", &seen.refused))
}

/// What is the matter with the migration.
fn migration_said(seen: &Seen) -> Option<Said> {
    match &seen.migration {
        Migration::Failed(message) => Some(no("MigrationFailed", message)),
        Migration::Retrying(message) => Some(no("MigrationRetrying", message)),
        Migration::Running(message) => Some(no("Migrating", message)),
        Migration::Foreign(_) | Migration::Done(_) | Migration::Unknown => None,
    }
}

/// Pods that must serve for the whole to be ready.
fn enough(target: Option<&Target>, rollout: &Rollout) -> i32 {
    match target.map(|target| &target.replicas) {
        Some(Replicas::Fixed(replicas)) => *replicas,
        // The autoscaler adds pods as it likes; that the last of them starts is no news.
        Some(Replicas::Autoscaled(autoscaling)) => autoscaling.min_replicas.min(rollout.wanted),
        None => rollout.wanted,
    }
}

/// Whether the desired template runs, as far as is known.
fn is_desired(seen: &Seen, rollout: &Rollout) -> bool {
    let current = rollout.current.as_ref().map(|current| current.revision());
    // While it is paused nobody knows what is desired.
    seen.desired
        .as_deref()
        .is_none_or(|desired| current == Some(desired))
}

fn count(rollout: &Rollout, enough: i32) -> String {
    format!(
        "{} of {enough} replicas are available, {} of the present template",
        rollout.available, rollout.updated
    )
}

fn ready(seen: &Seen, target: Option<&Target>) -> Said {
    if let Some(failing) = &seen.failing {
        return (
            ConditionStatus::Unknown,
            "ReconcileFailing",
            failing.clone(),
        );
    }
    if let Some((reason, message)) = obstacle(seen) {
        return no(reason, message);
    }
    if let Some(failed) = seen.plan.as_ref().and_then(|plan| plan.failed.as_ref()) {
        let back =
            seen.desired.as_deref() != seen.plan.as_ref().map(|plan| plan.template.revision());
        let reason = if back { "RolledBack" } else { "RolloutFailed" };
        return no(reason, failed.message.clone());
    }
    if let Some(said) = migration_said(seen) {
        return said;
    }
    let Some(rollout) = &seen.rollout else {
        return no("Pending", "there are no pods yet");
    };
    let enough = enough(target, rollout);
    let good = rollout.is_good() || rollout.is_complete();
    if !good || !is_desired(seen, rollout) {
        return no("RollingOut", count(rollout, enough));
    }
    if !rollout.observed || rollout.available < enough || rollout.wanted < enough {
        return no("ReplicasUnavailable", count(rollout, enough));
    }
    yes(
        "Available",
        format!("at least {enough} replicas are available"),
    )
}

fn progressing(seen: &Seen, target: Option<&Target>) -> Said {
    if seen.paused {
        return no("Paused", "nothing is written while spec.paused is true");
    }
    if let Some(failing) = &seen.failing {
        return yes("ReconcileFailing", failing);
    }
    if let Some((reason, message)) = obstacle(seen) {
        return no(reason, message);
    }
    match &seen.migration {
        Migration::Failed(message) => return no("MigrationFailed", message),
        Migration::Running(message) | Migration::Retrying(message) => {
            return yes("Migrating", message);
        }
        _ => {}
    }
    let failed = seen.plan.as_ref().is_some_and(|plan| plan.failed.is_some());
    match &seen.rollout {
        None => yes("Pending", "there are no pods yet"),
        Some(rollout) if rollout.is_complete() && (failed || is_desired(seen, rollout)) => {
            no("Complete", "nothing is under way")
        }
        Some(rollout) if failed && rollout.stuck.is_some() => {
            no("RolloutFailed", count(rollout, enough(target, rollout)))
        }
        Some(rollout) => {
            let reason = if failed { "RollingBack" } else { "RollingOut" };
            yes(reason, count(rollout, enough(target, rollout)))
        }
    }
}

fn degraded(seen: &Seen, target: Option<&Target>) -> Said {
    if let Some(failing) = &seen.failing {
        let message = format!("tried again and again, without success: {failing}");
        return yes("ReconcileFailing", message);
    }
    if let Some((reason, message)) = obstacle(seen) {
        return yes(reason, message);
    }
    if let Some(plan) = &seen.plan
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
        return yes(reason, message);
    }
    if let Migration::Failed(message) = &seen.migration {
        return yes("MigrationFailed", message);
    }
    if let Some(contested) = &seen.contested {
        return yes("Contested", contested);
    }
    if let Some(rollout) = &seen.rollout {
        let enough = enough(target, rollout);
        let scaling = rollout.replicas < enough;
        if rollout.observed && rollout.is_good() && !scaling && rollout.available < enough {
            return yes("ReplicasUnavailable", count(rollout, enough));
        }
    }
    no("AsExpected", "")
}

fn migrated(before: &OrderServiceStatus, seen: &Seen, target: Option<&Target>) -> Said {
    if let Migration::Done(_) = seen.migration {
        let image = target.map_or("", |target| target.image.as_str());
        return yes(
            "Migrated",
            format!("the database has the schema of {image}"),
        );
    }
    if let Some(said) = migration_said(seen) {
        return said;
    }
    if let Migration::Foreign(job) = &seen.migration {
        return no("Conflict", format!("Job {job} belongs to somebody else"));
    }
    if let Some(secret) = &seen.secret {
        return no("SecretNotFound", secret.clone());
    }
    // Not looked at: paused, or it did not come to it.
    match find(before, "Migrated") {
        Some(before) => (
            before.status,
            stable(&before.reason),
            before.message.clone(),
        ),
        None => (ConditionStatus::Unknown, "Pending", String::new()),
    }
}

/// A reason that was written once, as one of those that are ever written.
fn stable(reason: &str) -> &'static str {
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

fn paused(seen: &Seen) -> Said {
    if seen.paused {
        yes("Paused", "nothing is written while spec.paused is true")
    } else {
        no("NotPaused", "")
    }
}

fn conflict(before: &OrderServiceStatus, seen: &Seen) -> Said {
    if seen.failing.is_some()
        && let Some(before) = find(before, "Conflict").filter(|it| it.reason == "ForeignObject")
    {
        return yes("ForeignObject", before.message.clone());
    }
    if seen.conflicts.is_empty() {
        no("NoConflict", "")
    } else {
        let names = seen.conflicts.join(", ");
        yes(
            "ForeignObject",
            format!("belongs to somebody else and is left alone: {names}"),
        )
    }
}
