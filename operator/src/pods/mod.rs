//! Explains why the pods of a Deployment or a Job do not run: from their status, and from events where the status
//! has no reason.

mod container;
mod explain;
mod log_text;
mod rejection;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::cluster::{Cluster, PodState, Result, WarningEvent};

pub(crate) use explain::{DISRUPTED, explain, has_ended, needs_events, running_since};
pub(crate) use log_text::shorten;
pub(crate) use rejection::rejection;

/// Why a pod does not run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodFailure {
    /// The reason in one word, such as `Unschedulable`.
    pub(crate) reason: &'static str,
    /// Whether it passes by itself.
    pub(crate) class: FailureClass,
    /// A description for a condition, with the reason, in at most [`log_text::MAX_MESSAGE_CHARS`] characters.
    pub(crate) message: String,
    /// The complete description for an event, with the name of the pod.
    pub(crate) detail: String,
    /// Since when. `None` if the cluster does not report it.
    pub(crate) since: Option<Timestamp>,
    /// How often the container was restarted.
    pub(crate) restarts: i32,
    /// The name of the pod. `None` if no pod could be created.
    pub(crate) pod: Option<String>,
}

/// Whether a failure passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureClass {
    /// Another attempt may succeed without a change: there is no node with enough resources, the registry or the
    /// database is not reachable, a quota is used up, or the pod was evicted.
    Transient,
    /// A user has to change something, such as the image, a setting or a secret.
    Permanent,
}

impl PodFailure {
    fn new(reason: &'static str, class: FailureClass, short: &str, full: &str) -> Self {
        Self {
            reason,
            class,
            message: shorten(&describe(reason, short)),
            detail: describe(reason, full),
            since: None,
            restarts: 0,
            pod: None,
        }
    }

    /// Describes it with a text of the cluster, which may be the end of a log.
    fn from_text(reason: &'static str, class: FailureClass, text: &str) -> Self {
        let (short, full) = (log_text::last_error(text), log_text::readable(text));
        Self::new(reason, class, &short, &full)
    }

    /// Whether it has lasted for this long. A failure without a time has not.
    pub(crate) fn has_lasted(&self, duration: Duration, now: Timestamp) -> bool {
        self.since
            .is_some_and(|since| has_passed(since, duration, now))
    }
}

/// Whether this much time has passed since `since`.
pub(crate) fn has_passed(since: Timestamp, duration: Duration, now: Timestamp) -> bool {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    now.duration_since(since) >= duration
}

fn describe(reason: &str, text: &str) -> String {
    match text {
        "" => reason.to_owned(),
        text => format!("{reason}: {text}"),
    }
}

/// What is known about the pods of an owner.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pods {
    /// The pods, the newest first.
    pub(crate) pods: Vec<PodState>,
    /// The failure of each pod that has one, in the same order. Before them, the rejection of a pod that could not be
    /// created.
    pub(crate) failures: Vec<PodFailure>,
}

/// Reads and explains the pods with these labels. Events are read only where the status of a pod has no reason, and
/// about the owner (the UID of a Job or a ReplicaSet) only if no pod exists that has not ended.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(crate) async fn inspect(
    cluster: &Cluster,
    namespace: &str,
    labels: &str,
    owner: Option<&str>,
) -> Result<Pods> {
    let mut pods = cluster.pods(namespace, labels).await?;
    pods.sort_by_key(|pod| {
        std::cmp::Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
    });
    let mut failures = Vec::new();
    if let Some(owner) = owner
        && pods.iter().all(has_ended)
    {
        let newest = pods.first().and_then(explain::created);
        let warnings = cluster.warnings(namespace, owner).await?;
        // A rejection before the newest pod was created is over.
        failures.extend(rejection::from_events(&warnings, newest));
    }
    let mut events_were_read = false;
    for pod in &pods {
        // The events of one pod are enough, because pods of one template usually fail for the same reason.
        let warnings: Vec<WarningEvent> = match &pod.metadata.uid {
            Some(uid) if explain::needs_events(pod) && !events_were_read => {
                events_were_read = true;
                cluster.warnings(namespace, uid).await?
            }
            _ => Vec::new(),
        };
        failures.extend(explain(pod, &warnings));
    }
    Ok(Pods { pods, failures })
}
