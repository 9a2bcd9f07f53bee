//! Applies the Deployment, and the objects that depend on its rollout.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::DynamicObject;

use super::Context;
use super::apply::{self, Desired, Outcome, annotate};
use super::error::{ApiResultExt as _, Error};
use super::migration::Migration;
use super::reconciliation::Reconciliation;
use super::retry;
use super::rollout::{Permitted, Plan, Rollout, Template, is_crash_loop, main_failure, plan};
use crate::build::labels::{self, Component, GOOD_REVISION, LAST_GOOD, REVISION, TEMPLATE};
use crate::build::{Replicas, SecretDigests, Target, maintenance_of};
use crate::cluster::{Kind, as_applied};
use crate::pods::{self, FailureClass, PodFailure};

/// A failure of a pod is reported when it has lasted this long: a pod that starts is not ready for some seconds.
const REPORT_FAILURE_AFTER: Duration = Duration::from_secs(10);

/// The built Deployment, and the objects that depend on it.
pub(super) struct DesiredWorkload<'a> {
    pub(super) deployment: Deployment,
    /// The name of the ConfigMap that the built template reads.
    pub(super) config_map: &'a str,
    pub(super) autoscaler: Option<&'a HorizontalPodAutoscaler>,
    /// The CronJob.
    pub(super) maintenance: Option<Desired>,
    pub(super) digests: &'a SecretDigests,
}

/// Applies the Deployment, its autoscaler, and the CronJob.
///
/// # Errors
/// When the API server rejects a request or does not respond.
pub(super) async fn deploy(
    reconciliation: &mut Reconciliation<'_>,
    target: &Target,
    workload: DesiredWorkload<'_>,
    live: Option<DynamicObject>,
) -> Result<(), Error> {
    let context = reconciliation.context;
    let DesiredWorkload {
        deployment,
        config_map,
        autoscaler,
        maintenance,
        digests,
    } = workload;
    let template = Template::of_deployment(&deployment)?;
    let revision = template.revision().to_owned();
    reconciliation.observation.desired = Some(revision.clone());
    let rollout = live
        .as_ref()
        .map(Rollout::from_deployment)
        .unwrap_or_default();
    let now = Timestamp::now();
    let failure = pod_failure(context, target, &rollout, now).await?;
    reconciliation.observation.pod_failure.clone_from(&failure);
    let Some(plan) =
        plan_rollout(reconciliation, &template, &rollout, failure.as_ref(), now).await?
    else {
        return Ok(());
    };
    if rollout.current.as_ref().map(Template::revision) != Some(plan.template.revision()) {
        // The failure is that of a template that is replaced now.
        reconciliation.observation.pod_failure = None;
    }
    let replicas = match &target.replicas {
        Replicas::Fixed(replicas) => {
            // The autoscaler is deleted before the operator takes over the number of replicas.
            apply::delete_except(context, target, Kind::HorizontalPodAutoscaler, &[]).await?;
            Some(*replicas)
        }
        // An autoscaler does not scale up from zero, and a new Deployment would start with one replica.
        Replicas::Autoscaled(autoscaling) if live.is_none() || rollout.desired_replicas == 0 => {
            Some(autoscaling.min_replicas)
        }
        Replicas::Autoscaled(_) => None,
    };
    let live = match (live, replicas) {
        (Some(live), None) => Some(release_replicas(context, live).await?),
        (live, _) => live,
    };
    let desired = desired_deployment(deployment, &plan, replicas)?;
    let outcome = apply::ensure_live(context, target, &desired, live).await?;
    reconciliation.record(&desired, &outcome);
    let deployment = match outcome {
        Outcome::InSync(live)
        | Outcome::Applied(live)
        | Outcome::Corrected(live, _)
        | Outcome::Admitted(live, ..) => *live,
        Outcome::Contested(Some(live), _) => *live,
        Outcome::Contested(None, _) | Outcome::Checked | Outcome::Foreign => return Ok(()),
    };
    let deployment = match autoscaler {
        None => deployment,
        Some(autoscaler) => {
            let deployment = release_replicas(context, deployment).await?;
            let desired = Desired::new(Kind::HorizontalPodAutoscaler, autoscaler)?;
            let outcome = apply::ensure(context, target, &desired).await?;
            reconciliation.record(&desired, &outcome);
            deployment
        }
    };
    let rollout = Rollout::from_deployment(&deployment);
    // A version that does not serve must not change data, so the CronJob gets it only after it has rolled out. It is
    // applied before the ConfigMap that it read until now is deleted.
    let observation = &reconciliation.observation;
    let waits = plan.failed.is_some()
        || observation.queued.is_some()
        || matches!(
            observation.migration,
            Migration::Failed(_) | Migration::Retrying(_)
        );
    let maintenance = match maintenance {
        Some(maintenance) if rollout.has_rolled_out(&revision) => Some(maintenance),
        Some(_) if waits => maintenance_with_url(target, digests, &rollout, &template)?,
        _ => None,
    };
    if let Some(maintenance) = maintenance {
        let outcome = apply::ensure(context, target, &maintenance).await?;
        reconciliation.record(&maintenance, &outcome);
    }
    if rollout.is_complete() {
        let templates = [
            Some(&template),
            rollout.current.as_ref(),
            rollout.last_good.as_ref(),
        ];
        let templates = templates.into_iter().flatten().cloned().collect();
        reconciliation
            .delete_unused(target, config_map, templates)
            .await?;
    }
    reconciliation.observation.rollout = Some(rollout);
    Ok(())
}

