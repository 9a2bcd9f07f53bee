//! Sorts the objects of a snapshot into the tree of each OrderService. Pure functions.

use jiff::Timestamp;
use kube::api::DynamicObject;
use serde_json::Value;

use super::report::{Cause, Condition, Deployment, Migration, Pod, ReplicaSet, Service};
use super::snapshot::{Snapshot, children, finished_condition, pod_state};
use crate::build::labels::{GOOD_REVISION, REVISION, TEMPLATE};
use crate::cluster::WarningEvent;
use crate::pods;

/// The annotation with the number of a revision, which the controller of Deployments writes.
const REVISION_NUMBER: &str = "deployment.kubernetes.io/revision";
/// The reason of the events and of the condition that report a pod that could not be created.
const FAILED_CREATE: &str = "FailedCreate";

/// Sorts the objects of a snapshot into trees, ordered by namespace and name.
pub(crate) fn services(snapshot: &Snapshot) -> Vec<Service> {
    let mut services: Vec<_> = snapshot
        .services
        .iter()
        .map(|service| self::service(snapshot, service))
        .collect();
    services.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    services
}

fn service(snapshot: &Snapshot, service: &DynamicObject) -> Service {
    let generation = service.metadata.generation;
    let conditions = service.data.pointer("/status/conditions");
    let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    let mut migrations: Vec<_> = children(&snapshot.jobs, service)
        .map(|job| migration(snapshot, job))
        .collect();
    migrations.sort_by_key(|job| std::cmp::Reverse(job.created));
    Service {
        namespace: service.metadata.namespace.clone().unwrap_or_default(),
        name: name(service),
        created: created(service),
        image: text(&service.data, "/spec/image"),
        running_image: Some(text(&service.data, "/status/image")).filter(|image| !image.is_empty()),
        paused: service.data.pointer("/spec/paused") == Some(&Value::Bool(true)),
        conditions: conditions
            .map(|condition| self::condition(condition, generation))
            .collect(),
        migrations,
        deployment: children(&snapshot.deployments, service)
            .next()
            .map(|deployment| self::deployment(snapshot, deployment)),
    }
}

fn condition(condition: &Value, generation: Option<i64>) -> Condition {
    let observed = condition.get("observedGeneration").and_then(Value::as_i64);
    Condition {
        type_: text(condition, "/type"),
        status: text(condition, "/status"),
        reason: text(condition, "/reason"),
        message: text(condition, "/message"),
        since: text(condition, "/lastTransitionTime").parse().ok(),
        outdated: observed.is_some() && observed < generation,
    }
}

fn migration(snapshot: &Snapshot, job: &DynamicObject) -> Migration {
    let finished = finished_condition(job).map(|condition| text(condition, "/type"));
    let suspended = job.data.pointer("/spec/suspend") == Some(&Value::Bool(true));
    let state = match finished.as_deref() {
        Some("Complete") => "Complete",
        Some(_) => "Failed",
        None if suspended => "Suspended",
        None => "Running",
    };
    let pods = pods_of(snapshot, job);
    let cause = if state == "Running" && pods.is_empty() {
        rejection(snapshot, job)
    } else {
        finished_condition(job)
            .filter(|_| state == "Failed")
            .map(|condition| Cause {
                reason: text(condition, "/reason"),
                message: text(condition, "/message"),
                since: text(condition, "/lastTransitionTime").parse().ok(),
            })
    };
    Migration {
        name: name(job),
        state,
        created: created(job),
        image: text(&job.data, "/spec/template/spec/containers/0/image"),
        failed_pods: number(&job.data, "/status/failed"),
        cause,
        pods,
    }
}

fn deployment(snapshot: &Snapshot, deployment: &DynamicObject) -> Deployment {
    let mut replica_sets: Vec<_> = children(&snapshot.replica_sets, deployment)
        .map(|replica_set| self::replica_set(snapshot, replica_set))
        .collect();
    replica_sets.sort_by_key(|replica_set| std::cmp::Reverse(replica_set.revision));
    Deployment {
        name: name(deployment),
        created: created(deployment),
        desired: number(&deployment.data, "/spec/replicas"),
        updated: number(&deployment.data, "/status/updatedReplicas"),
        available: number(&deployment.data, "/status/availableReplicas"),
        replica_sets,
    }
}

