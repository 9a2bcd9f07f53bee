//! Reads an OrderService, or all of a scope, with the objects below.

use std::collections::HashMap;

use futures_util::TryFutureExt as _;
use kube::api::DynamicObject;
use serde_json::Value;

use super::error::OsvcError;
use super::session::Session;
use crate::cluster::inspect::Shown;
use crate::cluster::{PodState, WarningEvent};
use crate::pods;

/// The maximum number of objects whose events are read, so that the number of requests is bounded. Pods of one
/// template usually fail for the same reason.
const MAX_EXPLAINED: usize = 20;

/// Objects as they were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) services: Vec<DynamicObject>,
    pub(crate) deployments: Vec<DynamicObject>,
    pub(crate) replica_sets: Vec<DynamicObject>,
    pub(crate) jobs: Vec<DynamicObject>,
    pub(crate) pods: Vec<DynamicObject>,
    /// The warnings about pods and about owners without pods, by UID.
    pub(crate) warnings: HashMap<String, Vec<WarningEvent>>,
    /// Why warnings are missing.
    pub(crate) warnings_missing: Option<String>,
}

/// Reads the OrderService of this name, or all of the namespace, or all of all namespaces.
pub(crate) async fn read(
    session: &Session,
    namespace: Option<&str>,
    name: Option<&str>,
) -> Result<Snapshot, OsvcError> {
    let labels = |component: &str| {
        let mut labels = format!("app.kubernetes.io/name=order-service{component}");
        if let Some(name) = name {
            labels.push_str(",app.kubernetes.io/instance=");
            labels.push_str(name);
        }
        labels
    };
    let services = async {
        match (namespace, name) {
            (Some(namespace), Some(name)) => {
                session
                    .order_service(namespace, name)
                    .map_ok(|one| vec![one])
                    .await
            }
            _ => session.list(Shown::OrderService, namespace, "").await,
        }
    };
    let all = labels("");
    let migrations = labels(",app.kubernetes.io/component=migrate");
    let (services, deployments, replica_sets, jobs, pods) = tokio::try_join!(
        services,
        session.list(Shown::Deployment, namespace, &all),
        session.list(Shown::ReplicaSet, namespace, &all),
        session.list(Shown::Job, namespace, &migrations),
        session.list(Shown::Pod, namespace, &all),
    )?;
    let mut snapshot = Snapshot {
        services,
        deployments,
        replica_sets,
        jobs,
        pods,
        ..Snapshot::default()
    };
    snapshot.read_warnings(session).await?;
    Ok(snapshot)
}

impl Snapshot {
    /// Reads events where the status of an object does not explain it. A person who may not read events still sees
    /// everything else.
    async fn read_warnings(&mut self, session: &Session) -> Result<(), OsvcError> {
        let pods = self
            .pods
            .iter()
            .filter(|pod| pod_state(pod).is_some_and(|pod| pods::needs_events(&pod)));
        let owners = self
            .replica_sets
            .iter()
            .chain(&self.jobs)
            .filter(|owner| self.lacks_pods(owner));
        let unexplained: Vec<_> = pods
            .chain(owners)
            .filter_map(|object| {
                Some((
                    object.metadata.namespace.clone()?,
                    object.metadata.uid.clone()?,
                ))
            })
            .take(MAX_EXPLAINED)
            .collect();
        for (namespace, uid) in unexplained {
            match session.warnings(&namespace, &uid).await {
                Ok(warnings) => {
                    self.warnings.insert(uid, warnings);
                }
                Err(OsvcError::Forbidden(message)) => {
                    self.warnings_missing = Some(message);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether a ReplicaSet or a Job has fewer pods than it wants.
    fn lacks_pods(&self, owner: &DynamicObject) -> bool {
        let number = |pointer: &str| {
            owner
                .data
                .pointer(pointer)
                .and_then(Value::as_i64)
                .unwrap_or_default()
        };
        let has_finished = number("/status/succeeded") > 0 || finished_condition(owner).is_some();
        let wanted = if owner.data.pointer("/spec/replicas").is_some() {
            number("/spec/replicas")
        } else {
            i64::from(!has_finished)
        };
        let pods = children(&self.pods, owner).count();
        i64::try_from(pods).is_ok_and(|pods| pods < wanted)
    }
}

/// The condition with which a Job ended: `Complete` or `Failed`.
pub(super) fn finished_condition(job: &DynamicObject) -> Option<&Value> {
    let conditions = job.data.pointer("/status/conditions")?.as_array()?;
    let field = |condition: &Value, name: &str| {
        condition
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    conditions.iter().find(|condition| {
        matches!(field(condition, "type").as_str(), "Complete" | "Failed")
            && field(condition, "status") == "True"
    })
}

/// The fields of a pod that explain it.
pub(super) fn pod_state(pod: &DynamicObject) -> Option<PodState> {
    let metadata = serde_json::to_value(&pod.metadata).ok()?;
    let status = pod.data.get("status").cloned().unwrap_or_default();
    serde_json::from_value(serde_json::json!({"metadata": metadata, "status": status})).ok()
}

/// The objects whose controller is `owner`.
pub(super) fn children<'a>(
    objects: &'a [DynamicObject],
    owner: &DynamicObject,
) -> impl Iterator<Item = &'a DynamicObject> {
    let uid = owner.metadata.uid.clone();
    objects.iter().filter(move |object| {
        let owners = object.metadata.owner_references.iter().flatten();
        uid.is_some()
            && owners
                .into_iter()
                .any(|owner| Some(&owner.uid) == uid.as_ref())
    })
}
