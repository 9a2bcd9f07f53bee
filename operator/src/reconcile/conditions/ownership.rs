//! Whether the operator may write, and whether other owners have objects of the required names.

use super::{Verdict, condition_false, condition_true, conflict_names};
use crate::crd::OrderServiceStatus;
use crate::reconcile::status::{Observation, find};

pub(in crate::reconcile) fn paused(observation: &Observation) -> Verdict {
    if observation.paused {
        condition_true("Paused", "nothing is written while spec.paused is true")
    } else {
        condition_false("NotPaused", "changes are applied")
    }
}

pub(in crate::reconcile) fn conflict(
    before: &OrderServiceStatus,
    observation: &Observation,
) -> Verdict {
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
