//! Decides which pod template runs: the desired one, the current one, or the last good one. Pure functions.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use kube::api::DynamicObject;
use serde_json::Value;

use crate::build::DATABASE_VOLUME;
use crate::build::labels::{GOOD_REVISION, LAST_GOOD, REVISION, SECRET_DIGEST, TEMPLATE};
use crate::crd::FailedRevision;
use crate::pods::{self, PodFailure};

/// The number of restarts after which a pod that is not ready counts as failed.
const CRASH_LOOP_RESTARTS: i32 = 3;

/// A pod template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template(pub Value);

impl Template {
    /// Returns the pod template of a Deployment that was built.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(crate) fn of_deployment(deployment: &Deployment) -> Result<Self, serde_json::Error> {
        let spec = deployment.spec.as_ref();
        serde_json::to_value(spec.map(|spec| &spec.template)).map(Self)
    }

    /// Returns its revision, a hash of the template.
    pub(crate) fn revision(&self) -> &str {
        let labels = self.0.pointer("/metadata/labels");
        labels
            .and_then(|labels| labels.get(REVISION))
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns the template without the digest of the secret, and without the revision, which depends on it.
    pub(crate) fn without_secret(&self) -> Value {
        let mut template = self.0.clone();
        for (fields, name) in [
            ("/metadata/labels", REVISION),
            ("/metadata/annotations", SECRET_DIGEST),
        ] {
            if let Some(Value::Object(fields)) = template.pointer_mut(fields) {
                fields.remove(name);
            }
        }
        // A copy of the secret has the digest in its name.
        if let Some(Value::Array(volumes)) = template.pointer_mut("/spec/volumes") {
            for volume in volumes {
                if volume.get("name").and_then(Value::as_str) == Some(DATABASE_VOLUME)
                    && let Some(Value::Object(secret)) = volume.get_mut("secret")
                {
                    secret.remove("secretName");
                }
            }
        }
        template
    }

    /// The image.
    pub(crate) fn image(&self) -> Option<&str> {
        self.0
            .pointer("/spec/containers/0/image")
            .and_then(Value::as_str)
    }

    /// Returns the name of the secret from which it reads the URL of the database.
    pub(crate) fn database_secret(&self) -> Option<&str> {
        let volumes = self.0.pointer("/spec/volumes")?.as_array()?;
        let volume = volumes
            .iter()
            .find(|volume| volume["name"] == DATABASE_VOLUME)?;
        volume.pointer("/secret/secretName").and_then(Value::as_str)
    }

    /// Returns the digest of the URL of the database.
    pub(crate) fn database_digest(&self) -> Option<&str> {
        let annotations = self.0.pointer("/metadata/annotations")?;
        annotations.get(SECRET_DIGEST).and_then(Value::as_str)
    }

    /// Returns the name of the ConfigMap that it reads.
    pub(crate) fn config_map(&self) -> Option<&str> {
        let name = self
            .0
            .pointer("/spec/containers/0/envFrom/0/configMapRef/name");
        name.and_then(Value::as_str)
    }
}

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

/// Decides which template runs. `failed` is the known failure of the desired template, and `failure` the reason why a pod
/// of the current one does not run. Returns `None` if there is no Deployment yet and the migration is not complete.
pub(crate) fn plan(
    desired: &Template,
    live: &Rollout,
    migrated: bool,
    failed: Option<&FailedRevision>,
    failure: Option<&PodFailure>,
) -> Option<Plan> {
    let mut good_revision = live.good_revision.clone();
    let mut last_good = live.last_good.clone();
    let current = live.current.as_ref();
    let is_current = current.is_some_and(|current| current.revision() == desired.revision());
    if live.is_proven() && current.is_some() {
        good_revision = current.map(|current| current.revision().to_owned());
        last_good = None;
    }
    // A failed revision is not retried until another one is desired.
    let mut failed = failed
        .filter(|failed| failed.revision == desired.revision())
        .cloned();
    let is_good = good_revision.as_deref() == Some(desired.revision());
    if failed.is_none() && is_current && !is_good {
        failed = rollout_failure(live, failure).map(|(reason, message)| FailedRevision {
            revision: desired.revision().to_owned(),
            reason: reason.to_owned(),
            message,
            cause: failure.map(|failure| failure.reason.to_owned()),
            retry_at: None,
        });
    } else if is_current && is_good {
        // The rollout completed in the end: it was only slow.
        failed = None;
    }
    let template = if failed.is_some() {
        last_good.as_ref().or(current).unwrap_or(desired).clone()
    } else if migrated {
        desired.clone()
    } else {
        current?.clone()
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

fn rollout_failure(live: &Rollout, failure: Option<&PodFailure>) -> Option<(&'static str, String)> {
    if let Some(crash) = failure.filter(|failure| is_crash_loop(failure)) {
        return Some(("CrashLoopBackOff", crash.detail.clone()));
    }
    let deadline = live.deadline_exceeded.as_ref()?;
    // The pods are deleted by the rollback, and their reason with them.
    let message = failure.map_or(deadline, |failure| &failure.detail);
    Some(("ProgressDeadlineExceeded", message.clone()))
}

#[cfg(test)]
mod tests;
