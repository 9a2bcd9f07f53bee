//! Decides when a failed rollout is retried. Pure functions.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::backoff::jitter;
use crate::build::labels::RETRY;
use crate::crd::{FailedRevision, OrderService, OrderServiceStatus, RetryStatus};

/// The maximum delay before the first automatic retry.
const FIRST_RETRY: Duration = Duration::from_secs(30);
/// The maximum delay before any automatic retry. A retry adds a pod, which may wait for `progressDeadlineSeconds`.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(900);

/// Returns the value of the annotation, if it has not been handled yet.
pub(crate) fn new_token<'a>(
    object: &'a OrderService,
    before: &OrderServiceStatus,
) -> Option<&'a str> {
    let annotations = object.metadata.annotations.as_ref()?;
    let token = annotations.get(RETRY)?.as_str();
    let handled = before
        .retry
        .as_ref()
        .and_then(|retry| retry.token.as_deref());
    (handled != Some(token)).then_some(token)
}

/// Whether the failed revision is retried now.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    /// The failure, unless the revision is retried now.
    pub failed: Option<FailedRevision>,
    /// The retries to record in the status.
    pub retry: RetryStatus,
    /// Whether a retry starts.
    pub starts: bool,
}

/// Decides whether the failed revision is retried now: because of a new token, or because the time of an automatic retry
/// has come. `current` is the revision that is applied.
pub(crate) fn decide(
    before: &OrderServiceStatus,
    new_token: Option<&str>,
    current: Option<&str>,
    now: Timestamp,
) -> Decision {
    let mut retry = before.retry.clone().unwrap_or_default();
    let is_requested = new_token.is_some();
    let failed = before.failed_revision.as_ref();
    // Without a rollback, Kubernetes itself restarts the pods of the failed revision.
    let is_rolled_back = failed.is_some_and(|failed| current != Some(failed.revision.as_str()));
    if is_requested && (failed.is_none() || is_rolled_back) {
        // A token that is set while nothing has failed must not retry a later failure.
        retry.token = new_token.map(str::to_owned);
    }
    let is_due = failed
        .and_then(|failed| failed.retry_at.as_ref())
        .is_some_and(|at| at.0 <= now);
    let starts = is_rolled_back && (is_requested || is_due);
    if let Some(failed) = failed.filter(|_| starts) {
        let attempts = match &retry.revision {
            _ if is_requested => 0,
            Some(revision) if *revision == failed.revision => retry.attempts.saturating_add(1),
            _ => 1,
        };
        retry.attempts = attempts;
        retry.revision = Some(failed.revision.clone());
    }
    Decision {
        failed: failed.filter(|_| !starts).cloned(),
        retry,
        starts,
    }
}

impl RetryStatus {
    /// Forgets the attempts of a revision that is not desired any more or has rolled out.
    pub(crate) fn forget_other_than(&mut self, desired: &str, good: Option<&str>) {
        let revision = self.revision.as_deref();
        if revision.is_some_and(|revision| revision != desired || Some(revision) == good) {
            self.revision = None;
            self.attempts = 0;
        }
    }

    /// Returns when a revision that failed now is retried. The delay starts at most at [`FIRST_RETRY`] and doubles with
    /// each automatic retry of this revision.
    pub(crate) fn next_attempt(&self, revision: &str, now: Timestamp) -> Option<Time> {
        let is_same = self.revision.as_deref() == Some(revision);
        let doublings = if is_same { self.attempts.min(16) } else { 0 };
        let full = FIRST_RETRY.saturating_mul(1_u32 << doublings);
        // Jitter, because an outage of a registry fails the rollouts of many objects.
        let delay = jitter(full.min(MAX_RETRY_DELAY), 2);
        let at = now.checked_add(delay).ok()?;
        // The API stores whole seconds.
        Timestamp::from_second(at.as_second()).ok().map(Time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn failed(retry_at: Option<i64>) -> OrderServiceStatus {
        OrderServiceStatus {
            failed_revision: Some(FailedRevision {
                revision: "b".to_owned(),
                retry_at: retry_at.map(|second| Time(at(second))),
                ..FailedRevision::default()
            }),
            ..OrderServiceStatus::default()
        }
    }

    #[test]
    fn a_token_is_new_until_it_is_in_the_status() {
        let mut object = OrderService::new(
            "orders",
            serde_json::from_value(serde_json::json!({
                "image": "orders:1", "replicas": 1, "database": {"secretRef": {"name": "db"}},
            }))
            .unwrap(),
        );
        assert_eq!(new_token(&object, &failed(None)), None);
        let annotation = (RETRY.to_owned(), "1".to_owned());
        object.metadata.annotations = Some([annotation].into());
        let mut status = failed(None);
        assert_eq!(new_token(&object, &status), Some("1"));
        status.retry = Some(decide(&status, Some("1"), Some("a"), at(0)).retry);
        assert_eq!(new_token(&object, &status), None);
        // Also if nothing had failed.
        let healthy = OrderServiceStatus {
            retry: Some(decide(&OrderServiceStatus::default(), Some("1"), None, at(0)).retry),
            ..OrderServiceStatus::default()
        };
        assert_eq!(new_token(&object, &healthy), None);
    }

    #[test]
    fn a_new_token_retries_a_rollout_that_was_rolled_back() {
        let first = decide(&failed(None), Some("1"), Some("a"), at(0));
        assert!(first.starts && first.failed.is_none());
        let without = decide(&failed(None), None, Some("a"), at(0));
        assert!(!without.starts && without.failed.is_some());
    }

    #[test]
    fn a_revision_without_a_rollback_is_not_retried_and_its_token_stays_new() {
        let first = decide(&failed(Some(0)), Some("1"), Some("b"), at(9));
        assert!(!first.starts);
        assert_eq!(first.retry.token, None);
    }

    #[test]
    fn automatic_retries_start_within_30_seconds_and_grow_to_a_bound() {
        let mut status = failed(Some(10));
        assert!(!decide(&status, None, Some("a"), at(9)).starts);
        let mut full = 30;
        let mut now = 10;
        for attempt in 0..12 {
            let retry = status.retry.clone().unwrap_or_default();
            let next = retry.next_attempt("b", at(now)).unwrap().0.as_second();
            let delay = next - now;
            assert!(
                delay <= full && delay >= full / 2 - 1,
                "{attempt}: {delay} of {full}"
            );
            full = (full * 2).min(900);
            status = OrderServiceStatus {
                retry: status.retry,
                ..failed(Some(next))
            };
            now = next;
            let decision = decide(&status, None, Some("a"), at(now));
            assert!(decision.starts);
            assert_eq!(decision.retry.attempts, attempt + 1);
            status.retry = Some(decision.retry);
        }
        assert_eq!(full, 900);
        // A request starts again with short delays, and so does another revision.
        let requested = decide(&status, Some("t"), Some("a"), at(now));
        assert_eq!(requested.retry.attempts, 0);
        let mut retry = status.retry.unwrap();
        assert!(retry.next_attempt("c", at(0)).unwrap().0.as_second() <= 30);
        retry.forget_other_than("b", Some("a"));
        assert_eq!(retry.attempts, 12);
        retry.forget_other_than("b", Some("b"));
        assert_eq!((retry.attempts, retry.revision), (0, None));
    }
}
