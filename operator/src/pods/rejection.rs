//! Pods that could not be created, because of a quota or an admission policy.

use jiff::Timestamp;

use super::{FailureClass, PodFailure};
use crate::cluster::WarningEvent;

/// The reason of the event with which the controllers of Jobs and ReplicaSets report a rejected pod, and of the
/// condition `ReplicaFailure` of ReplicaSets and Deployments.
const FAILED_CREATE: &str = "FailedCreate";

/// Explains the message with which the API server rejected a pod.
pub(crate) fn rejection(message: &str, since: Option<Timestamp>) -> PodFailure {
    // "Error creating: pods "NAME" is forbidden: exceeded quota: …"
    let text = message
        .split_once(" is forbidden: ")
        .map_or(message, |(_, text)| text);
    // The text of the admission plugin ResourceQuota.
    let is_quota = text.starts_with("exceeded quota") || text.starts_with("failed quota");
    let (reason, class) = if is_quota {
        ("QuotaExceeded", FailureClass::Transient)
    } else {
        ("PodRejected", FailureClass::Permanent)
    };
    PodFailure {
        since,
        ..PodFailure::new(reason, class, text, message)
    }
}

/// Explains the newest event about a rejected pod that is not older than `after`.
pub(super) fn from_events(
    warnings: &[WarningEvent],
    after: Option<Timestamp>,
) -> Option<PodFailure> {
    let rejections = || {
        warnings.iter().filter(|warning| {
            warning.reason.as_deref() == Some(FAILED_CREATE) && warning.last_seen() >= after
        })
    };
    let newest = rejections().max_by_key(|warning| warning.last_seen())?;
    let since = rejections().filter_map(WarningEvent::first_seen).min();
    // If a pod was created in between, the rejections before it are over.
    let since = since.max(after);
    Some(rejection(
        newest.message.as_deref().unwrap_or_default(),
        since,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(message: &str, first: &str, last: &str) -> WarningEvent {
        serde_json::from_value(json!({
            "metadata": {"name": "e"}, "reason": "FailedCreate", "message": message,
            "firstTimestamp": first, "lastTimestamp": last,
        }))
        .unwrap()
    }

    #[test]
    fn a_quota_passes_by_itself_and_a_policy_does_not() {
        let quota = rejection(
            r#"Error creating: pods "orders-migrate-1-x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"#,
            None,
        );
        assert_eq!(
            (quota.reason, quota.class),
            ("QuotaExceeded", FailureClass::Transient)
        );
        assert_eq!(
            quota.message,
            "QuotaExceeded: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
        );
        assert!(quota.detail.contains("orders-migrate-1-x"));
        let policy = rejection(
            r#"Error creating: admission webhook "policy.example.com" denied the request: no"#,
            None,
        );
        assert_eq!(
            (policy.reason, policy.class),
            ("PodRejected", FailureClass::Permanent)
        );
    }

    #[test]
    fn the_newest_rejection_counts_from_the_first_one() {
        let (one, two, three) = (
            "2026-01-01T00:01:00Z",
            "2026-01-01T00:02:00Z",
            "2026-01-01T00:03:00Z",
        );
        let events = [event("a", one, two), event("b", two, three)];
        let found = from_events(&events, None).unwrap();
        assert_eq!(found.message, "PodRejected: b");
        assert_eq!(found.since, Some(one.parse().unwrap()));
        let pod: Timestamp = "2026-01-01T00:02:30Z".parse().unwrap();
        let found = from_events(&events, Some(pod)).unwrap();
        assert_eq!(found.since, Some(pod));
        let later: Timestamp = "2026-01-01T00:04:00Z".parse().unwrap();
        assert_eq!(from_events(&events, Some(later)), None);
    }
}
