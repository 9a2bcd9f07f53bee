//! Computes the status from the observation of a reconcile. Pure functions.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{
    Verdict, available, conflict, degraded, migrated, monitored, paused, progressing, ready,
    reconciling, secured, stalled,
};
use super::migration::Migration;
use super::pod_monitor::PodMonitorState;
use super::rollout::{Plan, Rollout};
use super::secrets::MissingSecret;
use crate::build::labels::{self, Component};
use crate::build::{InvalidSpec, Target};
use crate::cluster::Kind;
use crate::crd::{Condition, MigrationStatus, OrderServiceStatus, RetryStatus};
use crate::fleet::{Cause, VERSION, Wait};
use crate::pods::{PodFailure, has_passed, shorten};

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
    /// The retries of failed rollouts.
    pub retry: Option<RetryStatus>,
    /// Why a pod of the current template does not run.
    pub pod_failure: Option<PodFailure>,
    /// The state of the PodMonitor.
    pub pod_monitor: Option<PodMonitorState>,
    /// The copies of the URL of the database, if they have changed.
    pub database_secrets: Option<Vec<String>>,
    /// The revision of the desired template.
    pub desired: Option<String>,
    /// Why the pods are replaced although the spec has not changed.
    pub cause: Option<Cause>,
    /// Why that does not start yet.
    pub queued: Option<Wait>,
    /// Whether the URL of the database may roll out meanwhile, with the current template.
    pub is_url_permitted: bool,
    /// Whether it may roll out although the migration for the desired template does not succeed.
    pub skips_migration: bool,
}

/// The complete text about each condition, for events: the message of a condition is short.
pub(crate) type Details = Vec<(&'static str, String)>;

/// Computes the status. Fields that were not observed keep their previous value.
pub(crate) fn compute(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
    generation: Option<i64>,
    now: Timestamp,
) -> (OrderServiceStatus, Details) {
    let migration = match &observation.migration {
        Migration::Done(done) => Some(done.clone()),
        _ => before.migration.clone(),
    };
    let failed_revision = match &observation.plan {
        Some(plan) => plan.failed.clone(),
        None => before.failed_revision.clone(),
    };
    let retry = match &observation.retry {
        Some(retry) => Some(retry.clone()).filter(|retry| *retry != RetryStatus::default()),
        None => before.retry.clone(),
    };
    let verdicts = verdicts(before, observation, target, now);
    let conditions = verdicts
        .iter()
        .map(|(type_, verdict)| condition(before, type_, verdict, generation, now))
        .collect();
    let details = verdicts
        .into_iter()
        .map(|(type_, verdict)| (type_, verdict.detail.unwrap_or(verdict.message)))
        .collect();
    let rollout = observation.rollout.as_ref();
    let current = rollout.and_then(|rollout| rollout.current.as_ref());
    // A reconcile that failed before it read the Deployment must not report zero pods, because an autoscaler reads
    // these fields.
    let is_unobserved =
        rollout.is_none() && (observation.failing.is_some() || observation.refused.is_some());
    let kept = |number| if is_unobserved { number } else { 0 };
    let status = OrderServiceStatus {
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
        retry,
        database_secrets: observation
            .database_secrets
            .clone()
            .unwrap_or_else(|| before.database_secrets.clone()),
        conditions,
    };
    (status, details)
}

/// The verdict about each condition, in the order of the status.
fn verdicts(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
    now: Timestamp,
) -> Vec<(&'static str, Verdict)> {
    let ready = ready(before, observation, target, now);
    let degraded = degraded(before, observation, target, now);
    let migrated = migrated(before, observation, target);
    let stalled = stalled(observation, &degraded, &migrated);
    let reconciling = reconciling(observation, &ready, stalled.as_ref());
    let mut verdicts = vec![
        ("Ready", ready),
        ("Available", available(before, observation, target)),
        ("Progressing", progressing(observation, target)),
        ("Degraded", degraded),
        ("Migrated", migrated),
        ("Secured", secured(before, observation, target)),
        ("Paused", paused(observation)),
        ("Conflict", conflict(before, observation)),
    ];
    verdicts.extend(monitored(before, observation).map(|verdict| ("Monitored", verdict)));
    verdicts.extend(reconciling.map(|verdict| ("Reconciling", verdict)));
    verdicts.extend(stalled.map(|verdict| ("Stalled", verdict)));
    verdicts
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
        let is_template =
            observation.cause == Some(Cause::Template) && observation.queued.is_none();
        is_template.then(|| VERSION.to_owned())
    }
}

fn condition(
    before: &OrderServiceStatus,
    type_: &str,
    verdict: &Verdict,
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    let since = find(before, type_)
        .filter(|before| before.status == verdict.status)
        .map(|before| before.last_transition_time.clone());
    // The API stores whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: type_.to_owned(),
        status: verdict.status,
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
        reason: verdict.reason.to_owned(),
        message: shorten(&verdict.message),
    }
}

/// Finds a condition by its type.
pub(crate) fn find<'a>(status: &'a OrderServiceStatus, type_: &str) -> Option<&'a Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == type_)
}

/// Whether a condition has had its status for this long.
pub(crate) fn lasts(condition: &Condition, duration: Duration, now: Timestamp) -> bool {
    has_passed(condition.last_transition_time.0, duration, now)
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
