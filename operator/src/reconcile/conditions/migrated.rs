//! Whether the database has the schema of the image.

use super::{Verdict, condition_false, condition_true, desired_image, unchanged};
use crate::build::Target;
use crate::crd::OrderServiceStatus;
use crate::reconcile::migration::Migration;
use crate::reconcile::status::{Observation, find};

/// Returns the verdict of a migration that is not complete.
fn incomplete(observation: &Observation) -> Option<Verdict> {
    match &observation.migration {
        Migration::Failed(report) => {
            Some(condition_false("MigrationFailed", &report.message).with_detail(&report.detail))
        }
        Migration::Retrying(report) => {
            Some(condition_false("MigrationRetrying", &report.message).with_detail(&report.detail))
        }
        Migration::Running(message) => Some(condition_false("Migrating", message)),
        Migration::Foreign(_) | Migration::Done(_) | Migration::Unknown => None,
    }
}

pub(in crate::reconcile) fn migrated(
    before: &OrderServiceStatus,
    observation: &Observation,
    target: Option<&Target>,
) -> Verdict {
    if let Migration::Done(_) = observation.migration {
        let image = target.map_or("", |target| target.image.as_str());
        return condition_true(
            "Migrated",
            format!("the database has the schema of {image}"),
        );
    }
    if let Some(verdict) = incomplete(observation) {
        return verdict;
    }
    if let Migration::Foreign(job) = &observation.migration {
        return condition_false("Conflict", format!("Job {job} has another owner"));
    }
    if let Some(missing) = &observation.missing_secret {
        return condition_false("SecretNotFound", missing.to_string());
    }
    // The migration was not observed, because the object is paused or because the reconcile ended before.
    unchanged(find(before, "Migrated"))
}

/// The part of the migration in `Ready`. Only the condition `Migrated` contains the end of the log.
pub(super) fn brief(observation: &Observation, target: Option<&Target>) -> Option<Verdict> {
    let Verdict { reason, .. } = incomplete(observation)?;
    let image = desired_image(target);
    Some(condition_false(
        reason,
        format!("the database is not migrated for {image} yet, see the condition Migrated"),
    ))
}

/// The part of the migration in `Progressing`.
pub(super) fn progressing(observation: &Observation, target: Option<&Target>) -> Option<Verdict> {
    let Verdict {
        reason, message, ..
    } = brief(observation, target)?;
    Some(if has_failed(observation) {
        condition_false(reason, message)
    } else {
        condition_true("Migrating", message)
    })
}

/// The part of the migration in `Degraded`: a failure, or a pod that has not run for a minute.
pub(super) fn degraded(observation: &Observation, target: Option<&Target>) -> Option<Verdict> {
    match &observation.migration {
        Migration::Failed(_) => {
            let image = desired_image(target);
            let message = format!("the migration for {image} failed, see the condition Migrated");
            Some(condition_true("MigrationFailed", message))
        }
        Migration::Retrying(report) if report.is_lasting => {
            Some(condition_true(report.reason, &report.message).with_detail(&report.detail))
        }
        _ => None,
    }
}

/// Whether the migration does not continue by itself.
pub(super) fn has_failed(observation: &Observation) -> bool {
    matches!(observation.migration, Migration::Failed(_))
}
