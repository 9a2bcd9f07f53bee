//! Pods and the events about them. Only the fields that the operator reads: the complete types would double its
//! memory.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, EventSeries, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::Resource;
use kube::api::{Api, ListParams, ObjectMeta};
use serde::Deserialize;

use super::{Cluster, Result};

/// The number of pods in a page. A pod in JSON has about ten kilobytes.
const PAGE: u32 = 50;
/// The maximum number of pods that are read: twice the most replicas of an OrderService.
const MAX_PODS: usize = 2000;
/// The maximum number of events that are read about one object. The API server merges repetitions.
const MAX_EVENTS: u32 = 100;

/// A pod.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct PodState {
    /// Name, UID and creation time.
    pub metadata: ObjectMeta,
    /// The status, as the scheduler and the kubelet report it.
    #[serde(default)]
    pub status: Option<PodStatus>,
}

/// The status of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<String>,
    /// Why the kubelet rejected or evicted the pod, in one word.
    pub reason: Option<String>,
    /// Why the kubelet rejected or evicted the pod.
    pub message: Option<String>,
    /// Whether the pod is scheduled, ready, disrupted, and so on.
    pub conditions: Option<Vec<PodCondition>>,
    /// The status of each init container, once the kubelet has reported it.
    pub init_container_statuses: Option<Vec<ContainerStatus>>,
    /// The status of each container, once the kubelet has reported it.
    pub container_statuses: Option<Vec<ContainerStatus>>,
}

/// An event of the type `Warning` about a pod or its owner.
#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = Event)]
#[serde(rename_all = "camelCase")]
pub struct WarningEvent {
    /// Name and creation time.
    pub metadata: ObjectMeta,
    /// What happened, in one word.
    #[serde(default)]
    pub reason: Option<String>,
    /// What happened.
    #[serde(default)]
    pub message: Option<String>,
    /// The first time, in events of the older API.
    #[serde(default)]
    first_timestamp: Option<Time>,
    /// The last time, in events of the older API.
    #[serde(default)]
    last_timestamp: Option<Time>,
    /// The first time, in events of the newer API.
    #[serde(default)]
    event_time: Option<MicroTime>,
    /// The repetitions, in events of the newer API.
    #[serde(default)]
    series: Option<EventSeries>,
}

impl WarningEvent {
    /// When it happened first.
    pub fn first_seen(&self) -> Option<Timestamp> {
        let first = self.first_timestamp.as_ref().map(|time| time.0);
        first
            .or(self.event_time.as_ref().map(|time| time.0))
            .or(self.metadata.creation_timestamp.as_ref().map(|time| time.0))
    }

    /// When it happened last.
    pub fn last_seen(&self) -> Option<Timestamp> {
        let series = self.series.as_ref();
        let repeated = series.and_then(|series| series.last_observed_time.as_ref());
        repeated
            .map(|time| time.0)
            .or(self.last_timestamp.as_ref().map(|time| time.0))
            .or_else(|| self.first_seen())
    }
}

impl Cluster {
    /// Returns the pods with these labels, at most [`MAX_PODS`].
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn pods(&self, namespace: &str, labels: &str) -> Result<Vec<PodState>> {
        let api = Api::<PodState>::namespaced(self.client.clone(), namespace);
        let mut params = ListParams::default().labels(labels).limit(PAGE);
        let mut pods = Vec::new();
        loop {
            let page = api.list(&params).await?;
            pods.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) if pods.len() < MAX_PODS => params = params.continue_token(&token),
                _ => return Ok(pods),
            }
        }
    }

    /// Returns the warnings about the object with this UID.
    ///
    /// # Errors
    /// When the API server rejects the request or does not respond.
    pub async fn warnings(&self, namespace: &str, uid: &str) -> Result<Vec<WarningEvent>> {
        let fields = format!("involvedObject.uid={uid},type=Warning");
        let params = ListParams::default().fields(&fields).limit(MAX_EVENTS);
        let events = Api::<WarningEvent>::namespaced(self.client.clone(), namespace)
            .list(&params)
            .await?;
        Ok(events.items)
    }
}
