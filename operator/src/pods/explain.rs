//! Why a pod does not run, from its status and its events.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition};

use super::FailureClass::{Permanent, Transient};
use super::{FailureClass, PodFailure, container};
use crate::cluster::{PodState, WarningEvent};

/// The reasons of events about a pod whose containers cannot be created.
const START_EVENTS: [(&str, FailureClass); 4] = [
    ("FailedMount", Permanent),
    ("FailedAttachVolume", Permanent),
    ("FailedMapVolume", Permanent),
    ("FailedCreatePodSandBox", Transient),
];
/// The reason of the event about a failed probe.
const UNHEALTHY: &str = "Unhealthy";
/// The reason of a pod whose containers run and are not ready.
const NOT_READY: &str = "NotReady";
/// The reason of a pod that was evicted, or whose node was lost: it has not failed by itself.
pub(crate) const DISRUPTED: &str = "Disrupted";

/// Explains why a pod does not run or is not ready. Returns `None` if it is ready, starts normally, has succeeded, or
/// is being deleted. `warnings` are needed if [`needs_events`].
pub(crate) fn explain(pod: &PodState, warnings: &[WarningEvent]) -> Option<PodFailure> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let failure = disruption(pod)
        .or_else(|| scheduling(pod))
        .or_else(|| containers(pod).find_map(container::explain))
        .or_else(|| rejection_by_kubelet(pod))
        .or_else(|| start(pod, warnings))
        .or_else(|| readiness(pod, warnings))?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Some(PodFailure {
        detail: format!("pod {name}: {}", failure.detail),
        since: failure.since.or_else(|| since_scheduled(pod)),
        pod: pod.metadata.name.clone(),
        ..failure
    })
}

/// Whether only events can explain why the pod is not ready.
pub(crate) fn needs_events(pod: &PodState) -> bool {
    explain(pod, &[]).is_none_or(|failure| failure.reason == NOT_READY)
        && (is_starting(pod) || readiness(pod, &[]).is_some())
}

/// Whether all containers of the pod have ended and are not restarted.
pub(crate) fn has_ended(pod: &PodState) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Since when a container of the pod has been running.
pub(crate) fn running_since(pod: &PodState) -> Option<Timestamp> {
    let running = containers(pod).filter_map(|status| status.state.as_ref()?.running.as_ref());
    running
        .filter_map(|running| running.started_at.as_ref())
        .map(|time| time.0)
        .min()
}

/// When the pod was created.
pub(super) fn created(pod: &PodState) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn phase(pod: &PodState) -> &str {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

fn condition<'a>(pod: &'a PodState, type_: &str, status: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == type_ && condition.status == status)
}

fn changed(condition: &PodCondition) -> Option<Timestamp> {
    condition.last_transition_time.as_ref().map(|time| time.0)
}

fn since_scheduled(pod: &PodState) -> Option<Timestamp> {
    condition(pod, "PodScheduled", "True")
        .and_then(changed)
        .or_else(|| created(pod))
}

/// The statuses of the init containers and then of the containers.
fn containers(pod: &PodState) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    })
}

/// An eviction or the loss of the node. The exit code of such a container means nothing.
fn disruption(pod: &PodState) -> Option<PodFailure> {
    let condition =
        condition(pod, "DisruptionTarget", "True").filter(|_| phase(pod) == "Failed")?;
    let text = match (&condition.reason, &condition.message) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (one, other) => one.clone().or_else(|| other.clone()).unwrap_or_default(),
    };
    Some(PodFailure {
        since: changed(condition),
        ..PodFailure::from_text(DISRUPTED, Transient, &text)
    })
}

fn scheduling(pod: &PodState) -> Option<PodFailure> {
    let condition = condition(pod, "PodScheduled", "False")?;
    let (reason, class) = match condition.reason.as_deref() {
        Some("SchedulingGated") => ("SchedulingGated", Permanent),
        _ => ("Unschedulable", Transient),
    };
    let text = condition.message.as_deref().unwrap_or_default();
    Some(PodFailure {
        since: changed(condition),
        ..PodFailure::from_text(reason, class, text)
    })
}

/// The kubelet rejected the pod, or evicted it because of a lack of resources on the node.
fn rejection_by_kubelet(pod: &PodState) -> Option<PodFailure> {
    let status = pod.status.as_ref().filter(|_| phase(pod) == "Failed")?;
    let reason = status.reason.as_deref()?;
    let message = status.message.as_deref().unwrap_or_default();
    let text = format!("{reason}: {message}");
    Some(PodFailure::from_text(DISRUPTED, Transient, &text))
}

/// Whether the pod is on a node, and none of its containers has been created.
fn is_starting(pod: &PodState) -> bool {
    phase(pod) == "Pending"
        && containers(pod).all(|status| {
            let state = status.state.as_ref();
            state.is_none_or(|state| state.running.is_none() && state.terminated.is_none())
        })
}

/// The volumes or the network of the pod cannot be set up.
fn start(pod: &PodState, warnings: &[WarningEvent]) -> Option<PodFailure> {
    let warnings = warnings.iter().filter(|_| is_starting(pod));
    let (warning, (reason, class)) = warnings
        .filter_map(|warning| {
            let reason = warning.reason.as_deref()?;
            let known = START_EVENTS.iter().find(|(known, _)| *known == reason)?;
            Some((warning, known))
        })
        .max_by_key(|(warning, _)| warning.last_seen())?;
    let text = warning.message.as_deref().unwrap_or_default();
    Some(PodFailure {
        since: warning.first_seen(),
        ..PodFailure::from_text(reason, *class, text)
    })
}

/// The containers run, and their startup or readiness probe fails.
fn readiness(pod: &PodState, warnings: &[WarningEvent]) -> Option<PodFailure> {
    let condition = condition(pod, "Ready", "False").filter(|_| phase(pod) == "Running")?;
    let probe = warnings
        .iter()
        .filter(|warning| warning.reason.as_deref() == Some(UNHEALTHY))
        .max_by_key(|warning| warning.last_seen())
        .and_then(|warning| warning.message.as_deref());
    let text = probe.or(condition.message.as_deref()).unwrap_or_default();
    Some(PodFailure {
        since: changed(condition),
        ..PodFailure::from_text(NOT_READY, Transient, text)
    })
}

#[cfg(test)]
mod tests;
