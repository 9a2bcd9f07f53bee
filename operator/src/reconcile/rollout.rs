//! Decides which pod template runs: the desired one, the current one, or the last good one. Pure functions.

mod failure;
mod template;

use k8s_openapi::api::apps::v1::DeploymentStatus;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::build::labels::{GOOD_REVISION, LAST_GOOD, TEMPLATE};
use crate::crd::FailedRevision;
use crate::pods::{self, PodFailure};

pub(super) use failure::{follows_url, holds, may_be_the_url, rejects_url};
pub(crate) use template::Template;

/// The number of restarts after which a pod that is not ready counts as failed.
const CRASH_LOOP_RESTARTS: i32 = 3;

/// The state of a Deployment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rollout {
    /// Whether the status refers to the current spec.
    pub observed: bool,
    /// Desired number of pods.
    pub desired_replicas: i32,
    /// Existing pods.
    pub replicas: i32,
    /// Pods of the current template.
    pub updated: i32,
    /// Pods that have been ready for `minReadySeconds`.
    pub available: i32,
    /// Ready pods.
    pub ready: i32,
    /// The message of Kubernetes when the rollout exceeded its progress deadline.
    pub deadline_exceeded: Option<String>,
    /// Why the API server rejects new pods, such as an exceeded quota.
    pub rejected: Option<PodFailure>,
    /// The most recently applied template.
    pub current: Option<Template>,
    /// The template for a rollback, while another one rolls out.
    pub last_good: Option<Template>,
    /// The most recent revision that rolled out completely.
    pub good_revision: Option<String>,
}

impl Rollout {
    /// Returns the state of this Deployment.
    pub(crate) fn from_deployment(deployment: &DynamicObject) -> Self {
        let status = deployment.data.get("status").cloned().unwrap_or_default();
        let status: DeploymentStatus = serde_json::from_value(status).unwrap_or_default();
        let annotation = |key| {
            deployment
                .metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(key))
        };
        let template = |key| {
            let text = annotation(key)?;
            serde_json::from_str(text).ok().map(Template)
        };
        let desired_replicas = deployment
            .data
            .pointer("/spec/replicas")
            .and_then(Value::as_i64);
        let observed = status.observed_generation >= deployment.metadata.generation;
        let condition = |type_: &str| {
            let conditions = status.conditions.iter().flatten();
            conditions
                .filter(|_| observed)
                .find(|condition| condition.type_ == type_)
        };
        Self {
            deadline_exceeded: condition("Progressing")
                .filter(|it| it.reason.as_deref() == Some("ProgressDeadlineExceeded"))
                .map(|it| it.message.clone().unwrap_or_default()),
            rejected: condition("ReplicaFailure")
                .filter(|it| it.status == "True")
                .map(|it| {
                    let since = it.last_transition_time.as_ref().map(|time| time.0);
                    pods::rejection(it.message.as_deref().unwrap_or_default(), since)
                }),
            observed,
            desired_replicas: desired_replicas
                .and_then(|count| i32::try_from(count).ok())
                .unwrap_or(1),
            replicas: status.replicas.unwrap_or_default(),
            updated: status.updated_replicas.unwrap_or_default(),
            available: status.available_replicas.unwrap_or_default(),
            ready: status.ready_replicas.unwrap_or_default(),
            current: template(TEMPLATE),
            last_good: template(LAST_GOOD),
            good_revision: annotation(GOOD_REVISION).cloned(),
        }
    }

    /// Whether all pods are of the current template and available.
    pub(crate) fn is_complete(&self) -> bool {
        self.observed
            && self.updated >= self.desired_replicas
            && self.replicas == self.updated
            && self.available >= self.desired_replicas
    }

    /// Whether available pods prove that the current template works. Zero pods prove nothing.
    pub(crate) fn is_proven(&self) -> bool {
        self.is_complete() && self.updated > 0
    }

    /// Whether the template of this revision is current, and is running or has rolled out completely before.
    pub(crate) fn has_rolled_out(&self, revision: &str) -> bool {
        let current = self.current.as_ref().map(Template::revision);
        current == Some(revision) && (self.is_good() || self.is_complete())
    }

    /// Returns the template for a rollback: the current one if it is proven.
    pub(crate) fn rollback_template(&self) -> Option<&Template> {
        let current = self.current.as_ref();
        if self.is_proven() {
            current
        } else {
            self.last_good.as_ref().or(current)
        }
    }

    /// Returns the template for a rollback with the URL of the database of another template.
    pub(crate) fn with_url_of(&self, desired: &Template) -> Option<Template> {
        self.rollback_template()
            .map(|template| template.with_url_of(desired))
    }

    /// Whether the current template has rolled out completely before.
    pub(crate) fn is_good(&self) -> bool {
        let current = self.current.as_ref().map(Template::revision);
        current.is_some() && current == self.good_revision.as_deref()
    }
}

