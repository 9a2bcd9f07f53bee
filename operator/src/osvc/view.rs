//! Turns the status of OrderServices into the nodes of trees. Pure functions.

use jiff::Timestamp;

use super::report::{Cause, Condition, Deployment, Migration, Pod, ReplicaSet, Service};
use super::text::age;
use super::tree::{Mood, Node};

/// The tree of an OrderService.
pub(crate) fn tree(service: &Service, now: Timestamp) -> Node {
    let ready = service
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready");
    let (state, mood) = match ready {
        Some(ready) if ready.status == "True" => ("Ready".to_owned(), Mood::Good),
        Some(ready) => (ready.reason.clone(), mood(ready)),
        None => ("Unknown".to_owned(), Mood::Waiting),
    };
    let mut detail = format!("image {}", service.image);
    if let Some(running) = service
        .running_image
        .as_ref()
        .filter(|it| **it != service.image)
    {
        detail.push_str("; the pods run ");
        detail.push_str(running);
    }
    if service.paused {
        detail.push_str("; paused");
    }
    let mut children: Vec<_> = service
        .conditions
        .iter()
        .map(|condition| self::condition(condition, now))
        .collect();
    children.extend(service.migrations.iter().map(|job| migration(job, now)));
    children.extend(service.deployment.iter().map(|it| deployment(it, now)));
    Node {
        name: format!("OrderService {}/{}", service.namespace, service.name),
        state,
        mood,
        age: age(service.created, now),
        detail,
        children,
    }
}

fn condition(condition: &Condition, now: Timestamp) -> Node {
    let mut detail = with_reason(&condition.reason, &condition.message);
    if condition.outdated {
        detail.push_str(" (of an earlier spec)");
    }
    Node {
        name: condition.type_.clone(),
        state: condition.status.clone(),
        mood: mood(condition),
        age: age(condition.since, now),
        detail,
        children: Vec::new(),
    }
}

/// Whether a status is good depends on the type of the condition. Types of newer versions are not judged.
fn mood(condition: &Condition) -> Mood {
    let is_true = condition.status == "True";
    match (condition.type_.as_str(), condition.status.as_str()) {
        (_, "Unknown") => Mood::Waiting,
        ("Secured" | "Migrated", "False") => Mood::Waiting,
        ("Ready" | "Available" | "Migrated" | "Secured", _) if is_true => Mood::Good,
        ("Ready" | "Available", _) => match condition.reason.as_str() {
            "Pending" | "Migrating" | "RollingOut" => Mood::Waiting,
            _ => Mood::Bad,
        },
        ("Degraded" | "Stalled" | "Conflict", _) if is_true => Mood::Bad,
        ("Progressing" | "Reconciling" | "Paused", _) if is_true => Mood::Waiting,
        _ => Mood::Neutral,
    }
}

fn migration(job: &Migration, now: Timestamp) -> Node {
    let mood = match job.state {
        "Complete" => Mood::Good,
        "Failed" => Mood::Bad,
        _ => Mood::Waiting,
    };
    let mut detail = format!("image {}", job.image);
    if job.failed_pods > 0 {
        detail.push_str(&format!("; pods that failed: {}", job.failed_pods));
    }
    append_cause(&mut detail, job.cause.as_ref());
    Node {
        name: format!("Job {}", job.name),
        state: job.state.to_owned(),
        mood,
        age: age(job.created, now),
        detail,
        children: job.pods.iter().map(|it| pod(it, now)).collect(),
    }
}

fn deployment(deployment: &Deployment, now: Timestamp) -> Node {
    let Deployment {
        desired,
        updated,
        available,
        ..
    } = deployment;
    // Old versions without pods are kept for a rollback and are not worth a line.
    let shown = deployment.replica_sets.iter().enumerate();
    let shown = shown.filter(|(index, it)| *index == 0 || it.desired > 0 || !it.pods.is_empty());
    Node {
        name: format!("Deployment {}", deployment.name),
        state: format!("{available}/{desired}"),
        mood: if available >= desired {
            Mood::Good
        } else {
            Mood::Waiting
        },
        age: age(deployment.created, now),
        detail: format!(
            "{available} of {desired} pods are available, {updated} of the newest version"
        ),
        children: shown.map(|(_, it)| replica_set(it, now)).collect(),
    }
}

fn replica_set(replica_set: &ReplicaSet, now: Timestamp) -> Node {
    let ReplicaSet {
        desired,
        ready,
        revision,
        image,
        ..
    } = replica_set;
    let mut detail = format!("revision {revision}, image {image}");
    append_cause(&mut detail, replica_set.cause.as_ref());
    let mood = match (&replica_set.cause, ready >= desired) {
        (Some(_), _) => Mood::Bad,
        (None, true) => Mood::Good,
        (None, false) => Mood::Waiting,
    };
    Node {
        name: format!("ReplicaSet {}", replica_set.name),
        state: format!("{ready}/{desired}"),
        mood,
        age: age(replica_set.created, now),
        detail,
        children: replica_set.pods.iter().map(|it| pod(it, now)).collect(),
    }
}

fn pod(pod: &Pod, now: Timestamp) -> Node {
    let mood = match (&pod.cause, pod.state.as_str()) {
        (Some(_), _) | (None, "Failed") => Mood::Bad,
        (None, "Ready" | "Succeeded") => Mood::Good,
        _ => Mood::Waiting,
    };
    let mut details = Vec::new();
    if let Some(cause) = &pod.cause {
        details.push(cause.message.clone());
    } else if pod.restarts > 0 {
        details.push(format!("restarts: {}", pod.restarts));
    }
    details.extend(pod.node.as_ref().map(|node| format!("node {node}")));
    Node {
        name: format!("Pod {}", pod.name),
        state: pod
            .cause
            .as_ref()
            .map_or_else(|| pod.state.clone(), |cause| cause.reason.clone()),
        mood,
        age: age(pod.created, now),
        detail: details.join("; "),
        children: Vec::new(),
    }
}

fn append_cause(detail: &mut String, cause: Option<&Cause>) {
    if let Some(cause) = cause {
        detail.push_str("; ");
        detail.push_str(&with_reason(&cause.reason, &cause.message));
    }
}

fn with_reason(reason: &str, message: &str) -> String {
    match message {
        "" => reason.to_owned(),
        message if message.starts_with(reason) => message.to_owned(),
        message => format!("{reason}: {message}"),
    }
}

#[cfg(test)]
mod tests;
