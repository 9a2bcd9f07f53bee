//! Applies the Deployment, and the objects that depend on its rollout.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::DynamicObject;

use super::Context;
use super::apply::{self, Desired, Outcome, annotate};
use super::error::{ApiResultExt as _, Error};
use super::migration::Migration;
use super::reconciliation::Reconciliation;
use super::rollout::{Plan, Rollout, Template, crash_loop, plan};
use crate::build::labels::{self, Component, GOOD_REVISION, LAST_GOOD, REVISION, TEMPLATE};
use crate::build::{Replicas, Target};
use crate::cluster::{Kind, as_applied};

/// The built Deployment, and the objects that depend on it.
pub(super) struct DesiredWorkload<'a> {
    pub(super) deployment: Deployment,
    /// The name of the ConfigMap that the built template reads.
    pub(super) config_map: &'a str,
    pub(super) autoscaler: Option<&'a HorizontalPodAutoscaler>,
    /// The CronJob.
    pub(super) maintenance: Option<Desired>,
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
    } = workload;
    let desired = Template::of_deployment(&deployment)?;
    let revision = desired.revision().to_owned();
    reconciliation.observation.desired = Some(revision.clone());
    let rollout = live
        .as_ref()
        .map(Rollout::from_deployment)
        .unwrap_or_default();
    let crash = crashes(context, target, &desired, &rollout).await?;
    let is_queued = reconciliation.observation.queued.is_some();
    let is_migrated =
        !is_queued && matches!(reconciliation.observation.migration, Migration::Done(_));
    let failed = reconciliation.previous_status.failed_revision.clone();
    let Some(plan) = plan(&desired, &rollout, is_migrated, failed.as_ref(), crash) else {
        return Ok(());
    };
    if is_queued {
        // The pods stay as they are, and serve what the spec desires.
        reconciliation.observation.desired = Some(plan.template.revision().to_owned());
    }
    let is_new_failure = plan.failed.is_some() && plan.failed != failed;
    reconciliation.observation.plan = Some(plan.clone());
    if is_new_failure {
        // Written before the rollback: if the operator ended in between without this status, its successor would
        // retry the failed revision.
        reconciliation.write_status().await?;
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
    if let Some(maintenance) = maintenance
        && rollout.has_rolled_out(&revision)
    {
        let outcome = apply::ensure(context, target, &maintenance).await?;
        reconciliation.record(&maintenance, &outcome);
    }
    if rollout.is_proven() {
        delete_unused_config_maps(context, target, config_map, &rollout).await?;
    }
    reconciliation.observation.rollout = Some(rollout);
    Ok(())
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

/// Describes the crash loop of a pod of the current rollout, or returns `None` if there is none.
async fn crashes(
    context: &Context,
    target: &Target,
    desired: &Template,
    rollout: &Rollout,
) -> Result<Option<String>, Error> {
    let is_current = rollout.current.as_ref().map(Template::revision) == Some(desired.revision());
    if !is_current || rollout.is_good() || rollout.is_complete() || rollout.updated == 0 {
        return Ok(None);
    }
    let mut selector = labels::selector(target, Some(Component::Server));
    selector.insert(REVISION.to_owned(), desired.revision().to_owned());
    let pods = context
        .cluster
        .pods(&target.namespace, &labels::query(&selector))
        .await;
    Ok(crash_loop(&pods.during(|| "list pods".to_owned())?))
}

/// Deletes the ConfigMaps that no template reads. Not called during a rollout, because old pods may restart.
async fn delete_unused_config_maps(
    context: &Context,
    target: &Target,
    config_map: &str,
    rollout: &Rollout,
) -> Result<(), Error> {
    let mut keep = vec![config_map];
    for template in [&rollout.current, &rollout.last_good] {
        keep.extend(template.as_ref().and_then(Template::config_map));
    }
    apply::delete_except(context, target, Kind::ConfigMap, &keep).await
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