fn replica_set(snapshot: &Snapshot, replica_set: &DynamicObject) -> ReplicaSet {
    let annotation = |key: &str| replica_set.metadata.annotations.as_ref()?.get(key);
    // The controller of Deployments copies the annotations of the Deployment to its newest ReplicaSet. So a
    // ReplicaSet keeps the template as the operator applied it, before admission changed it, and whether it was the
    // good revision.
    let template: Option<Value> =
        annotation(TEMPLATE).and_then(|template| serde_json::from_str(template).ok());
    let applied = template.map(|template| text(&template, "/spec/containers/0/image"));
    let revision = label(replica_set, REVISION);
    let failure = replica_set.data.pointer("/status/conditions");
    let failure = failure.and_then(Value::as_array).into_iter().flatten();
    let failure = failure
        .filter(|condition| text(condition, "/reason") == FAILED_CREATE)
        .map(|condition| {
            let since = text(condition, "/lastTransitionTime").parse().ok();
            pods::rejection(&text(condition, "/message"), since).into()
        })
        .next();
    ReplicaSet {
        name: name(replica_set),
        created: created(replica_set),
        revision: annotation(REVISION_NUMBER)
            .and_then(|number| number.parse().ok())
            .unwrap_or_default(),
        image: applied
            .filter(|image| !image.is_empty())
            .unwrap_or_else(|| text(&replica_set.data, "/spec/template/spec/containers/0/image")),
        proven: revision.is_some() && annotation(GOOD_REVISION) == revision,
        desired: number(&replica_set.data, "/spec/replicas"),
        ready: number(&replica_set.data, "/status/readyReplicas"),
        cause: failure.or_else(|| rejection(snapshot, replica_set)),
        pods: pods_of(snapshot, replica_set),
    }
}

/// Why a pod of this owner could not be created, by its events.
fn rejection(snapshot: &Snapshot, owner: &DynamicObject) -> Option<Cause> {
    let warnings = snapshot.warnings.get(owner.metadata.uid.as_ref()?)?;
    let rejections = warnings
        .iter()
        .filter(|warning| warning.reason.as_deref() == Some(FAILED_CREATE));
    let newest = rejections.max_by_key(|warning| warning.last_seen())?;
    let message = newest.message.as_deref().unwrap_or_default();
    Some(pods::rejection(message, newest.first_seen()).into())
}

/// The pods of an owner, the newest first.
fn pods_of(snapshot: &Snapshot, owner: &DynamicObject) -> Vec<Pod> {
    let mut pods: Vec<_> = children(&snapshot.pods, owner)
        .map(|pod| {
            let uid = pod.metadata.uid.as_ref();
            let warnings = uid.and_then(|uid| snapshot.warnings.get(uid));
            self::pod(pod, warnings.map(Vec::as_slice).unwrap_or_default())
        })
        .collect();
    pods.sort_by(|a, b| (b.created, &a.name).cmp(&(a.created, &b.name)));
    pods
}

pub(super) fn pod(pod: &DynamicObject, warnings: &[WarningEvent]) -> Pod {
    let conditions = pod.data.pointer("/status/conditions");
    let mut conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    let is_ready = conditions.any(|condition| {
        text(condition, "/type") == "Ready" && text(condition, "/status") == "True"
    });
    let state = if pod.metadata.deletion_timestamp.is_some() {
        "Terminating".to_owned()
    } else if is_ready {
        "Ready".to_owned()
    } else {
        text(&pod.data, "/status/phase")
    };
    let cause = pod_state(pod).and_then(|state| pods::explain(&state, warnings));
    // The complete description: the one for conditions is cut, and a registry's reason is at its end.
    let cause = cause.map(|failure| {
        let own_name = format!("pod {}: ", name(pod));
        let detail = failure.detail.strip_prefix(&own_name);
        let message = detail.unwrap_or(&failure.detail).to_owned();
        Cause {
            message,
            ..Cause::from(failure)
        }
    });
    Pod {
        name: name(pod),
        created: created(pod),
        state,
        restarts: number(&pod.data, "/status/containerStatuses/0/restartCount"),
        node: Some(text(&pod.data, "/spec/nodeName")).filter(|node| !node.is_empty()),
        cause,
    }
}

pub(super) fn created(object: &DynamicObject) -> Option<Timestamp> {
    object
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0)
}

fn name(object: &DynamicObject) -> String {
    object.metadata.name.clone().unwrap_or_default()
}

fn label<'a>(object: &'a DynamicObject, key: &str) -> Option<&'a String> {
    object.metadata.labels.as_ref()?.get(key)
}

pub(super) fn text(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn number(value: &Value, pointer: &str) -> i64 {
    value
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}