/// Returns the failure to report: a crash loop before others, then the one that has lasted longest.
pub(crate) fn main_failure(failures: Vec<PodFailure>) -> Option<PodFailure> {
    failures.into_iter().min_by_key(|failure| {
        (
            !is_crash_loop(failure),
            failure.since.is_none(),
            failure.since,
        )
    })
}

/// Whether the container crashed so often that the rollout has failed.
pub(crate) fn is_crash_loop(failure: &PodFailure) -> bool {
    failure.restarts >= CRASH_LOOP_RESTARTS
}

/// The template to run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// The template to apply.
    pub template: Template,
    /// The template for a rollback.
    pub last_good: Option<Template>,
    /// The most recent revision that rolled out completely.
    pub good_revision: Option<String>,
    /// Why the desired template is not applied.
    pub failed: Option<FailedRevision>,
}

/// The part of the desired template that may be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permitted {
    /// Nothing: the migration is not complete, or the rollout waits.
    Nothing,
    /// The URL of the database. Everything else waits.
    Url,
    /// The complete template.
    Template,
}

/// Decides which template runs. `failed` is the known failure, and `failure` the reason why a pod of the current
/// template does not run. Returns `None` if there is no Deployment yet and the migration is not complete.
///
/// A template that failed is not retried until another one is desired. The URL of the database is independent of it
/// where possible, because an earlier URL may expire: a template that failed for another reason stays failed when the
/// URL changes, and the last good template gets the URL. The same holds for a template that waits. A URL that failed
/// is not tried again either.
pub(crate) fn plan(
    desired: &Template,
    live: &Rollout,
    permitted: Permitted,
    failed: Option<&FailedRevision>,
    failure: Option<&PodFailure>,
) -> Option<Plan> {
    let mut good_revision = live.good_revision.clone();
    let mut last_good = live.last_good.clone();
    let current = live.current.as_ref();
    if live.is_proven() && current.is_some() {
        good_revision = current.map(|current| current.revision().to_owned());
        last_good = None;
    }
    let with_url = live.with_url_of(desired);
    let failed = failed.filter(|failed| {
        let url_failed = || {
            let with_url = with_url.as_ref().map(Template::revision);
            permitted != Permitted::Template && with_url == Some(failed.revision.as_str())
        };
        holds(failed, desired) || url_failed()
    });
    let trial = failure::Trial {
        desired,
        with_url: with_url.as_ref(),
        last_good: last_good.as_ref(),
        good_revision: good_revision.as_deref(),
        permitted,
    };
    let failed = trial.failed(live, failed, failure);
    let template = match (&failed, permitted) {
        (Some(failed), _) => {
            let follows = permitted != Permitted::Nothing && follows_url(failed, desired);
            let with_url = with_url.as_ref().filter(|_| follows);
            let before = last_good.as_ref().or(current);
            with_url.or(before).unwrap_or(desired).clone()
        }
        (None, Permitted::Template) => desired.clone(),
        (None, Permitted::Url) => with_url?,
        (None, Permitted::Nothing) => current?.clone(),
    };
    if let Some(current) = current.filter(|current| current.revision() != template.revision())
        && good_revision.as_deref() == Some(current.revision())
    {
        last_good = Some(current.clone());
    }
    Some(Plan {
        template,
        last_good,
        good_revision,
        failed,
    })
}

#[cfg(test)]
mod tests;
