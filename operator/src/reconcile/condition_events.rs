//! Events about changed conditions and reverted drift.

use super::status::{Details, find};
use crate::cluster::{Event, Kind};
use crate::crd::{Condition, ConditionStatus, OrderServiceStatus};
use crate::diff::drift::Drift;

/// The order in which events are published: causes before consequences. Conditions without events are not listed.
const ORDER: [&str; 8] = [
    "Conflict",
    "Paused",
    "Migrated",
    "Progressing",
    "Secured",
    "Monitored",
    "Degraded",
    "Ready",
];

/// Returns the events for the change from one status to the next. There are none if no condition changed. `details`
/// contains the complete text about each condition.
pub(crate) fn status_events(
    before: &OrderServiceStatus,
    after: &OrderServiceStatus,
    details: &Details,
) -> Vec<Event> {
    let is_same = |before: &Condition, after: &Condition| {
        before.status == after.status && before.reason == after.reason
    };
    ORDER
        .into_iter()
        .filter_map(|type_| {
            let after = find(after, type_)?;
            let before = find(before, type_);
            let detail = details.iter().find(|(of, _)| *of == type_);
            let detail = detail.map_or(after.message.as_str(), |(_, detail)| detail);
            match before {
                Some(before) if is_same(before, after) => None,
                before => event_for(before, after, detail),
            }
        })
        .collect()
}

fn event_for(before: Option<&Condition>, after: &Condition, detail: &str) -> Option<Event> {
    use ConditionStatus::{False, True};

    let was = before.map(|before| before.status);
    let normal = |reason, action| (false, reason, action);
    let warning = |reason, action| (true, reason, action);
    let (is_warning, reason, action) =
        match (after.type_.as_str(), after.status, after.reason.as_str()) {
            ("Ready", True, _) => normal("Ready", "Reconcile"),
            ("Degraded", True, "CrashLoopBackOff") => warning("CrashLoopBackOff", "Rollback"),
            ("Degraded", True, "ProgressDeadlineExceeded") => {
                warning("ProgressDeadlineExceeded", "Rollback")
            }
            ("Degraded", True, "InvalidSpec") => warning("InvalidSpec", "Validate"),
            ("Degraded", True, "SecretNotFound") => warning("SecretNotFound", "Dereference"),
            ("Degraded", True, "ApplyFailed") => warning("ApplyFailed", "Apply"),
            ("Degraded", True, "Contested") => warning("Contested", "Apply"),
            ("Degraded", True, "ReconcileFailing") => warning("ReconcileFailing", "Reconcile"),
            ("Degraded", True, "ReplicasUnavailable") => warning("ReplicasUnavailable", "Observe"),
            // The condition Migrated has an event.
            ("Degraded", True, "MigrationFailed") => return None,
            // Pods of a new version do not run. The condition has their reason.
            ("Degraded", True, _) => warning("PodsFailing", "Observe"),
            ("Degraded", False, _) if was == Some(True) => normal("Recovered", "Reconcile"),
            ("Migrated", True, _) => normal("Migrated", "Migrate"),
            ("Migrated", False, "MigrationFailed") => warning("MigrationFailed", "Migrate"),
            ("Migrated", False, "MigrationRetrying") => warning("MigrationRetrying", "Migrate"),
            ("Migrated", False, "Migrating") => normal("Migrating", "Migrate"),
            ("Progressing", True, "RollingOut") => normal("RollingOut", "Apply"),
            ("Progressing", False, "RolloutHeld") => warning("RolloutHeld", "Apply"),
            ("Secured", True, _) => normal("Secured", "Reconcile"),
            ("Secured", False, _) if was == Some(True) => warning("NotSecured", "Reconcile"),
            ("Monitored", False, "PodMonitorNotSupported") => {
                warning("PodMonitorNotSupported", "Apply")
            }
            ("Paused", True, _) => normal("Paused", "Pause"),
            ("Paused", False, _) if was == Some(True) => normal("Resumed", "Pause"),
            ("Conflict", True, _) => warning("Conflict", "Apply"),
            _ => return None,
        };
    let note = match (before, detail) {
        // It ended, and the condition has no message any more.
        (Some(before), "") => format!("{} ended: {}", before.reason, before.message),
        _ => detail.to_owned(),
    };
    Some(Event {
        warning: is_warning,
        reason,
        action,
        note,
        detail: None,
    })
}

/// Creates the event for reverted drift.
pub(crate) fn drift_event(kind: Kind, name: &str, drift: &[Drift]) -> Event {
    let fields: Vec<_> = drift
        .iter()
        .map(|drift| format!("{} ({})", drift.field, drift.author))
        .collect();
    let times = drift.iter().filter_map(|drift| drift.time);
    Event {
        warning: true,
        reason: "DriftCorrected",
        action: "Apply",
        note: format!("{} {name}: reverted {}", kind.as_str(), fields.join(", ")),
        detail: times.max().map(|time| format!("changed at {time}")),
    }
}

/// Creates the event for fields that admission changed.
pub(crate) fn admitted_event(kind: Kind, name: &str, fields: &[String]) -> Event {
    Event {
        warning: false,
        reason: "Admitted",
        action: "Apply",
        note: format!(
            "{} {name}: an admission policy changes {}, which is accepted",
            kind.as_str(),
            fields.join(", ")
        ),
        detail: None,
    }
}
