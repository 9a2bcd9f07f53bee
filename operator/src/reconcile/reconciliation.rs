//! The state of one reconcile and the reporting of its result.

use std::time::Duration;

use jiff::Timestamp;

use super::apply::{Desired, Outcome};
use super::error::{ApiResultExt as _, Error};
use super::status::{self, Observation};
use super::{Context, condition_events as events};
use crate::build::Target;
use crate::cluster::{Event, Kind};
use crate::crd::{OrderService, OrderServiceStatus};
use crate::diff::drift::Drift;

/// One reconcile.
pub(super) struct Reconciliation<'a> {
    pub(super) context: &'a Context,
    pub(super) object: &'a OrderService,
    pub(super) previous_status: OrderServiceStatus,
    pub(super) target: Option<Target>,
    pub(super) observation: Observation,
    pub(super) events: Vec<Event>,
    /// The maximum time until the next reconcile.
    pub(super) requeue_after: Option<Duration>,
}

impl<'a> Reconciliation<'a> {
    /// Creates a reconcile that has not observed anything yet.
    pub(super) fn new(context: &'a Context, object: &'a OrderService) -> Self {
        Self {
            context,
            object,
            previous_status: context.records.statuses.latest(object),
            target: None,
            observation: Observation::default(),
            events: Vec::new(),
            requeue_after: None,
        }
    }

    /// Records the result of applying an object.
    pub(super) fn record(&mut self, desired: &Desired, outcome: &Outcome) {
        match outcome {
            Outcome::Foreign => self.record_conflict(desired.kind, &desired.name),
            Outcome::Corrected(_, drift) => self.record_drift(desired, drift),
            Outcome::Admitted(_, fields, drift) => {
                self.events
                    .push(events::admitted_event(desired.kind, &desired.name, fields));
                if !drift.is_empty() {
                    self.record_drift(desired, drift);
                }
            }
            Outcome::Contested(_, wait) => {
                self.requeue_after =
                    Some(self.requeue_after.map_or(*wait, |again| again.min(*wait)));
            }
            Outcome::Checked | Outcome::InSync(_) | Outcome::Applied(_) => {}
        }
    }

    fn record_drift(&mut self, desired: &Desired, drift: &[Drift]) {
        let kind = desired.kind;
        self.context
            .metrics
            .drift
            .with_label_values(&[kind.as_str()])
            .inc();
        self.events
            .push(events::drift_event(kind, &desired.name, drift));
    }

    pub(super) fn record_conflict(&mut self, kind: Kind, name: &str) {
        let conflict = (kind, name.to_owned());
        if !self.observation.conflicts.contains(&conflict) {
            self.observation.conflicts.push(conflict);
        }
    }

    /// Writes the status if it has changed.
    pub(super) async fn write_status(&mut self) -> Result<(), Error> {
        let uid = self.object.metadata.uid.as_deref().unwrap_or_default();
        self.observation.contested = self.context.records.contention.summary(uid);
        let (after, details) = status::compute(
            &self.previous_status,
            &self.observation,
            self.target.as_ref(),
            self.object.metadata.generation,
            Timestamp::now(),
        );
        if after == self.previous_status {
            return Ok(());
        }
        let written = self.context.cluster.patch_status(self.object, &after).await;
        let written = match written {
            // The OrderService was deleted in the meantime.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            other => other.during(|| "write the status".to_owned())?,
        };
        self.context.records.statuses.store(&written);
        self.events.extend(events::status_events(
            &self.previous_status,
            &after,
            &details,
        ));
        self.previous_status = after;
        Ok(())
    }

    /// Adds the copy of a secret to the status, before it is created.
    pub(super) async fn list_database_secret(&mut self, name: &str) -> Result<(), Error> {
        let listed = &self.previous_status.database_secrets;
        if listed.iter().any(|listed| listed == name) {
            return Ok(());
        }
        let mut status = self.previous_status.clone();
        status.database_secrets.push(name.to_owned());
        let written = self
            .context
            .cluster
            .patch_status(self.object, &status)
            .await;
        let written = match written {
            // The OrderService was deleted in the meantime, and the garbage collector will delete the copy.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            other => other.during(|| "write the status".to_owned())?,
        };
        self.context.records.statuses.store(&written);
        self.previous_status = status;
        Ok(())
    }

    /// Publishes the events. A failure is logged but does not fail the reconcile.
    pub(super) async fn publish(&mut self) {
        for event in std::mem::take(&mut self.events) {
            if let Err(error) = self.context.recorder.publish(self.object, &event).await {
                log::warn!(error:% = error, reason = event.reason; "an event cannot be written");
            }
        }
    }
}
