//! Whether the metrics are scraped as the spec asks.

use super::{Verdict, condition_false, condition_true, unchanged};
use crate::crd::OrderServiceStatus;
use crate::reconcile::pod_monitor::PodMonitorState;
use crate::reconcile::status::{Observation, find};

/// There is no such condition without a PodMonitor.
pub(in crate::reconcile) fn monitored(
    before: &OrderServiceStatus,
    observation: &Observation,
) -> Option<Verdict> {
    match observation.pod_monitor {
        Some(PodMonitorState::Applied) => {
            Some(condition_true("PodMonitorApplied", "the PodMonitor exists"))
        }
        Some(PodMonitorState::NotSupported) => {
            let message = "the cluster has no PodMonitors: install the Prometheus operator, or remove \
                           spec.monitoring.podMonitor";
            Some(condition_false("PodMonitorNotSupported", message))
        }
        Some(PodMonitorState::Foreign) => {
            let message = "the PodMonitor of this name has another owner";
            Some(condition_false("Conflict", message))
        }
        Some(PodMonitorState::Absent) => None,
        None => find(before, "Monitored").map(|before| unchanged(Some(before))),
    }
}
