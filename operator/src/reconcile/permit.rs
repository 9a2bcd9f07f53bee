//! The permit of a rollout that no change of the spec requested.

use jiff::Timestamp;

use super::migration::Migration;
use super::reconciliation::Reconciliation;
use super::retry::{self, Decision};
use super::rollout::{Rollout, Template, follows_url, holds, may_be_the_url, rejects_url};
use super::status::find;
use crate::build::Target;
use crate::crd::{
    ConditionStatus, FailedRevision, MigrationStatus, OrderService, OrderServiceStatus,
};
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
        let before = &self.previous_status;
        let retry = self.retry(rollout);
        let is_retried = retry.starts && before.failed_revision.iter().any(|it| holds(it, desired));
        let Some(cause) = cause(self.object, before, desired, migration, rollout, is_retried)
        else {
            return;
        };
        self.observation.cause = Some(cause);
        let uid = target.owner.uid.as_str();
        let name = (target.namespace.clone(), target.name.clone());
        let fleet = &self.context.records.fleet;
        let is_in_progress = rollout.is_some_and(|rollout| {
            is_in_progress(rollout, desired)
                || (cause == Cause::Secret && url_is_in_progress(rollout, desired))
        });
        if is_retried || is_in_progress {
            fleet.resume(uid, cause);
            return;
        }
        self.observation.queued = fleet.request(uid, name, cause).err();
        // An earlier URL may expire, so it does not wait for the rest of the template.
        if self.observation.queued.is_some()
            && cause == Cause::Template
            && let Some(rollout) = rollout
            && url_differs(rollout, desired, retry.failed.as_ref())
        {
            self.observation.is_url_permitted = self.request_url_permit(target, desired, rollout);
        }
    }

    /// Permits the changed URL of the database with the current template, if the migration for the desired one does not
    /// succeed for another reason than the database. An earlier URL may expire while that lasts. The migration has not
    /// tried the URL, but the readiness of the first new pod, which includes the database and its schema, does.
    pub(super) fn permit_url_without_migration(&mut self, target: &Target, desired: &Template) {
        let report = match &self.observation.migration {
            Migration::Failed(report) => report,
            Migration::Retrying(report) if report.is_lasting => report,
            _ => return,
        };
        let known = self.retry(self.observation.rollout.as_ref()).failed;
        let Some(rollout) = &self.observation.rollout else {
            return;
        };
        let before = rollout.rollback_template();
        let is_alone = before.is_none_or(|it| difference(it, desired) == Cause::Secret);
        if is_alone
            || may_be_the_url(Some(report.reason), false)
            || self.observation.queued.is_some()
            || !url_differs(rollout, desired, known.as_ref())
        {
            return;
        }
        self.observation.skips_migration = self.request_url_permit(target, desired, rollout);
        self.observation.cause.get_or_insert(Cause::Secret);
    }

    fn request_url_permit(&self, target: &Target, desired: &Template, rollout: &Rollout) -> bool {
        let uid = target.owner.uid.as_str();
        let fleet = &self.context.records.fleet;
        if url_is_in_progress(rollout, desired) {
            fleet.resume(uid, Cause::Secret);
            return true;
        }
        let name = (target.namespace.clone(), target.name.clone());
        fleet.request(uid, name, Cause::Secret).is_ok()
    }

    /// Decides whether the failed template or URL is retried now.
    fn retry(&self, rollout: Option<&Rollout>) -> Decision {
        let before = &self.previous_status;
        let token = retry::new_token(self.object, before);
        let current = rollout.and_then(|rollout| rollout.current.as_ref());
        let current = current.map(Template::revision);
        retry::decide(before, token, current, Timestamp::now())
    }

    /// Releases the permit unless the rollout is in progress.
    pub(super) fn release_permit(&self) {
        let observation = &self.observation;
        let uid = self.object.metadata.uid.as_deref().unwrap_or_default();
        let records = &self.context.records;
        let fleet = &records.fleet;
        fleet.record(uid, is_failed_by_this_version(&self.previous_status));
        let failed = observation
            .plan
            .as_ref()
            .and_then(|plan| plan.failed.as_ref());
        let current = observation.rollout.as_ref();
        let current = current.and_then(|rollout| rollout.current.as_ref());
        let current = current.map(Template::revision);
        // After a failure, only the URL of the last good template rolls out.
        let applied = observation.plan.as_ref().map(|plan| &plan.template);
        let is_applied = applied.is_some_and(|applied| {
            current == Some(applied.revision())
                && failed.is_none_or(|failed| failed.revision != applied.revision())
        });
        let rollout = observation.rollout.as_ref();
        let is_rolling = is_applied
            && rollout.is_some_and(|rollout| !rollout.is_complete() && !rollout.is_good());
        let is_migrating = matches!(
            observation.migration,
            Migration::Running(_) | Migration::Retrying(_)
        );
        // Zero pods prove nothing to the others.
        let is_proven = failed.is_none()
            && current.is_some()
            && current == observation.desired.as_deref()
            && rollout.is_some_and(Rollout::is_proven);
        if observation.cause.is_some() && (is_migrating || is_rolling) {
            // It holds the permit, or it waits.
        } else if observation.queued.is_some() {
            fleet.finish_url(uid);
        } else if is_proven && !is_migrating {
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
    let failed = before.failed_revision.as_ref();
    if let Some(failed) = failed.filter(|failed| !is_retried && holds(failed, desired)) {
        // Not even the author of the spec decided when the URL of the last good template changes.
        let follows = follows_url(failed, desired) && url_differs(live?, desired, Some(failed));
        return follows.then_some(Cause::Secret);
    }
    let settled = settled_generation(before);
    if settled.is_none() || settled != object.metadata.generation {
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

/// Whether the template for a rollback has another URL than the desired one, which has not failed.
fn url_differs(live: &Rollout, desired: &Template, failed: Option<&FailedRevision>) -> bool {
    let is_rejected = failed.is_some_and(|failed| rejects_url(failed, desired));
    let before = live.rollback_template();
    before.is_some_and(|before| before.url() != desired.url()) && !is_rejected
}

/// Whether the template for a rollback is applied with the desired URL but has not rolled out.
fn url_is_in_progress(live: &Rollout, desired: &Template) -> bool {
    live.with_url_of(desired)
        .is_some_and(|with_url| is_in_progress(live, &with_url))
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
