//! The permit of a rollout that no change of the spec requested.

use jiff::Timestamp;

use super::migration::Migration;
use super::reconciliation::Reconciliation;
use super::retry;
use super::rollout::{Rollout, Template};
use super::status::find;
use crate::build::Target;
use crate::crd::{ConditionStatus, MigrationStatus, OrderService, OrderServiceStatus};
use crate::fleet::Cause;

impl Reconciliation<'_> {
    /// Requests a permit if the desired template, or the migration before it, differs although the spec has not changed.
    /// Without a permit, the current template stays.
    ///
    /// A rollout that is already in progress gets a permit in any case, because it cannot wait: the previous leader may
    /// have ended before it wrote the status. So does a retry: its failure does not count any more, and without a permit
    /// of a canary, that would start the next rollout that waits.
    pub(super) fn request_permit(
        &mut self,
        target: &Target,
        desired: &Template,
        migration: &MigrationStatus,
    ) {
        let rollout = self.observation.rollout.as_ref();
        let is_retried = self.is_retried(desired, rollout);
        let before = &self.previous_status;
        let Some(cause) = cause(self.object, before, desired, migration, rollout, is_retried)
        else {
            return;
        };
        self.observation.cause = Some(cause);
        let name = (target.namespace.clone(), target.name.clone());
        let fleet = &self.context.records.fleet;
        if is_retried || rollout.is_some_and(|rollout| is_in_progress(rollout, desired)) {
            fleet.resume(&target.owner.uid, cause);
            return;
        }
        self.observation.queued = fleet.request(&target.owner.uid, name, cause).err();
    }

    /// Whether the desired template failed and is retried now.
    fn is_retried(&self, desired: &Template, rollout: Option<&Rollout>) -> bool {
        let before = &self.previous_status;
        let failed = before.failed_revision.as_ref();
        if failed.is_none_or(|failed| failed.revision != desired.revision()) {
            return false;
        }
        let token = retry::new_token(self.object, before);
        let current = rollout.and_then(|rollout| rollout.current.as_ref());
        retry::decide(
            before,
            token,
            current.map(Template::revision),
            Timestamp::now(),
        )
        .starts
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
    is_retried: bool,
) -> Option<Cause> {
    let settled = settled_generation(before);
    let is_requested = settled.is_none() || settled != object.metadata.generation;
    let failed = before.failed_revision.as_ref();
    let is_failed = failed.is_some_and(|failed| failed.revision == desired.revision());
    if is_requested || (is_failed && !is_retried) {
        return None;
    }
    let live = live?;
    let current = live.current.as_ref()?;
    if current.revision() != desired.revision() {
        return Some(difference(current, desired));
    }
    if !is_in_progress(live, desired) {
        return (before.migration.as_ref() != Some(migration)).then_some(Cause::Secret);
    }
    live.last_good
        .as_ref()
        .map(|before| difference(before, desired))
}

/// Returns the generation of the spec whose template has rolled out. Statuses of earlier versions have no such field, and
/// their objects must not all roll when the operator is upgraded.
fn settled_generation(before: &OrderServiceStatus) -> Option<i64> {
    let has_rolled_out = |type_, status, reason| {
        find(before, type_)
            .filter(|found| found.status == status && found.reason == reason)
            .and_then(|found| found.observed_generation)
            .filter(|_| before.failed_revision.is_none())
    };
    before
        .settled_generation
        .or_else(|| has_rolled_out("Ready", ConditionStatus::True, "Available"))
        .or_else(|| has_rolled_out("Progressing", ConditionStatus::False, "Complete"))
}

/// Whether the desired template is applied but has not rolled out.
fn is_in_progress(live: &Rollout, desired: &Template) -> bool {
    let current = live.current.as_ref().map(Template::revision);
    current == Some(desired.revision()) && !live.is_good() && !live.is_complete()
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
