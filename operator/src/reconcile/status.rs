//! Computes the status from the observation of a reconcile. Pure functions.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{
    Verdict, conflict, degraded, migrated, paused, progressing, ready, secured,
};
use super::migration::Migration;
use super::rollout::{Plan, Rollout};
use super::secrets::MissingSecret;
use crate::build::labels::{self, Component};
use crate::build::{InvalidSpec, Target};
use crate::cluster::Kind;
use crate::crd::{Condition, MigrationStatus, OrderServiceStatus};
use crate::fleet::{Cause, VERSION, Wait};

/// The observations and actions of one reconcile.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    /// The reason why the spec is invalid.
    pub invalid: Option<InvalidSpec>,
    /// Whether the object is paused.
    pub paused: bool,
    /// The secret that is missing.
    pub missing_secret: Option<MissingSecret>,
    /// Objects with another owner.
    pub conflicts: Vec<(Kind, String)>,
    /// The message of a permanent error.
    pub refused: Option<String>,
    /// The message of a lasting error that should have resolved by itself.
    pub failing: Option<String>,
    /// Description of the contention with other field managers.
    pub contested: Option<String>,
    /// The state of the migration.
    pub migration: Migration,
    /// The state of the Deployment, if it exists.
    pub rollout: Option<Rollout>,
    /// The template to run.
    pub plan: Option<Plan>,
    /// The revision of the desired template.
    pub desired: Option<String>,
    /// Why the pods are replaced although the spec has not changed.
    pub cause: Option<Cause>,
    /// Why that does not start yet.
    pub queued: Option<Wait>,
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
        ("Secured", secured(before, observation, target)),
        ("Paused", paused(observation)),
        ("Conflict", conflict(before, observation)),
    ];
    let conditions = verdict
        .into_iter()
        .map(|(type_, verdict)| condition(before, type_, verdict, generation, now))
        .collect();
    let rollout = observation.rollout.as_ref();
    let current = rollout.and_then(|rollout| rollout.current.as_ref());
    // A reconcile that failed before it read the Deployment must not report zero pods, because an autoscaler reads
    // these fields.
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
        settled_generation: settled_generation(before, observation, generation),
        failed_operator_version: failed_operator_version(before, observation),
        failed_revision,
        conditions,
    }
}

/// Returns the generation of the spec whose template has rolled out.
fn settled_generation(
    before: &OrderServiceStatus,
    observation: &Observation,
    generation: Option<i64>,
) -> Option<i64> {
    let is_failed = observation
        .plan
        .as_ref()
        .is_some_and(|plan| plan.failed.is_some());
    let has_rolled_out = match (&observation.rollout, &observation.desired) {
        (Some(rollout), Some(desired)) => rollout.has_rolled_out(desired),
        _ => false,
    };
    if has_rolled_out && !is_failed {
        generation
    } else {
        before.settled_generation
    }
}

/// Returns the version of the operator that caused the failed rollout, if the spec did not.
fn failed_operator_version(
    before: &OrderServiceStatus,
    observation: &Observation,
) -> Option<String> {
    let Some(plan) = &observation.plan else {
        return before.failed_operator_version.clone();
    };
    let failed = plan.failed.as_ref()?;
    let is_known = before
        .failed_revision
        .as_ref()
        .is_some_and(|before| before.revision == failed.revision);
    if is_known {
        before.failed_operator_version.clone()
    } else {
        (observation.cause == Some(Cause::Template)).then(|| VERSION.to_owned())
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

/// Finds a condition by its type.
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
