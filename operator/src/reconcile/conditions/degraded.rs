//! Whether something needs attention.

use jiff::Timestamp;

use super::ready::is_short;
use super::{
    DEGRADED_AFTER, Verdict, condition_false, condition_true, describe_pods, migrated, obstacle,
    required_replicas,
};
use crate::build::Target;
use crate::crd::{ConditionStatus, FailedRevision, OrderServiceStatus};
use crate::reconcile::rollout::{Plan, Rollout};
use crate::reconcile::status::{Observation, find, lasts};

pub(in crate::reconcile) fn degraded(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
    now: Timestamp,
) -> Verdict {
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
        return failed_rollout(plan, failed);
    }
    if let Some(verdict) = migrated::degraded(observation, target) {
        return verdict;
    }
    if let Some(contested) = &observation.contested {
        return condition_true("Contested", contested);
    }
    if let Some(rollout) = &observation.rollout
        && let Some(verdict) = pods(before, observation, rollout, target, now)
    {
        return verdict;
    }
    condition_false("AsExpected", "")
}

fn failed_rollout(plan: &Plan, failed: &FailedRevision) -> Verdict {
    let reason = if failed.reason == "CrashLoopBackOff" {
        "CrashLoopBackOff"
    } else {
        "ProgressDeadlineExceeded"
    };
    let outcome = if plan.template.revision() == failed.revision {
        "there is nothing to roll back to".to_owned()
    } else {
        let image = plan.template.image().unwrap_or("the last good template");
        let retry = match &failed.retry_at {
            Some(at) => format!("retried at {}", at.0),
            None => "not retried by itself".to_owned(),
        };
        format!("rolled back to {image}, {retry}")
    };
    // The cause comes last, because it may be long.
    condition_true(reason, format!("{outcome}: {}", failed.message))
}

/// Pods that have not run for a minute.
fn pods(
    before: &OrderServiceStatus,
    observation: &Observation,
    rollout: &Rollout,
    target: Option<&Target>,
    now: Timestamp,
) -> Option<Verdict> {
    let required = required_replicas(target, rollout);
    let failure = observation.pod_failure.as_ref();
    let failure = failure.filter(|failure| failure.has_lasted(DEGRADED_AFTER, now));
    if rollout.is_good() {
        let is_lasting = find(before, "Ready").is_some_and(|ready| {
            ready.status == ConditionStatus::False && lasts(ready, DEGRADED_AFTER, now)
        });
        let message = describe_pods(observation, rollout, required);
        return (is_short(rollout, required) && (is_lasting || failure.is_some())).then(|| {
            let verdict = condition_true("ReplicasUnavailable", message);
            match failure {
                Some(failure) => verdict.with_detail(&failure.detail),
                None => verdict,
            }
        });
    }
    let failure = failure?;
    Some(condition_true(failure.reason, &failure.message).with_detail(&failure.detail))
}