/// Builds the CronJob of the template that serves, if that has the desired URL of the database although the rest of the
/// desired template failed or waits: an earlier URL may expire.
fn maintenance_with_url(
    target: &Target,
    digests: &SecretDigests,
    rollout: &Rollout,
    desired: &Template,
) -> Result<Option<Desired>, Error> {
    let serving = rollout.current.as_ref().filter(|current| {
        rollout.has_rolled_out(current.revision()) && current.url() == desired.url()
    });
    let cron_job = serving.and_then(|serving| {
        maintenance_of(target, digests, serving.image()?, serving.config_map()?)
    });
    let cron_job = cron_job.map(|cron_job| Desired::new(Kind::CronJob, &cron_job));
    Ok(cron_job.transpose()?)
}

/// Gives up the ownership of `spec.replicas`.
async fn release_replicas(
    context: &Context,
    deployment: DynamicObject,
) -> Result<DynamicObject, Error> {
    let released = context.cluster.release_replicas(&deployment).await;
    // The `test` of the JSON patch failed (RFC 6902, section 5).
    if matches!(&released, Err(kube::Error::Api(status)) if status.code == 422) {
        return Err(Error::ModifiedConcurrently("spec.replicas"));
    }
    let released = released.during(|| "release spec.replicas".to_owned())?;
    Ok(released.unwrap_or(deployment))
}

/// Builds the Deployment to apply, with the templates for a rollback in annotations.
fn desired_deployment(
    mut deployment: Deployment,
    plan: &Plan,
    replicas: Option<i32>,
) -> Result<Desired, Error> {
    if let Some(spec) = &mut deployment.spec {
        spec.replicas = replicas;
    }
    let mut value = as_applied(Kind::Deployment, &deployment)?;
    if let Some(template) = value.pointer_mut("/spec/template") {
        template.clone_from(&plan.template.0);
    }
    annotate(&mut value, TEMPLATE, &plan.template.0.to_string());
    if let Some(revision) = &plan.good_revision {
        annotate(&mut value, GOOD_REVISION, revision);
    }
    if let Some(last_good) = &plan.last_good {
        annotate(&mut value, LAST_GOOD, &last_good.0.to_string());
    }
    Ok(Desired::from_value(Kind::Deployment, value))
}

/// Decides which template runs, and records a new failure or the start of a retry in the status. Returns `None` if
/// there is nothing to apply yet.
async fn plan_rollout(
    reconciliation: &mut Reconciliation<'_>,
    desired: &Template,
    rollout: &Rollout,
    failure: Option<&PodFailure>,
    now: Timestamp,
) -> Result<Option<Plan>, Error> {
    let current = rollout.current.as_ref().map(Template::revision);
    let previous = &reconciliation.previous_status;
    let token = retry::new_token(reconciliation.object, previous);
    let decision = retry::decide(previous, token, current, now);
    reconciliation.observation.retry = Some(decision.retry.clone());
    let observation = &reconciliation.observation;
    let is_queued = observation.queued.is_some();
    let permitted = match observation.migration {
        Migration::Done(_) if !is_queued => Permitted::Template,
        Migration::Done(_) if observation.is_url_permitted => Permitted::Url,
        _ if observation.skips_migration => Permitted::Url,
        _ => Permitted::Nothing,
    };
    let failed = decision.failed.as_ref();
    let Some(mut plan) = plan(desired, rollout, permitted, failed, failure) else {
        return Ok(None);
    };
    if is_queued {
        // The pods stay as they are, and serve what the spec desires.
        reconciliation.observation.desired = Some(plan.template.revision().to_owned());
    }
    let mut retry = decision.retry;
    retry.forget_other_than(desired.revision(), plan.good_revision.as_deref());
    let is_new_failure = plan.failed.is_some() && plan.failed.as_ref() != failed;
    if let Some(failed) = plan.failed.as_mut().filter(|_| is_new_failure)
        && plan.template.revision() != failed.revision
        && failure.is_some_and(|failure| failure.class == FailureClass::Transient)
    {
        failed.retry_at = retry.next_attempt(&failed.revision, now);
    }
    reconciliation.observation.plan = Some(plan.clone());
    reconciliation.observation.retry = Some(retry);
    if is_new_failure || decision.starts {
        // Written before the template is applied: if the operator ended in between without this status, its
        // successor would retry the failed revision, or would retry it twice.
        reconciliation.write_status().await?;
    }
    Ok(Some(plan))
}

/// Returns why pods of the current template do not run.
async fn pod_failure(
    context: &Context,
    target: &Target,
    rollout: &Rollout,
    now: Timestamp,
) -> Result<Option<PodFailure>, Error> {
    let Some(current) = &rollout.current else {
        return Ok(None);
    };
    if rollout.is_complete() || !rollout.observed {
        return Ok(None);
    }
    let mut failures = Vec::from_iter(rollout.rejected.clone());
    if rollout.updated > 0 {
        let mut selector = labels::selector(target, Some(Component::Server));
        selector.insert(REVISION.to_owned(), current.revision().to_owned());
        let labels = labels::query(&selector);
        let pods = pods::inspect(&context.cluster, &target.namespace, &labels, None).await;
        failures.extend(pods.during(|| "list pods".to_owned())?.failures);
    }
    Ok(main_failure(failures).filter(|failure| {
        is_crash_loop(failure)
            || failure.since.is_none()
            || failure.has_lasted(REPORT_FAILURE_AFTER, now)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_unchanged_after_a_round_trip_through_its_annotation() {
        let template = Template(serde_json::json!({"b": 1, "a": {"d": "x", "c": null}}));
        let parsed: serde_json::Value = serde_json::from_str(&template.0.to_string()).unwrap();
        assert_eq!(Template(parsed), template);
    }
}
