//! Whether the desired pods are available.

use super::{
    DEGRADED_AFTER, Verdict, condition_false, condition_true, describe_pods, desired_image,
    is_desired, migrated, obstacle, required_replicas,
};
use crate::build::Target;
use crate::crd::{ConditionStatus, OrderServiceStatus};
use crate::reconcile::rollout::Rollout;
use crate::reconcile::status::{Observation, find, lasts};
use jiff::Timestamp;

pub(in crate::reconcile) fn ready(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
    now: Timestamp,
) -> Verdict {
    if let Some(failing) = &observation.failing {
        return Verdict::new(ConditionStatus::Unknown, "ReconcileFailing", failing);
    }
    if let Some((reason, message)) = obstacle(observation) {
        return condition_false(reason, message);
    }
    if let Some(verdict) = failed_rollout(observation, target) {
        return verdict;
    }
    if let Some(verdict) = migrated::brief(observation, target) {
        return verdict;
    }
    let Some(rollout) = &observation.rollout else {
        return condition_false("Pending", "there are no pods yet");
    };
    let required = required_replicas(target, rollout);
    let pods = || describe_pods(observation, rollout, required);
    let is_good = rollout.is_good() || rollout.is_complete();
    if !is_good || !is_desired(observation, rollout) {
        if observation.paused {
            let image = desired_image(target);
            let message = format!("{image} is not rolled out while spec.paused is true");
            return condition_false("Paused", message);
        }
        return condition_false("RollingOut", pods());
    }
    if is_short(rollout, required) {
        let reason = if is_scaling(before, rollout, required, now) {
            "Scaling"
        } else {
            "ReplicasUnavailable"
        };
        return condition_false(reason, pods());
    }
    condition_true(
        "Available",
        format!("at least {required} replicas are available"),
    )
}

fn failed_rollout(observation: &Observation, target: Option<&Target>) -> Option<Verdict> {
    let plan = observation.plan.as_ref()?;
    let failed = plan.failed.as_ref()?;
    let image = desired_image(target);
    Some(if plan.template.revision() == failed.revision {
        condition_false(
            "RolloutFailed",
            format!("the first rollout of {image} failed, see the condition Degraded"),
        )
    } else {
        let good = plan.template.image().unwrap_or("the last good template");
        condition_false(
            "RolledBack",
            format!("the rollout of {image} failed, and {good} runs; see the condition Degraded"),
        )
    })
}

/// Whether fewer pods are available than required.
pub(super) fn is_short(rollout: &Rollout, required_replicas: i32) -> bool {
    !rollout.observed
        || rollout.available < required_replicas
        || rollout.desired_replicas < required_replicas
}

/// Whether pods are missing because the number of pods was raised, and not for long.
fn is_scaling(
    before: &OrderServiceStatus,
    rollout: &Rollout,
    required_replicas: i32,
    now: Timestamp,
) -> bool {
    let has_begun =
        rollout.desired_replicas < required_replicas || rollout.replicas < required_replicas;
    let ready = find(before, "Ready");
    let since = ready.filter(|ready| ready.reason == "Scaling");
    match since {
        Some(since) => !lasts(since, DEGRADED_AFTER, now),
        None => {
            let was_ready = ready.is_none_or(|ready| ready.status == ConditionStatus::True);
            has_begun && was_ready
        }
    }
}
