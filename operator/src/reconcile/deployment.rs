//! The Deployment: which template it has, and who decides how many pods.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::api::DynamicObject;

use super::Context;
use super::apply::{self, Desired, Outcome, annotate};
use super::error::{During as _, Error};
use super::migration::Migration;
use super::reconciliation::Work;
use super::rollout::{Plan, Rollout, Template, crash_loop, plan};
use crate::build::labels::{self, Component, GOOD_REVISION, LAST_GOOD, REVISION, TEMPLATE};
use crate::build::{self, Replicas, Target};
use crate::cluster::{Kind, as_applied};

/// Makes the Deployment and its autoscaler as they should be.
///
/// # Errors
/// When the API server says no or nothing.
pub(super) async fn deploy(
    work: &mut Work<'_>,
    target: &Target,
    pod_template: PodTemplateSpec,
    live: Option<DynamicObject>,
) -> Result<(), Error> {
    let context = work.context;
    let desired = Template(serde_json::to_value(&pod_template)?);
    work.seen.desired = Some(desired.revision().to_owned());
    let standing = live.as_ref().map(Rollout::of).unwrap_or_default();
    let crash = crashes(context, target, &desired, &standing).await?;
    let is_migrated = matches!(work.seen.migration, Migration::Done(_));
    let failed = work.before.failed_revision.clone();
    let Some(plan) = plan(&desired, &standing, is_migrated, failed.as_ref(), crash) else {
        return Ok(());
    };
    let is_news = plan.failed.is_some() && plan.failed != failed;
    work.seen.plan = Some(plan.clone());
    if is_news {
        // Written before it is acted upon: forgotten half-way, it would be tried again for ever.
        work.write_status().await?;
    }
    let replicas = match &target.replicas {
        Replicas::Fixed(replicas) => {
            // First the autoscaler goes, then its number is taken over.
            apply::delete_all_but(context, target, Kind::HorizontalPodAutoscaler, &[]).await?;
            Some(*replicas)
        }
        // An autoscaler leaves zero alone, and a new Deployment would start with one.
        Replicas::Autoscaled(autoscaling) if live.is_none() || standing.wanted == 0 => {
            Some(autoscaling.min_replicas)
        }
        Replicas::Autoscaled(_) => None,
    };
    let live = match (live, replicas) {
        (Some(live), None) => Some(release(context, live).await?),
        (live, _) => live,
    };
    let desired = whole(target, pod_template, &plan, replicas)?;
    let outcome = apply::ensure_from(context, target, &desired, live).await?;
    work.note(&desired, &outcome);
    let deployment = match outcome {
        Outcome::InSync(live) | Outcome::Applied(live) | Outcome::Corrected(live, _) => *live,
        Outcome::Contested(Some(live), _) => *live,
        Outcome::Contested(None, _) | Outcome::Known | Outcome::Foreign => return Ok(()),
    };
    let deployment = match build::horizontal_pod_autoscaler(target) {
        None => deployment,
        Some(autoscaler) => {
            let deployment = release(context, deployment).await?;
            let desired = Desired::new(Kind::HorizontalPodAutoscaler, &autoscaler)?;
            let outcome = apply::ensure(context, target, &desired).await?;
            work.note(&desired, &outcome);
            deployment
        }
    };
    let standing = Rollout::of(&deployment);
    if standing.is_proven() {
        forget_settings(context, target, &standing).await?;
    }
    work.seen.rollout = Some(standing);
    Ok(())
}

/// Gives up the number of replicas where it is still owned.
async fn release(context: &Context, deployment: DynamicObject) -> Result<DynamicObject, Error> {
    let released = context.cluster.release_replicas(&deployment).await;
    // What a JSON patch tests was not so any more (RFC 6902, section 5).
    if matches!(&released, Err(kube::Error::Api(status)) if status.code == 422) {
        return Err(Error::Overtaken("spec.replicas"));
    }
    let released = released.during(|| "release spec.replicas".to_owned())?;
    Ok(released.unwrap_or(deployment))
}

/// The whole Deployment, with the templates that it may have to go back to.
fn whole(
    target: &Target,
    pod_template: PodTemplateSpec,
    plan: &Plan,
    replicas: Option<i32>,
) -> Result<Desired, Error> {
    let mut value = as_applied(
        Kind::Deployment,
        &build::deployment(target, pod_template, replicas),
    )?;
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
    Desired::from_value(Kind::Deployment, value)
}

/// Whether pods of a rollout under way crash again and again.
async fn crashes(
    context: &Context,
    target: &Target,
    desired: &Template,
    standing: &Rollout,
) -> Result<Option<String>, Error> {
    let is_current = standing.current.as_ref().map(Template::revision) == Some(desired.revision());
    if !is_current || standing.is_good() || standing.is_complete() || standing.updated == 0 {
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

/// Deletes the settings that no template reads any more. Not during a rollout: old pods may restart.
async fn forget_settings(
    context: &Context,
    target: &Target,
    standing: &Rollout,
) -> Result<(), Error> {
    let desired = build::config_map(target).metadata.name.unwrap_or_default();
    let mut keep = vec![desired.as_str()];
    for template in [&standing.current, &standing.last_good] {
        keep.extend(template.as_ref().and_then(Template::config_map));
    }
    apply::delete_all_but(context, target, Kind::ConfigMap, &keep).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_survive_their_annotation() {
        let template = Template(serde_json::json!({"b": 1, "a": {"d": "x", "c": null}}));
        let back: serde_json::Value = serde_json::from_str(&template.0.to_string()).unwrap();
        assert_eq!(Template(back), template);
    }
}
