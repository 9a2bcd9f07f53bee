//! The Jobs for an earlier image or secret.

use super::super::Context;
use super::super::apply::{self, Ownership};
use super::super::error::{ApiResultExt as _, Error};
use super::{has_ended, progress};
use crate::build::Target;
use crate::cluster::Kind;

/// Deletes the Jobs except `keep`, unless a pod of such a Job runs. Returns the name of a Job whose pod runs.
///
/// A running migration is not cut off, because a credential that is rotated more often than the migration takes would
/// never let it finish. Its Job is deleted when the pod has ended, so a corrected secret does not wait for the further
/// attempts of the Job.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(super) async fn delete_ended(
    context: &Context,
    target: &Target,
    keep: &str,
) -> Result<Option<String>, Error> {
    let mut running = None;
    let owner = target.owner.uid.as_str();
    let owned = context
        .records
        .index
        .owned(Kind::Job, &target.namespace, &target.name, owner);
    for job in owned.iter().filter(|job| job.name != keep) {
        if is_running(context, target, &job.name).await? {
            running = Some(job.name.clone());
        }
    }
    let keep: Vec<_> = [Some(keep), running.as_deref()]
        .into_iter()
        .flatten()
        .collect();
    apply::delete_except(context, target, Kind::Job, &keep).await?;
    Ok(running)
}

async fn is_running(context: &Context, target: &Target, name: &str) -> Result<bool, Error> {
    let job = context
        .cluster
        .get(Kind::Job, &target.namespace, name)
        .await;
    let Some(job) = job.during(|| format!("get Job {name}"))? else {
        return Ok(false);
    };
    if has_ended(&job)
        || job.metadata.deletion_timestamp.is_some()
        || apply::ownership(target, Kind::Job, &job)? == Ownership::Foreign
    {
        return Ok(false);
    }
    progress::has_active_pod(context, target, &job).await
}
