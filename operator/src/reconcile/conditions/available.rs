//! Whether enough pods serve, of whatever version.

use super::{Verdict, condition_false, condition_true, required_replicas, unchanged};
use crate::build::Target;
use crate::crd::{ConditionStatus, OrderServiceStatus};
use crate::reconcile::status::{Observation, find};

pub(in crate::reconcile) fn available(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
) -> Verdict {
    let Some(rollout) = &observation.rollout else {
        if let Some(failing) = &observation.failing {
            return Verdict::new(ConditionStatus::Unknown, "ReconcileFailing", failing);
        }
        // The reconcile ended before the pods were observed.
        let before = find(before, "Available");
        return match before
            .filter(|_| observation.invalid.is_some() || observation.refused.is_some())
        {
            Some(before) => unchanged(Some(before)),
            None => condition_false("Pending", "there are no pods yet"),
        };
    };
    let required = required_replicas(target, rollout);
    let counts = format!(
        "{} of {required} required replicas are available",
        rollout.available
    );
    if rollout.available >= required {
        condition_true("MinimumReplicasAvailable", counts)
    } else {
        condition_false("MinimumReplicasUnavailable", counts)
    }
}
