//! Whether work is in progress: `Progressing` for users, and `Reconciling` and `Stalled` for tools. Those two follow
//! the conventions of kstatus (<https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus>): they are
//! present only while they are True, and never both.

use super::{
    Verdict, condition_false, condition_true, describe_pods, desired_image, is_desired, migrated,
    obstacle, required_replicas,
};
use crate::build::Target;
use crate::crd::ConditionStatus;
use crate::fleet::Wait;
use crate::reconcile::rollout::Rollout;
use crate::reconcile::status::Observation;

pub(in crate::reconcile) fn progressing(
    observation: &Observation,
    target: Option<&Target>,
) -> Verdict {
    if observation.paused {
        return condition_false("Paused", "nothing is written while spec.paused is true");
    }
    if let Some(failing) = &observation.failing {
        return condition_true("ReconcileFailing", failing);
    }
    if let Some((reason, message)) = obstacle(observation) {
        return condition_false(reason, message);
    }
    let migration = migrated::progressing(observation, target);
    if let Some(wait) = observation.queued {
        return waiting(observation, wait, migration);
    }
    if let Some(verdict) = migration {
        return verdict;
    }
    let Some(rollout) = &observation.rollout else {
        return condition_true("Pending", "there are no pods yet");
    };
    let plan = observation.plan.as_ref();
    let failed = plan.and_then(|plan| plan.failed.as_ref());
    if rollout.is_complete() && (failed.is_some() || is_desired(observation, rollout)) {
        return condition_false("Complete", "nothing is in progress");
    }
    let pods = describe_pods(observation, rollout, required_replicas(target, rollout));
    match failed {
        Some(failed) if plan.is_some_and(|plan| plan.template.revision() == failed.revision) => {
            condition_false("RolloutFailed", pods)
        }
        Some(_) if rollout.is_good() => condition_true("RollingBack", pods),
        // The URL of the database, with the last good template.
        Some(_) => condition_true("RollingOut", pods),
        None if rollout.is_good() && is_desired(observation, rollout) && is_scaling(rollout) => {
            condition_true("Scaling", pods)
        }
        None => {
            let detail = format!("rolls out {}: {pods}", desired_image(target));
            condition_true("RollingOut", pods).with_detail(detail)
        }
    }
}

/// The template waits. The URL of the database may roll out meanwhile; a new leader must not take that for the rollout
/// of the template, so the reason is the same.
fn waiting(observation: &Observation, wait: Wait, migration: Option<Verdict>) -> Verdict {
    let reason = match wait {
        Wait::Queued => "RolloutQueued",
        Wait::Held => "RolloutHeld",
    };
    if let Some(migration) = migration {
        return Verdict {
            reason: match migration.status {
                ConditionStatus::True => reason,
                _ => migration.reason,
            },
            ..migration
        };
    }
    let rollout = observation.rollout.as_ref();
    let is_rolling = observation.is_url_permitted
        && rollout.is_some_and(|rollout| !rollout.is_good() && !rollout.is_complete());
    if is_rolling {
        return condition_true(reason, "the changed URL of the database rolls out");
    }
    condition_false(reason, wait.to_string())
}

/// Whether pods are added or replaced, all of the current template. After the template of the Deployment was changed by
/// hand and reverted, its pods are of both templates.
fn is_scaling(rollout: &Rollout) -> bool {
    let is_changed = !rollout.observed && rollout.desired_replicas == rollout.replicas;
    !is_changed && rollout.updated >= rollout.replicas
}

/// A problem that stops the operator until somebody changes something, or a failed rollout.
pub(in crate::reconcile) fn stalled(
    observation: &Observation,
    degraded: &Verdict,
    migrated: &Verdict,
) -> Option<Verdict> {
    if observation.failing.is_some() {
        return None;
    }
    let is_stalled = match obstacle(observation) {
        // In GitOps a secret often arrives after the objects that need it.
        Some((reason, _)) => reason != "SecretNotFound",
        None => {
            let plan = observation.plan.as_ref();
            plan.is_some_and(|plan| plan.failed.is_some()) || migrated::has_failed(observation)
        }
    };
    // `Degraded` only refers to the condition with the cause, but tools show the message of `Stalled`.
    let cause = if degraded.reason == migrated.reason {
        migrated
    } else {
        degraded
    };
    is_stalled.then(|| condition_true(cause.reason, &cause.message))
}

/// The object does not match its spec yet.
pub(in crate::reconcile) fn reconciling(
    observation: &Observation,
    ready: &Verdict,
    stalled: Option<&Verdict>,
) -> Option<Verdict> {
    let is_reconciling =
        ready.status != ConditionStatus::True && stalled.is_none() && !observation.paused;
    is_reconciling.then(|| Verdict::new(ConditionStatus::True, ready.reason, &ready.message))
}
