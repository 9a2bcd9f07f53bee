//! The permit of a rollout that no change of the spec requested.

use super::migration::Migration;
use super::reconciliation::Reconciliation;
use super::rollout::{Rollout, Template};
use crate::build::Target;
use crate::crd::{MigrationStatus, OrderService, OrderServiceStatus};
use crate::fleet::Cause;

impl Reconciliation<'_> {
    /// Requests a permit if the desired template, or the migration before it, differs although the spec has not changed.
    /// Without a permit, the current template stays.
    pub(super) fn request_permit(
        &mut self,
        target: &Target,
        desired: &Template,
        migration: &MigrationStatus,
    ) {
        let Some(cause) = cause(
            self.object,
            &self.previous_status,
            desired,
            migration,
            self.observation.rollout.as_ref(),
        ) else {
            return;
        };
        self.observation.cause = Some(cause);
        let name = (target.namespace.clone(), target.name.clone());
        let fleet = &self.context.records.fleet;
        self.observation.queued = fleet.request(&target.owner.uid, name, cause).err();
    }

    /// Releases the permit unless the rollout is in progress.
    pub(super) fn release_permit(&self) {
        let observation = &self.observation;
        let uid = self.object.metadata.uid.as_deref().unwrap_or_default();
        let records = &self.context.records;
        let fleet = &records.fleet;
        fleet.record(uid, is_failed_by_this_version(&self.previous_status));
        let is_failed = observation
            .plan
            .as_ref()
            .is_some_and(|plan| plan.failed.is_some());
        let is_desired = |rollout: &&Rollout| {
            rollout.current.as_ref().map(Template::revision) == observation.desired.as_deref()
        };
        let desired = observation.rollout.as_ref().filter(is_desired);
        let is_rolling = desired
            .is_some_and(|rollout| !is_failed && !rollout.is_complete() && !rollout.is_good());
        let is_migrating = matches!(
            observation.migration,
            Migration::Running(_) | Migration::Retrying(_)
        );
        let is_complete = desired.is_some_and(|rollout| !is_failed && rollout.is_complete());
        if observation.queued.is_some()
            || (observation.cause.is_some() && (is_migrating || is_rolling))
        {
            // It waits, or it holds the permit.
        } else if is_complete && !is_migrating {
            fleet.complete(uid);
        } else {
            fleet.release(uid);
        }
        self.context.metrics.set_rollouts(fleet.counts());
    }
}

/// Returns why a rollout is needed or in progress although the spec has not changed since its template last rolled out.
fn cause(
    object: &OrderService,
    before: &OrderServiceStatus,
    desired: &Template,
    migration: &MigrationStatus,
    live: Option<&Rollout>,
) -> Option<Cause> {
    let is_requested = before.settled_generation.is_none()
        || before.settled_generation != object.metadata.generation;
    let failed = before.failed_revision.as_ref();
    let is_failed = failed.is_some_and(|failed| failed.revision == desired.revision());
    if is_requested || is_failed {
        return None;
    }
    let live = live?;
    let current = live.current.as_ref()?;
    if current.revision() != desired.revision() {
        return Some(difference(current, desired));
    }
    if live.is_good() || live.is_complete() {
        return (before.migration.as_ref() != Some(migration)).then_some(Cause::Secret);
    }
    live.last_good
        .as_ref()
        .map(|before| difference(before, desired))
}

fn difference(before: &Template, after: &Template) -> Cause {
    if before.without_secret() == after.without_secret() {
        Cause::Secret
    } else {
        Cause::Template
    }
}

/// Whether the status reports a failed rollout that this version of the operator caused.
fn is_failed_by_this_version(status: &OrderServiceStatus) -> bool {
    status.failed_operator_version.as_deref() == Some(crate::fleet::VERSION)
}
