//! The PodMonitor, whose kind the cluster may not have. It is not watched, so it is compared at each reconcile of an
//! OrderService that has one.

use serde_json::Value;

use super::apply::{self, Desired, Outcome, Ownership};
use super::error::{ApiResultExt as _, Error};
use super::reconciliation::Reconciliation;
use super::status::find;
use crate::build::Target;
use crate::cluster::Kind;

/// The state of the PodMonitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodMonitorState {
    /// It is as the spec says.
    Applied,
    /// The cluster does not have the kind.
    NotSupported,
    /// Another owner has one of this name.
    Foreign,
    /// The spec has none.
    Absent,
}

impl Reconciliation<'_> {
    /// Applies the PodMonitor, or deletes it if the spec has none any more.
    ///
    /// # Errors
    /// When the API server rejects a request or does not respond.
    pub(super) async fn ensure_pod_monitor(
        &mut self,
        target: &Target,
        desired: Option<&Value>,
    ) -> Result<(), Error> {
        // Without the condition, the operator has not created one.
        if desired.is_none() && find(&self.previous_status, "Monitored").is_none() {
            return Ok(());
        }
        let (kind, name) = (Kind::PodMonitor, target.name.as_str());
        let context = self.context;
        let cluster = &context.cluster;
        let live = cluster
            .get_optional_kind(kind, &target.namespace, name)
            .await;
        let live = live.during(|| format!("get PodMonitor {name}"))?;
        self.observation.pod_monitor = Some(match (desired, live) {
            (None, Some(Some(live))) => {
                if apply::ownership(target, kind, &live)? == Ownership::Ours {
                    let uid = live.metadata.uid.unwrap_or_default();
                    let deleted = cluster.delete(kind, &target.namespace, name, &uid).await;
                    deleted.during(|| format!("delete PodMonitor {name}"))?;
                }
                PodMonitorState::Absent
            }
            (None, _) => PodMonitorState::Absent,
            (Some(_), None) => PodMonitorState::NotSupported,
            (Some(desired), Some(live)) => {
                let desired = Desired::new(kind, desired)?;
                let outcome = apply::ensure_live(context, target, &desired, live).await?;
                self.record(&desired, &outcome);
                match outcome {
                    Outcome::Foreign => PodMonitorState::Foreign,
                    _ => PodMonitorState::Applied,
                }
            }
        });
        Ok(())
    }
}
