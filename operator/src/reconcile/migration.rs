//! The migration before a rollout: one Job for each image and content of the secret.

mod obsolete;
mod progress;

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::DynamicObject;

use super::Context;
use super::apply::{self, Desired, Outcome, Ownership};
use super::error::{ApiResultExt as _, Error};
use super::reconciliation::Reconciliation;
use crate::build::Target;
use crate::cluster::Kind;
use crate::crd::MigrationStatus;

pub(crate) use progress::Report;

/// How long a Job that succeeded is kept, so that its log can be read.
const KEEP_SUCCEEDED_JOB_SECONDS: i32 = 86_400;

/// The state of the migration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Migration {
    /// Not observed.
    #[default]
    Unknown,
    /// The database has the schema that the image needs.
    Done(MigrationStatus),
    /// The Job is running.
    Running(String),
    /// An attempt failed or does not start, and the Job retries.
    Retrying(Report),
    /// The Job failed and does not retry.
    Failed(Report),
    /// An object with the name of the Job has another owner.
    Foreign(String),
}

/// The objects of a migration.
pub(crate) struct DesiredMigration<'a> {
    /// Identifies the image and the secret.
    pub(crate) revision: String,
    pub(crate) job: &'a Job,
    /// Protects the running pod from evictions. Absent if it is disabled.
    pub(crate) budget: Option<&'a PodDisruptionBudget>,
}

/// Observes the migration, and starts it if it is needed.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(super) async fn migrate(
    reconciliation: &mut Reconciliation<'_>,
    target: &Target,
    desired: DesiredMigration<'_>,
    before: Option<&MigrationStatus>,
) -> Result<Migration, Error> {
    let DesiredMigration {
        revision,
        job,
        budget,
    } = desired;
    let context = reconciliation.context;
    let desired = Desired::new(Kind::Job, job)?;
    let running = obsolete::delete_ended(context, target, &desired.name).await?;
    let done = MigrationStatus {
        revision,
        image: target.image.clone(),
    };
    let migration = if before == Some(&done) {
        Migration::Done(done)
    } else if let Some(job) = &running {
        Migration::Running(format!(
            "Job {job} of an earlier image or secret still runs, and its pod ends first"
        ))
    } else {
        observe(reconciliation, target, &desired, budget, done).await?
    };
    let is_active =
        running.is_some() || matches!(migration, Migration::Running(_) | Migration::Retrying(_));
    if !is_active {
        // A budget over pods that have ended would never be met, which alerts and upgrades of clusters report.
        apply::delete_except(context, target, Kind::PodDisruptionBudget, &[&target.name]).await?;
    }
    Ok(migration)
}

/// Observes the Job, and creates it if it does not exist.
async fn observe(
    reconciliation: &mut Reconciliation<'_>,
    target: &Target,
    desired: &Desired,
    budget: Option<&PodDisruptionBudget>,
    done: MigrationStatus,
) -> Result<Migration, Error> {
    let context = reconciliation.context;
    let live = apply::read(context, Kind::Job, &target.namespace, &desired.name).await?;
    let running = format!("Job {} runs", desired.name);
    let Some(live) = live else {
        // Before the Job, so that its pod is never without the budget.
        protect(reconciliation, target, budget).await?;
        let outcome = apply::ensure_live(context, target, desired, None).await?;
        return Ok(Migration::Running(match outcome {
            Outcome::Contested(..) => {
                format!(
                    "Job {} is deleted repeatedly; it is created again after a pause",
                    desired.name
                )
            }
            _ => running,
        }));
    };
    // The template of a Job is immutable, so an existing Job is not applied again.
    if apply::ownership(target, Kind::Job, &live)? == Ownership::Foreign {
        return Ok(Migration::Foreign(desired.name.clone()));
    }
    let status = status(&live);
    if is_true(&status, "Complete").is_some() {
        expire(context, target, &live).await?;
        return Ok(Migration::Done(done));
    }
    let failed = is_true(&status, "Failed").map(|failure| {
        let text = failure.message.clone().or_else(|| failure.reason.clone());
        text.unwrap_or_default()
    });
    if let Some(why) = failed {
        let failure = progress::last_failure(context, target, &live).await?;
        return Ok(Migration::Failed(Report::failed(
            &desired.name,
            &why,
            failure,
        )));
    }
    protect(reconciliation, target, budget).await?;
    if status.failed.unwrap_or_default() > 0 || progress::is_slow(&live) {
        let failure = progress::current_failure(context, target, &live).await?;
        if let Some(failure) = failure {
            return Ok(Migration::Retrying(Report::retrying(
                &desired.name,
                failure,
            )));
        }
    }
    Ok(Migration::Running(running))
}

async fn protect(
    reconciliation: &mut Reconciliation<'_>,
    target: &Target,
    budget: Option<&PodDisruptionBudget>,
) -> Result<(), Error> {
    if let Some(budget) = budget {
        let budget = Desired::new(Kind::PodDisruptionBudget, budget)?;
        let outcome = apply::ensure(reconciliation.context, target, &budget).await?;
        reconciliation.record(&budget, &outcome);
    }
    Ok(())
}

fn status(job: &DynamicObject) -> JobStatus {
    let status = job.data.get("status").cloned().unwrap_or_default();
    serde_json::from_value(status).unwrap_or_default()
}

/// Whether a Job has succeeded or failed.
pub(super) fn has_ended(job: &DynamicObject) -> bool {
    let status = status(job);
    ["Complete", "Failed"]
        .into_iter()
        .any(|type_| is_true(&status, type_).is_some())
}

fn is_true<'a>(
    status: &'a JobStatus,
    type_: &str,
) -> Option<&'a k8s_openapi::api::batch::v1::JobCondition> {
    status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Lets Kubernetes delete a Job that succeeded. A Job that failed is kept: created again, it would migrate without
/// a change by a user. So the template of the Job cannot contain the time, which applies to both.
async fn expire(context: &Context, target: &Target, job: &DynamicObject) -> Result<(), Error> {
    if job.data.pointer("/spec/ttlSecondsAfterFinished").is_some() {
        return Ok(());
    }
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let expired = context
        .cluster
        .expire_job(&target.namespace, name, uid, KEEP_SUCCEEDED_JOB_SECONDS)
        .await;
    expired.during(|| format!("patch Job {name}"))
}
